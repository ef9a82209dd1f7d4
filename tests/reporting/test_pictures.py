"""What the pictures show of a run: titles, lines and rows; how they look is tested in tests.drawing."""

from dataclasses import replace

import numpy as np
import pytest

from bert_ft.drawing.style import png
from bert_ft.reporting import (
    attention_pictures,
    layer_pictures,
    representation_pictures,
    training_pictures,
    validation_pictures,
)
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.pictures import LeftOut, Picture, draw, plot_specs_of
from bert_ft.reporting.run_log import RunLog, read_run
from bert_ft.reporting.scalars import Series
from tests.drawing.texts import assert_readable
from tests.reporting.synthetic import Size, write_run

pytestmark = pytest.mark.slow

SIZE = Size(num_rows=20, num_steps=8)
EMPTY = RunLog(folder=None)
EVERY_PLOT = [spec for plots in plot_specs_of(EMPTY).values() for spec in plots]


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> RunLog:
    return read_run(write_run(tmp_path_factory.mktemp("run"), SIZE))


def series(*values: float) -> Series:
    return Series(np.arange(1, len(values) + 1), np.array(values, dtype=float))


def with_scalars(log: RunLog, **changes: Series) -> RunLog:
    return replace(
        log, scalars=log.scalars | {name.replace("__", "/"): value for name, value in changes.items()}
    )


def title(figure) -> str:
    return figure.axes[0].get_title(loc="left")


def lines(figure, axes: int = 0) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[axes].get_lines()}


@pytest.mark.parametrize("spec", EVERY_PLOT, ids=lambda spec: spec.name)
def test_every_picture_can_be_drawn(spec, log):
    assert_readable(spec.draw(log), least=4.5)


def test_weight_decay_is_drawn_where_it_changes(log):
    still = {f"lr-AdamW/{layer}-weight_decay": series(0.1, 0.1) for layer in ("embeddings", "head")}
    assert not training_pictures.weight_decay_plots(replace(log, scalars=log.scalars | still))
    falling = {tag: series(0.1, 0.05) for tag in still}
    changed = replace(log, scalars=log.scalars | falling)
    (spec,) = training_pictures.weight_decay_plots(changed)
    figure = spec.draw(changed)
    assert_readable(figure)
    assert lines(figure)["head"] == [0.1, 0.05]
    assert title(figure) == "Weight decay: 0.1 at first, 0.05 at the end"


def test_drift_is_drawn_where_weights_were_averaged(log):
    assert not layer_pictures.drift_plots(log)
    drifting = {f"weights/{layer}/averaging_drift": series(0.5, 0.25) for layer in ("embeddings", "head")}
    averaged = replace(log, scalars=log.scalars | drifting)
    (spec,) = layer_pictures.drift_plots(averaged)
    assert_readable(spec.draw(averaged), least=4.5)


@pytest.mark.parametrize("spec", EVERY_PLOT, ids=lambda spec: spec.name)
def test_every_picture_says_what_it_lacks(spec):
    with pytest.raises(NotLogged, match=r"logged|kept|log "):
        spec.draw(EMPTY)


def test_names_are_unique_and_texts_are_sentences(log):
    plots = [spec for plots in plot_specs_of(log).values() for spec in plots]
    assert len({spec.name for spec in plots}) == len(plots)
    assert all(spec.reading.endswith(".") and spec.title[0].isupper() for spec in plots)


def test_drawn_or_left_out(log):
    picture, left_out = draw(
        [training_pictures.PLOTS[0], layer_pictures.PLOTS[0]],
        replace(log, scalars={"val/loss": series(1)}),
    )
    assert isinstance(picture, Picture)
    assert picture.png.startswith(b"\x89PNG")
    assert left_out == LeftOut(
        "Spread of the activations", "no activations/<block>/sd was logged (monitor activations)"
    )


def test_losses():
    scalars = {
        "train/loss": series(2, 1, 1),
        "train/loss_smoothed": series(2, 1.5),
        "val/loss": series(0.5, 0.25),
    }
    metrics = {"val": {"loss": 0.25}, "checkpoint": {"step": 2}}
    figure = training_pictures.losses(RunLog(folder=None, scalars=scalars, metrics=metrics))
    assert title(figure) == "Training loss 2 → 1.5; validation 0.25 at its lowest, step 2"
    assert lines(figure) == {
        "training": [2, 1, 1],
        "training, smoothed": [2, 1.5],
        "validation": [0.5, 0.25],
        "kept checkpoint": [0.25],
    }


def test_losses_are_smoothed_where_nobody_did(log):
    found = lines(training_pictures.losses(RunLog(folder=None, scalars={"train/loss": series(2, 1)})))
    assert found["training, smoothed"] == pytest.approx([2, (2 * 2 / 3 + 1) / (2 / 3 + 1)])


