"""What the pictures show of a run: titles, lines and rows; how they look is tested in tests.drawing."""

from dataclasses import replace

import numpy as np
import pytest

from bert_ft.drawing.style import png
from bert_ft.reporting import attention_pictures, layer_pictures, training_pictures, validation_pictures
from bert_ft.reporting import representation_pictures as vectors
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.pictures import LeftOut, Picture, draw, plot_specs_of
from bert_ft.reporting.run_log import RunLog, read_run
from bert_ft.reporting.scalars import Series
from tests.drawing.texts import assert_readable
from tests.reporting.synthetic import Size, write_run

pytestmark = pytest.mark.slow

EMPTY = RunLog(folder=None)
OF_OTHER_TASKS = ("Label sets", "Numbers")  # drawn in tests.tasks.test_task_runs


def specs_of(log: RunLog) -> list:
    """The pictures of a run with classes."""
    found = plot_specs_of(log).items()
    return [spec for section, plots in found if section not in OF_OTHER_TASKS for spec in plots]


EVERY_PLOT = specs_of(EMPTY)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> RunLog:
    return read_run(write_run(tmp_path_factory.mktemp("run"), Size(num_rows=20, num_steps=8)))


def series(*values: float) -> Series:
    return Series(np.arange(1, len(values) + 1), np.array(values, dtype=float))


def figure_of(spec, scalars: dict[str, Series], **others):
    return spec.draw(RunLog(folder=None, scalars=scalars, **others))


def title(figure) -> str:
    return figure.axes[0].get_title(loc="left")


def lines(figure) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()}


def rows_of(figure, axes: int = 0) -> list[str]:
    return [label.get_text() for label in figure.axes[axes].get_yticklabels()]


@pytest.mark.parametrize("spec", EVERY_PLOT, ids=lambda spec: spec.name)
def test_every_picture_can_be_drawn_or_says_what_it_lacks(spec, log):
    assert_readable(spec.draw(log), least=4.5)
    with pytest.raises(NotLogged, match=r"logged|kept|log "):
        spec.draw(EMPTY)


def test_names_are_unique_and_texts_are_sentences(log):
    plots = specs_of(log)
    assert len({spec.name for spec in plots}) == len(plots)
    assert all(spec.reading.endswith(".") and spec.title[0].isupper() for spec in plots)


def test_weight_decay_is_drawn_if_it_changes(log):
    still = {f"lr-AdamW/{layer}-weight_decay": series(0.1, 0.1) for layer in ("embeddings", "head")}
    assert not training_pictures.weight_decay_plots(replace(log, scalars=still))
    changed = replace(log, scalars={tag: series(0.1, 0.05) for tag in still})
    (spec,) = training_pictures.weight_decay_plots(changed)
    figure = spec.draw(changed)
    assert lines(figure)["head"] == [0.1, 0.05]
    assert title(figure) == "Weight decay: 0.1 at first, 0.05 at the end"
    assert_readable(figure)


def test_drift_is_drawn_if_weights_were_averaged(log):
    assert not layer_pictures.drift_plots(log)
    drifting = {f"weights/{layer}/averaging_drift": series(0.5, 0.25) for layer in ("embeddings", "head")}
    averaged = replace(log, scalars=drifting)
    (spec,) = layer_pictures.drift_plots(averaged)
    assert_readable(spec.draw(averaged), least=4.5)


def test_a_picture_that_fails_or_lacks_its_values_costs_no_other(log, caplog):
    def fail(_):
        raise ZeroDivisionError("by nothing")

    specs = [replace(training_pictures.losses, draw=fail), layer_pictures.activation_sd]
    failed, missing, drawn = draw(
        [*specs, training_pictures.losses], replace(log, scalars={"val/loss": series(1)})
    )
    assert failed == LeftOut("Loss", "it couldn't be drawn: ZeroDivisionError: by nothing")
    assert "losses couldn't be drawn" in caplog.text
    assert missing == LeftOut(
        "Spread of the activations", "no activations/<block>/sd was logged (monitor activations)"
    )
    assert isinstance(drawn, Picture)
    assert drawn.png.startswith(b"\x89PNG")


