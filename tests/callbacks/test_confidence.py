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
    """In a loop over bins that hold their left end."""
    highest, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for number in range(num_bins):
        inside = (highest >= number / num_bins) & (highest < (number + 1) / num_bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - highest[inside].mean())
    return error


def expected_scalars(logits, labels, num_bins=15):
    probabilities = probabilities_of(logits.double().numpy())
    labels = labels.numpy()
    right = probabilities.argmax(1) == labels
    top = probabilities.max(1)
    scalars = {
        "confidence/ece": calibration_error(probabilities, labels, num_bins),
        "confidence/brier": brier_score_loss(labels, probabilities, labels=range(3), scale_by_half=False),
        "confidence/mean_correct": top[right].mean() if right.any() else math.nan,
        "confidence/mean_wrong": top[~right].mean() if (~right).any() else math.nan,
    }
    scores = precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=range(3), zero_division=np.nan
    )
    for score, values in zip(("precision", "recall", "f1"), scores, strict=False):
        scalars |= {f"class/{name}/{score}": value for name, value in zip(NAMES, values, strict=True)}
    return {name: float(value) for name, value in scalars.items() if not math.isnan(value)}


class TestOnGivenLogits:
    @pytest.mark.parametrize("num_bins", [1, 15])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_scalars_equal_scikit_learn(self, tmp_path, dtype, num_bins):
        values = given(dtype=dtype)
        log = fitted(
            tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path / "monitor", num_bins=num_bins)
        )
        assert log.scalars.keys() == {2}
        expected = expected_scalars(values["logits"], values["labels"], num_bins)
        assert len(expected) == 13
        assert log.scalars[2] == pytest.approx(expected, rel=1e-5)  # torchmetrics' bins are in float32

    def test_files(self, tmp_path):
        values = given()
        fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path / "monitor", num_top_losses=9))
        assert {path.name for path in (tmp_path / "monitor").iterdir()} == {
            "validation_2.npz",
            "top_losses_2.json",
        }
        saved = arrays(tmp_path / "monitor/validation_2.npz")
        assert {name: value.dtype.kind for name, value in saved.items()} == {
            "logits": "f",
            "labels": "i",
            "rows": "i",
            "names": "U",
            "confusion": "i",
            "num_rows": "i",
        }
        assert saved["logits"].dtype == np.float32
        assert saved["names"].tolist() == NAMES
        assert saved["rows"].tolist() == list(range(60))
        np.testing.assert_array_equal(saved["logits"], values["logits"].flip(0))
        np.testing.assert_array_equal(saved["labels"], values["labels"].flip(0))

        losses = records(tmp_path / "monitor/top_losses_2.json")
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
        log = fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path, max_rows=10))
        saved = arrays(tmp_path / "validation_2.npz")
        assert len(saved["rows"]) == len(saved["labels"]) == len(saved["logits"]) == 10
        assert saved["rows"][[0, -1]].tolist() == [0, 59]
        assert set(np.diff(saved["rows"])) <= {6, 7}  # evenly over the split, which may be sorted by label
        np.testing.assert_array_equal(saved["labels"], values["labels"].flip(0)[saved["rows"]])
        expected = sklearn.metrics.confusion_matrix(values["labels"], values["logits"].argmax(1))
        np.testing.assert_array_equal(saved["confusion"], expected)
        assert saved["num_rows"] == 60
        assert log.scalars[2] == pytest.approx(expected_scalars(values["logits"], values["labels"]), rel=1e-5)
        assert any(record["row"] >= 10 for record in records(tmp_path / "top_losses_2.json"))

    def test_without_rows_they_are_counted_and_nobody_is_asked_for_texts(self, tmp_path):
        values = given(num_rows=20)
        del values["rows"]
        fitted(tmp_path, Given(values), ConfidenceMonitor(tmp_path), datamodule=Validation(Given(values)))
        saved = arrays(tmp_path / "validation_2.npz")
        assert saved["rows"].tolist() == list(range(20))
        assert saved["names"].tolist() == ["0", "1", "2"]
        np.testing.assert_array_equal(saved["logits"], values["logits"])
        assert {record["text"] for record in records(tmp_path / "top_losses_2.json")} == {None}

    def test_texts_are_those_of_the_rows(self, tmp_path):
        module = Given(given())
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path), datamodule=Validation(module))
        losses = records(tmp_path / "top_losses_2.json")
        assert len(losses) == 20
        assert [record["text"] for record in losses] == [f"text {record['row']}" for record in losses]

    def test_shuffled_labels_show(self, tmp_path):
        values = given()
        wrong = {**values, "labels": values["labels"].roll(1)}
        logs = [
            fitted(tmp_path / name, Given(part, NAMES), ConfidenceMonitor(tmp_path / name))
            for name, part in {"right": values, "wrong": wrong}.items()
        ]
        right, wrong = (log.scalars[2] for log in logs)
        assert right["confidence/ece"] < 0.15 < 0.3 < wrong["confidence/ece"]
        assert right["confidence/brier"] < 0.4 < 0.8 < wrong["confidence/brier"]
        assert all(right[f"class/{name}/f1"] > wrong[f"class/{name}/f1"] + 0.2 for name in NAMES)
        means = [
            np.mean([record["loss"] for record in records(tmp_path / name / "top_losses_2.json")])
            for name in ("right", "wrong")
        ]
        assert means[1] > 2 * means[0]

    def test_a_class_that_the_split_lacks(self, tmp_path):
        values = given(present=[0, 2])
        values["logits"][:, 1] = -9.0
        scalars = fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path)).scalars[2]
        assert not any(name.startswith("class/joy") for name in scalars)
        assert scalars == pytest.approx(expected_scalars(values["logits"], values["labels"]), rel=1e-5)
        assert arrays(tmp_path / "validation_2.npz")["names"].tolist() == NAMES

    def test_all_right(self, tmp_path):
        values = given()
        values["logits"] = 4 * torch.eye(3)[values["labels"]]
        scalars = fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path / "monitor")).scalars[2]
        assert "confidence/mean_wrong" not in scalars
        assert scalars["confidence/mean_correct"] == pytest.approx(1 / (1 + 2 * math.exp(-4)))
        assert events(tmp_path / "tensorboard").Tags()["histograms"] == ["confidence/right"]

    def test_rows_that_are_not_finite_count_apart(self, tmp_path):
        values = given()
        values["logits"][3, 1] = math.nan
        values["logits"][8, 2] = math.inf
        scalars = fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path)).scalars[2]
        kept = [row for row in range(60) if row not in (3, 8)]
        expected = expected_scalars(values["logits"][kept], values["labels"][kept])
        assert scalars == pytest.approx({**expected, "confidence/rows_not_finite": 2}, rel=1e-5)
        saved = arrays(tmp_path / "validation_2.npz")["logits"]
        np.testing.assert_array_equal(saved, values["logits"].flip(0))
        listed = [record["row"] for record in records(tmp_path / "top_losses_2.json")]
        assert not {59 - 3, 59 - 8} & set(listed)

    def test_nothing_finite(self, tmp_path):
        values = given(num_rows=9)
        values["logits"][:] = math.nan
        scalars = fitted(tmp_path, Given(values, NAMES), ConfidenceMonitor(tmp_path)).scalars[2]
        assert scalars == {"confidence/rows_not_finite": 9}
        assert np.isnan(arrays(tmp_path / "validation_2.npz")["logits"]).all()
        assert records(tmp_path / "top_losses_2.json") == []

    def test_a_row_that_came_twice_counts_once(self, tmp_path):
        """As a sampler of several processes repeats the first rows to be even."""
        values = given(num_rows=20)
        batches = [*torch.arange(20).split(7), torch.tensor([0, 1])]
        log = fitted(tmp_path, Given(values, NAMES, batches), ConfidenceMonitor(tmp_path))
        assert arrays(tmp_path / "validation_2.npz")["rows"].tolist() == list(range(20))
        assert log.scalars[2] == pytest.approx(expected_scalars(values["logits"], values["labels"]), rel=1e-5)

    def test_tensorboard(self, tmp_path):
        values = given()
        module = Given(values, NAMES)
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path), datamodule=Validation(module))
        seen = events(tmp_path / "tensorboard")
        probabilities = probabilities_of(values["logits"].double().numpy())
        right = probabilities.argmax(1) == values["labels"].numpy()
        for name, rows in {"right": right, "wrong": ~right}.items():
            (event,) = seen.Histograms(f"confidence/{name}")
            top = probabilities[rows].max(1)
            assert (event.step, event.histogram_value.num) == (2, rows.sum())
            assert event.histogram_value.sum == pytest.approx(top.sum())
            ends = np.array(event.histogram_value.bucket_limit)
            # TensorBoard's own are wider the higher they lie
            assert np.diff(ends).max() == pytest.approx(0.02)
        (event,) = seen.Tensors("confidence/top_losses/text_summary")
        table = make_ndarray(event.tensor_proto).item().decode()
        assert table == markdown_table(records(tmp_path / "top_losses_2.json"))
        assert cells(table)[1][1].startswith("text ")