def test_losses_that_are_nan():
    nan = {"train/loss": series(np.nan), "val/loss": series(np.nan)}
    assert title(training_pictures.losses(RunLog(folder=None, scalars=nan))) == "No loss is finite"


def test_validation_metrics_mark_the_objective(log):
    figure = training_pictures.validation_metrics(log)
    kept = log.metrics["val"]["accuracy"]
    assert title(figure) == f"val/accuracy is {kept:.4f} at step 6: kept checkpoint"
    assert lines(figure)["kept checkpoint"] == [kept]
    assert {"accuracy", "f1_macro"} <= lines(figure).keys()


def test_validation_metrics_where_the_objective_is_the_loss(log):
    config = {"objective": {"metric": "val/loss", "mode": "min"}}
    metrics = log.metrics | {"objective": {"metric": "val/loss"}}
    assert title(
        training_pictures.validation_metrics(replace(log, config=config, metrics=metrics))
    ).startswith(f"val/accuracy is {log.metrics['val']['accuracy']:.4f}")


def test_learning_rates_of_each_layer_once(log):
    figure = training_pictures.learning_rates(log)
    assert list(lines(figure)) == ["embeddings", "layer.0", "layer.1", "head"]
    np.testing.assert_allclose(lines(figure)["head"], log.scalars["lr-AdamW/head"].values)


def test_learning_rates_of_groups_without_decay_alone():
    scalars = {
        "lr-AdamW/layer.0/no_decay": series(1),
        "lr-AdamW/head": series(2),
        "lr-AdamW/head/no_decay": series(3),
        "lr-AdamW/head/trained/no_decay": series(1.5),
    }
    assert lines(training_pictures.learning_rates(RunLog(folder=None, scalars=scalars))) == {
        "layer.0": [1],
        "head, trained": [1.5],
        "head": [2],
    }


def test_learning_rates_of_other_optimizers():
    scalars = {"lr-SGD": series(1), "lr-SGD-momentum": series(2), "lr-SGD-weight_decay": series(3)}
    figure = training_pictures.learning_rates(RunLog(folder=None, scalars=scalars))
    assert [line.get_ydata().tolist() for line in figure.axes[0].get_lines()] == [[1]]