def test_losses():
    scalars = {
        "train/loss": series(2, 1, 1),
        "train/loss_smoothed": series(2, 1.5),
        "val/loss": series(0.5, 0.25),
    }
    metrics = {"val": {"loss": 0.25}, "checkpoint": {"step": 2}}
    figure = figure_of(training_pictures.losses, scalars, metrics=metrics)
    assert title(figure) == "Training loss 2 → 1.5; validation 0.25 at its lowest, step 2"
    assert lines(figure) == {
        "training": [2, 1, 1],
        "training, smoothed": [2, 1.5],
        "validation": [0.5, 0.25],
        "kept checkpoint": [0.25],
    }
    found = lines(figure_of(training_pictures.losses, {"train/loss": series(2, 1)}))
    assert found["training, smoothed"] == pytest.approx([2, (2 * 2 / 3 + 1) / (2 / 3 + 1)])
    nan = {"train/loss": series(np.nan), "val/loss": series(np.nan)}
    assert title(figure_of(training_pictures.losses, nan)) == "No loss is finite"


def test_validation_metrics_mark_the_objective(log):
    figure = training_pictures.validation_metrics.draw(log)
    kept = log.metrics["val"]["accuracy"]
    assert title(figure) == f"val/accuracy is {kept:.4f} at step 6: kept checkpoint"
    assert lines(figure)["kept checkpoint"] == [kept]
    assert {"accuracy", "f1_macro"} <= lines(figure).keys()
    by_loss = replace(log, metrics=log.metrics | {"objective": {"metric": "val/loss"}})
    assert title(training_pictures.validation_metrics.draw(by_loss)).startswith(f"val/accuracy is {kept:.4f}")


def test_learning_rates(log):
    figure = training_pictures.learning_rates.draw(log)
    assert list(lines(figure)) == ["embeddings", "layer.0", "layer.1", "head"]
    np.testing.assert_allclose(lines(figure)["head"], log.scalars["lr-AdamW/head"].values)
    scalars = {
        "lr-AdamW/layer.0/no_decay": series(1),
        "lr-AdamW/head": series(2),
        "lr-AdamW/head/no_decay": series(3),
        "lr-AdamW/head/trained/no_decay": series(1.5),
    }
    found = lines(figure_of(training_pictures.learning_rates, scalars))
    assert found == {"layer.0": [1], "head, trained": [1.5], "head": [2]}
    without_layers = {"lr-SGD": series(1), "lr-SGD-momentum": series(2), "lr-SGD-weight_decay": series(3)}
    figure = figure_of(training_pictures.learning_rates, without_layers)
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[1]]


def test_gradient_norms():
    scalars = {"train/grad_norm": series(4, 0.5), "train/grad_norm_clipped": series(1, 0.5)}
    config = {"trainer": {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"}}
    figure = figure_of(training_pictures.gradient_norms, scalars, config=config)
    assert title(figure) == "50% of the logged steps were clipped"
    assert lines(figure) == {"before clipping": [4, 0.5], "after clipping": [1, 0.5], "clipped at 1": [1, 1]}
    found = lines(figure_of(training_pictures.gradient_norms, {"train/grad_norm": series(*range(1, 101))}))
    assert list(found) == ["before clipping", "before, smoothed", "after, smoothed"]


@pytest.mark.parametrize(
    "trainer", [{"gradient_clip_val": None}, {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}]
)
def test_gradient_norms_without_a_threshold(trainer):
    scalars = {"gradients/norm": series(1, 2)}
    figure = figure_of(training_pictures.gradient_norms, scalars, config={"trainer": trainer})
    assert lines(figure).keys() == {"before clipping", "after clipping"}


def test_packed_batches_have_no_padding_to_show(log):
    figure = training_pictures.throughput.draw(log)
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["Speed", "Peak memory"]
    padded = figure_of(training_pictures.throughput, {"throughput/padding_ratio": series(0.25, 0.5, 0.25)})
    assert title(padded) == "Padding: median 0.25 share of positions"


def test_activations_by_block(log):
    figure = layer_pictures.activation_sd.draw(log)
    titles = [axes.get_title(loc="left") for axes in figure.axes[:5]]
    assert titles == list(layer_pictures.BLOCKS)
    assert rows_of(figure) == ["0", "1"]
    assert rows_of(figure, 4) == ["dense", "output"]
    values = np.asarray(figure.axes[3].collections[0].get_array())
    np.testing.assert_allclose(values[1], log.scalars["activations/layer.1.hidden/sd"].values)


def test_gradients_by_layer_are_those_before_clipping():
    scalars = {
        "gradients/head/norm": series(4, 2),
        "gradients/layer.0/norm": series(1, 1),
        "gradients/norm": series(9, 9),
        "gradients/head/norm_clipped": series(7, 7),
    }
    figure = figure_of(layer_pictures.gradient_norm_by_layer, scalars)
    assert title(figure) == "Gradient norm before clipping: on average 1 in layer.0, 3 in head"
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), [[1, 1], [4, 2]])
    nan = {"weights/head/distance": series(np.nan)}
    assert title(figure_of(layer_pictures.distance, nan)).endswith("no finite value")