class TestWhenItLooks:
    def test_not_at_the_sanity_check(self, tmp_path):
        module = Given(given())
        log = fitted(
            tmp_path, module, ConfidenceMonitor(tmp_path / "monitor"), limit_val_batches=2, max_steps=0
        )
        assert log.scalars == {}
        assert not (tmp_path / "monitor").exists()

    @pytest.mark.parametrize("function", ["validate", "test"])
    def test_not_when_nobody_trains(self, tmp_path, function):
        module, log = Given(given()), Log()
        module.test_step = module.validation_step
        looking = trainer(tmp_path, ConfidenceMonitor(tmp_path / "monitor"), log)
        getattr(looking, function)(module, module.val_dataloader(), verbose=False)
        assert log.scalars == {}
        assert not (tmp_path / "monitor").exists()

    def test_the_first_of_several_loaders(self, tmp_path):
        module = Given(given())
        module.validation_step = lambda rows, batch_idx, dataloader_idx: Given.validation_step(
            module, rows, batch_idx
        )
        one = module.val_dataloader()
        module.val_dataloader = lambda: [one, [torch.tensor([1, 2])]]
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path))
        assert len(arrays(tmp_path / "validation_2.npz")["rows"]) == 60

    def test_what_was_collected_before_an_error_is_forgotten(self, tmp_path):
        monitor, module = ConfidenceMonitor(tmp_path / "monitor"), Given(given())
        with pytest.raises(RuntimeError, match="broken off"):
            fitted(tmp_path, broken_off(module), monitor, num_sanity_val_steps=0)
        assert monitor._batches is None
        assert not (tmp_path / "monitor").exists()
        fitted(tmp_path, Given(given(num_rows=4)), monitor)
        assert len(arrays(tmp_path / "monitor/validation_2.npz")["rows"]) == 4

    def test_nothing_is_left_half_written(self, tmp_path, monkeypatch):
        def fill_up(file, **_):
            file.write(b"half")
            raise OSError("no space left")

        monkeypatch.setattr(np, "savez_compressed", fill_up)
        with pytest.raises(OSError, match="no space left"):
            fitted(tmp_path, Given(given()), ConfidenceMonitor(tmp_path / "monitor"))
        assert not list((tmp_path / "monitor").glob("*.npz"))


