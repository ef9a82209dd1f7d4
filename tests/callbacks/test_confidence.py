"""Confidence of a validation against scikit-learn and numpy, on given logits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics
import torch
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support
from tensorboard.util.tensor_util import make_ndarray

from bert_ft.callbacks.confidence import ConfidenceMonitor, markdown_table
from bert_ft.errors import ConfigError

from .monitored import (
    IGNORED_REMARKS,
    Given,
    Log,
    Validation,
    arrays,
    broken_off,
    cells,
    events,
    fitted,
    given,
    records,
    trainer,
)

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]
NAMES = ["anger", "joy", "no label"]


def probabilities_of(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def calibration_error(probabilities, labels, num_bins):
    """In a loop over bins that include their left end."""
    highest, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for number in range(num_bins):
        inside = (highest >= number / num_bins) & (highest < (number + 1) / num_bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - highest[inside].mean())
    return error


def expected_scalars(values, num_bins=15):
    probabilities, labels = probabilities_of(values["logits"].double().numpy()), values["labels"].numpy()
    predictions, top = probabilities.argmax(1), probabilities.max(1)
    right = predictions == labels
    scalars = {
        "confidence/ece": calibration_error(probabilities, labels, num_bins),
        "confidence/brier": brier_score_loss(labels, probabilities, labels=range(3), scale_by_half=False),
        "confidence/mean_correct": top[right].mean() if right.any() else math.nan,
        "confidence/mean_wrong": top[~right].mean() if (~right).any() else math.nan,
    }
    scores = precision_recall_fscore_support(labels, predictions, labels=range(3), zero_division=np.nan)
    for score, each in zip(("precision", "recall", "f1"), scores, strict=False):
        scalars |= {f"class/{name}/{score}": value for name, value in zip(NAMES, each, strict=True)}
    return {name: float(value) for name, value in scalars.items() if not math.isnan(value)}


def looked_at(folder, values, batches=None, **settings):
    """The scalars of a validation of ``values``."""
    log = fitted(folder, Given(values, NAMES, batches), ConfidenceMonitor(folder / "monitor", **settings))
    assert log.scalars.keys() == {2}
    return log.scalars[2]


def saved_rows(folder):
    return arrays(folder / "monitor/validation_2.npz")


def top_losses(folder):
    return records(folder / "monitor/top_losses_2.json")


class TestOnGivenLogits:
    @pytest.mark.parametrize(("dtype", "num_bins"), [(torch.float32, 1), (torch.float64, 15)])
    def test_scalars_equal_scikit_learn(self, tmp_path, dtype, num_bins):
        values = given(dtype=dtype)
        expected = expected_scalars(values, num_bins)
        assert len(expected) == 13
        # torchmetrics' bins are in float32
        assert looked_at(tmp_path, values, num_bins=num_bins) == pytest.approx(expected, rel=1e-5)

    def test_files(self, tmp_path):
        values = given()
        looked_at(tmp_path, values, num_top_losses=9)
        names = {path.name for path in (tmp_path / "monitor").iterdir()}
        assert names == {"validation_2.npz", "top_losses_2.json"}
        saved = saved_rows(tmp_path)
        kinds = {"logits": "f", "labels": "i", "rows": "i", "names": "U", "confusion": "i", "num_rows": "i"}
        kinds["predictions"] = "i"
        assert {name: value.dtype.kind for name, value in saved.items()} == kinds
        assert saved["logits"].dtype == np.float32
        assert saved["names"].tolist() == NAMES
        assert saved["rows"].tolist() == list(range(60))
        np.testing.assert_array_equal(saved["logits"], values["logits"].flip(0))
        np.testing.assert_array_equal(saved["labels"], values["labels"].flip(0))
        losses = top_losses(tmp_path)
        probabilities = probabilities_of(saved["logits"].astype(np.float64))
        of_label = probabilities[range(60), saved["labels"]]
        assert [record["row"] for record in losses] == np.argsort(of_label, kind="stable")[:9].tolist()
        for record in losses:
            row = record["row"]
            assert record["text"] is None
            assert record["label"] == NAMES[saved["labels"][row]]
            assert record["prediction"] == NAMES[probabilities[row].argmax()]
            assert record["probability"] == pytest.approx(of_label[row], rel=1e-9)
            assert record["loss"] == pytest.approx(-np.log(of_label[row]), rel=1e-9)

    def test_only_some_rows_are_saved_but_all_count(self, tmp_path):
        values = given()
        assert looked_at(tmp_path, values, max_rows=10) == pytest.approx(expected_scalars(values), rel=1e-5)
        saved = saved_rows(tmp_path)
        assert len(saved["rows"]) == len(saved["labels"]) == len(saved["logits"]) == 10
        assert saved["rows"][[0, -1]].tolist() == [0, 59]
        assert set(np.diff(saved["rows"])) <= {6, 7}  # evenly over the split, which may be sorted by label
        np.testing.assert_array_equal(saved["labels"], values["labels"].flip(0)[saved["rows"]])
        expected = sklearn.metrics.confusion_matrix(values["labels"], values["logits"].argmax(1))
        np.testing.assert_array_equal(saved["confusion"], expected)
        assert saved["num_rows"] == 60
        assert any(record["row"] >= 10 for record in top_losses(tmp_path))

    @pytest.mark.parametrize("classifier", ["none", "without labels", "with two labels"])
    def test_without_rows_and_names_both_are_numbers(self, tmp_path, classifier):
        """And nobody is asked for texts."""
        values = given(num_rows=20)
        del values["rows"]
        module = Given(values, NAMES[:2] if classifier == "with two labels" else None)
        if classifier == "without labels":
            module.classifier = SimpleNamespace()
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path / "monitor"), datamodule=Validation(module))
        saved = saved_rows(tmp_path)
        assert saved["rows"].tolist() == list(range(20))
        assert saved["names"].tolist() == ["0", "1", "2"]
        np.testing.assert_array_equal(saved["logits"], values["logits"])
        assert {record["text"] for record in top_losses(tmp_path)} == {None}

    def test_shuffled_labels_show(self, tmp_path):
        values = given()
        right = looked_at(tmp_path / "right", values)
        wrong = looked_at(tmp_path / "wrong", {**values, "labels": values["labels"].roll(1)})
        assert right["confidence/ece"] < 0.15 < 0.3 < wrong["confidence/ece"]
        assert all(right[f"class/{name}/f1"] > wrong[f"class/{name}/f1"] + 0.2 for name in NAMES)
        losses = [[record["loss"] for record in top_losses(tmp_path / name)] for name in ("right", "wrong")]
        assert np.mean(losses[1]) > 2 * np.mean(losses[0])

    def test_a_class_that_the_split_lacks(self, tmp_path):
        values = given(present=[0, 2])
        values["logits"][:, 1] = -9.0
        scalars = looked_at(tmp_path, values)
        assert not any(name.startswith("class/joy") for name in scalars)
        assert scalars == pytest.approx(expected_scalars(values), rel=1e-5)
        assert saved_rows(tmp_path)["names"].tolist() == NAMES

    def test_all_correct(self, tmp_path):
        values = given()
        values["logits"] = 4 * torch.eye(3)[values["labels"]]
        scalars = looked_at(tmp_path, values)
        assert "confidence/mean_wrong" not in scalars
        assert scalars["confidence/mean_correct"] == pytest.approx(1 / (1 + 2 * math.exp(-4)))
        assert events(tmp_path / "tensorboard").Tags()["histograms"] == ["confidence/right"]

    def test_non_finite_rows_count_apart(self, tmp_path):
        values = given()
        values["logits"][3, 1], values["logits"][8, 2] = math.nan, math.inf
        kept = [row for row in range(60) if row not in (3, 8)]
        expected = expected_scalars({name: value[kept] for name, value in values.items()})
        scalars = looked_at(tmp_path, values)
        assert scalars == pytest.approx({**expected, "confidence/rows_not_finite": 2}, rel=1e-5)
        np.testing.assert_array_equal(saved_rows(tmp_path)["logits"], values["logits"].flip(0))
        assert not {59 - 3, 59 - 8} & {record["row"] for record in top_losses(tmp_path)}

    def test_nothing_finite(self, tmp_path):
        values = given(num_rows=9)
        values["logits"][:] = math.nan
        assert looked_at(tmp_path, values) == {"confidence/rows_not_finite": 9}
        assert np.isnan(saved_rows(tmp_path)["logits"]).all()
        assert top_losses(tmp_path) == []

    def test_a_row_that_came_twice_counts_once(self, tmp_path):
        """As a sampler of several processes repeats the first rows to even out."""
        values = given(num_rows=20)
        scalars = looked_at(tmp_path, values, [*torch.arange(20).split(7), torch.tensor([0, 1])])
        assert saved_rows(tmp_path)["rows"].tolist() == list(range(20))
        assert scalars == pytest.approx(expected_scalars(values), rel=1e-5)

    def test_texts_and_tensorboard(self, tmp_path):
        values = given()
        module = Given(values, NAMES)
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path / "monitor"), datamodule=Validation(module))
        losses = top_losses(tmp_path)
        assert [record["text"] for record in losses] == [f"text {record['row']}" for record in losses]
        assert len(losses) == 20
        seen = events(tmp_path / "tensorboard")
        probabilities = probabilities_of(values["logits"].double().numpy())
        right = probabilities.argmax(1) == values["labels"].numpy()
        for name, rows in {"right": right, "wrong": ~right}.items():
            (event,) = seen.Histograms(f"confidence/{name}")
            assert (event.step, event.histogram_value.num) == (2, rows.sum())
            assert event.histogram_value.sum == pytest.approx(probabilities[rows].max(1).sum())
            # TensorBoard's own bins widen upward
            assert np.diff(event.histogram_value.bucket_limit).max() == pytest.approx(0.02)
        (event,) = seen.Tensors("confidence/top_losses/text_summary")
        table = make_ndarray(event.tensor_proto).item().decode()
        assert table == markdown_table(losses)
        assert cells(table)[1][1].startswith("text ")


class TestWhenItLooks:
    @pytest.mark.parametrize("function", ["sanity check", "validate", "test"])
    def test_not_outside_of_training(self, tmp_path, function):
        module, log, monitor = Given(given()), Log(), ConfidenceMonitor(tmp_path / "monitor")
        module.test_step = module.validation_step
        if function == "sanity check":
            trainer(tmp_path, monitor, log, limit_val_batches=2, max_steps=0).fit(module)
        else:
            running = trainer(tmp_path, monitor, log)
            getattr(running, function)(module, module.val_dataloader(), verbose=False)
        assert log.scalars == {}
        assert not (tmp_path / "monitor").exists()

    def test_the_first_of_several_loaders(self, tmp_path):
        module = Given(given())
        step, one = module.validation_step, module.val_dataloader()
        module.validation_step = lambda rows, batch_idx, dataloader_idx: step(rows, batch_idx)
        module.val_dataloader = lambda: [one, [torch.tensor([1, 2])]]
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path / "monitor"))
        assert len(saved_rows(tmp_path)["rows"]) == 60

    def test_not_at_rows_before_an_error(self, tmp_path):
        monitor, module = ConfidenceMonitor(tmp_path / "monitor"), Given(given())
        with pytest.raises(RuntimeError, match="broken off"):
            fitted(tmp_path, broken_off(module), monitor, num_sanity_val_steps=0)
        assert monitor._batches is None
        assert not (tmp_path / "monitor").exists()
        fitted(tmp_path, Given(given(num_rows=4)), monitor)
        assert len(saved_rows(tmp_path)["rows"]) == 4

    def test_nothing_is_left_half_written(self, tmp_path, monkeypatch):
        def fill_up(file, **_):
            file.write(b"half")
            raise OSError("no space left")

        monkeypatch.setattr(np, "savez_compressed", fill_up)
        with pytest.raises(OSError, match="no space left"):
            fitted(tmp_path, Given(given()), ConfidenceMonitor(tmp_path / "monitor"))
        assert not list((tmp_path / "monitor").glob("*.npz"))


LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            None,
            r"needs a mapping with `logits`, `labels` from Given\.validation_step, .* NoneType; return one",
        ),
        (torch.zeros(()), r"which returned Tensor"),
        ({"labels": LABELS}, r"which returned no `logits`; return them"),
        ({"loss": torch.zeros(4)}, r"which returned no `logits`, `labels`"),
        ({"logits": torch.zeros(4, 1), "labels": LABELS}, r"at least two classes .* returned \(4, 1\)"),
        ({"logits": torch.zeros(4), "labels": LABELS}, r"which returned \(4,\)"),
    ],
)
def test_a_module_that_returns_something_else(tmp_path, values, message):
    module = Given(values, batches=[torch.arange(4)])
    with pytest.raises(ConfigError, match=f"monitor: ConfidenceMonitor .*{message}"):
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path), num_sanity_val_steps=0)


@pytest.mark.parametrize("name", ["num_top_losses", "max_rows", "num_bins"])
def test_out_of_range(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"monitor\.confidence\.{name}=0: must be an integer ≥ 1"):
        ConfidenceMonitor(tmp_path, **{name: 0})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b || c", "a | b || c"),
        ("ends in \\|", "ends in \\|"),
        ("two\nlines\r\nand three", "two\\nlines\\nand three"),
        ("a &#124; b & c", "a &#124; b & c"),
        ("x" * 199 + "|y", "x" * 199 + "|"),
        (None, ""),
    ],
)
def test_any_text_is_one_cell_of_the_table(text, shown):
    record = {"row": 3, "text": text, "label": "a|b", "prediction": "c\nd", "probability": 0.25}
    rows = cells(markdown_table([record, {**record, "row": 4}]))
    assert rows[0] == ["row", "text", "label", "prediction", "probability"]
    assert rows[1] == ["3", shown, "a|b", "c\\nd", "0.2500"]
    assert [row[0] for row in rows[1:]] == ["3", "4"]