def test_confidence_counts_sure_mistakes(log):
    arrays = log.validation.content | {
        "logits": np.array([[9.0, 0, 0], [9, 0, 0], [1, 0, 0], [0, 9, 0], [np.nan, 0, 0]]),
        "labels": np.array([0, 1, 1, 1, 1]),
    }
    changed = replace(log, validation=replace(log.validation, content=arrays))
    wanted = "50.0% of 4 rows are right; 2 are wrong, 1 with a probability above 0.9"
    assert title(validation_pictures.confidence.draw(changed)) == wanted


def test_calibration_has_the_bins_of_the_monitor(log):
    assert len(validation_pictures.reliability.draw(log).axes[1].patches) == 15
    log = replace(log, config={"monitor": {"confidence": {"num_bins": 7}}})
    assert len(validation_pictures.reliability.draw(log).axes[1].patches) == 7


def test_confusion(log):
    logits, labels = log.validation.content["logits"], log.validation.content["labels"]
    wrong = (logits.argmax(1) != labels).sum()
    assert title(validation_pictures.confusion.draw(log)) == f"{wrong} of 20 rows are off the diagonal"


def test_classes_over_training():
    """Sorted by the last validation; with letters that mean something to matplotlib."""
    scalars = {"class/a/b/f1": series(0.1, 0.5), "class/c/f1": series(0.9, 0.2), "class/d/f1": series(0.3)}
    figure = figure_of(validation_pictures.class_f1_over_training, scalars)
    assert rows_of(figure) == ["a/b", "c", "d"]
    assert title(figure) == "F1 of each class; lowest at the end: c, 0.20"
    scalars = {"class/$10_$20/f1": series(0.9, 0.2), "class/two\nlines/f1": series(0.9, 0.3)}
    figure = figure_of(validation_pictures.class_f1_over_training, scalars)
    assert png(figure).startswith(b"\x89PNG")
    assert title(figure).endswith(r"lowest at the end: \$10_\$20, 0.20")
    assert len(rows_of(figure)) == 2


@pytest.mark.parametrize(
    "spec",
    [
        validation_pictures.class_f1_over_training,
        validation_pictures.confidence_over_training,
        vectors.separation,
    ],
)
def test_one_validation_makes_no_course(spec):
    tags = ("class/a/f1", "confidence/ece", "representations/silhouette")
    with pytest.raises(NotLogged, match="there was one validation"):
        figure_of(spec, dict.fromkeys(tags, series(0.5)))


def test_representations_leave_out_rows_that_are_not_finite(log):
    arrays = {name: values.copy() for name, values in log.representations.content.items()}
    arrays["vectors"][0] = np.nan
    figure = vectors.representations.draw(
        replace(log, representations=replace(log.representations, content=arrays))
    )
    assert title(figure).startswith("19 validation rows; the plane shows ")


def test_the_plane_is_that_of_the_singular_vectors():
    rows = np.random.default_rng(0).normal(size=(50, 6)) * [5, 1, 3, 1, 1, 1] + 7
    points, explained = vectors.principal_plane(rows.astype(np.float32))
    left, values, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    expected = left[:, :2] * values[:2]
    signs = np.sign((points * expected).sum(axis=0))  # either is a principal direction
    np.testing.assert_allclose(points, expected * signs, atol=1e-4)
    np.testing.assert_allclose(explained, (values**2 / (values**2).sum())[:2], rtol=1e-5)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (np.zeros((2, 5)), "2 vectors of width 5 span no plane"),
        (np.zeros((5, 1)), "5 vectors of width 1 span no plane"),
        (np.ones((5, 3)), "all representations are the same"),
    ],
)
def test_what_spans_no_plane(rows, reason):
    with pytest.raises(NotLogged, match=reason):
        vectors.principal_plane(rows)


def test_each_kept_text_has_its_picture(log):
    second = {"text_1_tokens": np.array(["a"]), "text_1_attention": np.ones((2, 2, 1, 1))}
    two = replace(log, attention=replace(log.attention, content=log.attention.content | second))
    specs = attention_pictures.text_plots(two)
    assert [spec.name for spec in specs] == ["attention_text_0", "attention_text_1"]
    figure = specs[1].draw(two)
    assert figure.texts[0].get_text() == "1 tokens, 2 layers of 2 heads: each row looks at columns"
    assert attention_pictures.text_plots(EMPTY) == []