class TestErrors:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (None, r"needs a mapping with `logits`, `labels` from Given\.validation_step, .* NoneType"),
            (torch.zeros(()), r"Given\.validation_step, which returned Tensor"),
            ({"labels": torch.zeros(4, dtype=torch.long)}, r"which returned no `logits`; return them"),
            ({"logits": torch.zeros(4, 2)}, r"which returned no `labels`"),
            ({"loss": torch.zeros(4)}, r"which returned no `logits`, `labels`"),
            (
                {"logits": torch.zeros(4, 1), "labels": torch.zeros(4, dtype=torch.long)},
                r"two classes at least, .* returned \(4, 1\)",
            ),
            (
                {"logits": torch.zeros(4), "labels": torch.zeros(4, dtype=torch.long)},
                r"which returned \(4,\)",
            ),
        ],
    )
    def test_a_module_that_returns_something_else(self, tmp_path, values, message):
        module = Given(values, batches=[torch.arange(4)])
        with pytest.raises(ConfigError, match=f"monitor: ConfidenceMonitor {'.*'}{message}"):
            fitted(tmp_path, module, ConfidenceMonitor(tmp_path), num_sanity_val_steps=0)

    @pytest.mark.parametrize("name", ["num_top_losses", "max_rows", "num_bins"])
    def test_out_of_range(self, tmp_path, name):
        with pytest.raises(ConfigError, match=rf"monitor\.confidence\.{name}=0: must be an integer ≥ 1"):
            ConfidenceMonitor(tmp_path, **{name: 0})

    def test_labels_of_another_count_are_numbers(self, tmp_path):
        fitted(tmp_path, Given(given(), NAMES[:2]), ConfidenceMonitor(tmp_path))
        assert arrays(tmp_path / "validation_2.npz")["names"].tolist() == ["0", "1", "2"]

    def test_a_classifier_without_labels(self, tmp_path):
        module = Given(given())
        module.classifier = SimpleNamespace()
        fitted(tmp_path, module, ConfidenceMonitor(tmp_path))
        assert arrays(tmp_path / "validation_2.npz")["names"].tolist() == ["0", "1", "2"]