def test_gradient_norms():
    scalars = {"train/grad_norm": series(4, 0.5), "train/grad_norm_clipped": series(1, 0.5)}
    config = {"trainer": {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"}}
    figure = training_pictures.gradient_norms(RunLog(folder=None, scalars=scalars, config=config))
    assert title(figure) == "50% of the logged steps were clipped"
    assert lines(figure) == {"before clipping": [4, 0.5], "after clipping": [1, 0.5], "clipped at 1": [1, 1]}


@pytest.mark.parametrize(
    "trainer", [{"gradient_clip_val": None}, {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}]
)
def test_gradient_norms_without_a_threshold(trainer):
    log = RunLog(folder=None, scalars={"gradients/norm": series(1, 2)}, config={"trainer": trainer})
    assert lines(training_pictures.gradient_norms(log)).keys() == {"before clipping", "after clipping"}


def test_many_gradient_norms_are_smoothed():
    log = RunLog(folder=None, scalars={"train/grad_norm": series(*range(1, 101))})
    assert list(lines(training_pictures.gradient_norms(log))) == [
        "before clipping",
        "before, smoothed",
        "after, smoothed",
    ]


def test_packed_batches_have_no_padding_to_show(log):
    titles = [axes.get_title(loc="left").split(":")[0] for axes in training_pictures.throughput(log).axes]
    assert titles == ["Speed", "Peak memory"]
    padded = with_scalars(log, throughput__padding_ratio=series(0.25, 0.5, 0.25))
    assert (
        training_pictures.throughput(padded).axes[1].get_title(loc="left")
        == "Padding: median 0.25 share of places"
    )


def rows_of(figure, axes: int = 0) -> list[str]:
    return [label.get_text() for label in figure.axes[axes].get_yticklabels()]


def test_activations_by_block(log):
    figure = layer_pictures.activation_sd(log)
    titles = [axes.get_title(loc="left") for axes in figure.axes[:5]]
    assert titles == [
        "attention output",
        "feed-forward activation",
        "feed-forward output",
        "hidden state",
        "head",
    ]
    assert rows_of(figure) == ["0", "1"]
    assert rows_of(figure, 4) == ["dense", "output"]
    values = np.asarray(figure.axes[3].collections[0].get_array())
    np.testing.assert_allclose(values[1], log.scalars["activations/layer.1.hidden/sd"].values)


def test_gradients_by_layer_are_those_before_clipping():
    scalars = {
        "gradients/head/norm": series(4, 2),
        "gradients/layer.0/norm": series(1, 1),
        "gradients/norm": series(9, 9),
    }
    scalars["gradients/head/norm_clipped"] = series(7, 7)
    figure = layer_pictures.gradient_norm(RunLog(folder=None, scalars=scalars))
    assert title(figure) == "Gradient norm before clipping: on average 1 in layer.0, 3 in head"
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array(), [[1, 1], [4, 2]])


def test_layers_without_a_finite_value():
    log = RunLog(folder=None, scalars={"weights/head/distance": series(np.nan)})
    assert title(layer_pictures.distance(log)).endswith("no finite value")


def test_confidence_counts_sure_mistakes(log):
    arrays = log.validation.content | {
        "logits": np.array([[9.0, 0, 0], [9, 0, 0], [1, 0, 0], [0, 9, 0], [np.nan, 0, 0]]),
        "labels": np.array([0, 1, 1, 1, 1]),
    }
    changed = replace(log, validation=replace(log.validation, content=arrays))
    wanted = "50.0% of 4 rows are right; wrong: 2, of them 1 with a probability above 0.9"
    assert title(validation_pictures.confidence(changed)) == wanted


def test_calibration_has_the_bins_of_the_monitor(log):
    figure = validation_pictures.reliability(log)
    assert len(figure.axes[1].patches) == 15
    config = {"monitor": {"confidence": {"num_bins": 7}}}
    assert len(validation_pictures.reliability(replace(log, config=config)).axes[1].patches) == 7


def test_a_picture_that_fails_costs_no_other(log, caplog):
    def fail(_):
        raise ZeroDivisionError("by nothing")

    broken = replace(training_pictures.PLOTS[0], draw=fail)
    left_out, picture = draw([broken, training_pictures.PLOTS[0]], log)
    assert left_out == LeftOut("Loss", "it couldn't be drawn: ZeroDivisionError: by nothing")
    assert isinstance(picture, Picture)
    assert "losses couldn't be drawn" in caplog.text


def test_confusion(log):
    logits, labels = log.validation.content["logits"], log.validation.content["labels"]
    wrong = (logits.argmax(1) != labels).sum()
    assert title(validation_pictures.confusion(log)) == f"{wrong} of 20 rows are off the diagonal"


def test_classes_over_training_are_sorted_by_the_last_validation():
    scalars = {"class/a/b/f1": series(0.1, 0.5), "class/c/f1": series(0.9, 0.2), "class/d/f1": series(0.3)}
    figure = validation_pictures.class_f1_over_training(RunLog(folder=None, scalars=scalars))
    assert rows_of(figure) == ["a/b", "c", "d"]
    assert title(figure) == "F1 of each class; lowest at the end: c, 0.20"


def test_classes_with_letters_that_mean_something_to_matplotlib():
    scalars = {"class/$10_$20/f1": series(0.9, 0.2), "class/two\nlines/f1": series(0.9, 0.3)}
    figure = validation_pictures.class_f1_over_training(RunLog(folder=None, scalars=scalars))
    assert png(figure).startswith(b"\x89PNG")
    assert title(figure).endswith(r"lowest at the end: \$10_\$20, 0.20")
    assert len(rows_of(figure)) == 2


@pytest.mark.parametrize(
    "make",
    [
        validation_pictures.class_f1_over_training,
        validation_pictures.confidence_over_training,
        representation_pictures.separation,
    ],
)
def test_one_validation_makes_no_course(make):
    tags = ("class/a/f1", "confidence/ece", "representations/silhouette")
    with pytest.raises(NotLogged, match="there was one validation"):
        make(RunLog(folder=None, scalars=dict.fromkeys(tags, series(0.5))))


def test_representations_leave_out_rows_that_are_not_finite(log):
    arrays = {name: values.copy() for name, values in log.representations.content.items()}
    arrays["vectors"][0] = np.nan
    figure = representation_pictures.plane(
        replace(log, representations=replace(log.representations, content=arrays))
    )
    assert title(figure).startswith("19 validation rows; the plane shows ")


def test_each_kept_text_has_its_picture(log):
    content = {
        **log.attention.content,
        "text_1_tokens": np.array(["a"]),
        "text_1_attention": np.ones((2, 2, 1, 1)),
    }
    two = replace(log, attention=replace(log.attention, content=content))
    names = [spec.name for spec in attention_pictures.text_plots(two)]
    assert names == ["attention_text_0", "attention_text_1"]
    assert attention_pictures.text_plots(EMPTY) == []
    figure = attention_pictures.text_plots(two)[1].draw(two)
    assert figure.texts[0].get_text() == "1 tokens, 2 layers of 2 heads: each row looks at columns"
