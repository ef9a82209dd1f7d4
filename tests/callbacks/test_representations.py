"""Vectors of a validation against the saved model's own, and what TensorBoard's projector gets."""

import csv
import math

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from sklearn.metrics import silhouette_score
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from bert_ft.callbacks.representations import RepresentationMonitor
from bert_ft.errors import ConfigError
from bert_ft.nn.representations import centroid_distance, effective_rank
from tests.training.running import reloaded

from .monitored import (
    IGNORED_REMARKS,
    Given,
    Validation,
    arrays,
    broken_off,
    finished,
    fitted,
)

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]
NAMES = ["anger", "joy", "no label"]


def given(num_rows=60, seed=0, distance=4.0, dtype=torch.float32):
    """Vectors that depend on the label, in the order of the loader, which reverses the rows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=num_rows)
    vectors = rng.normal(size=(num_rows, 5))
    vectors[:, :3] += distance * np.eye(3)[labels]
    return {
        "features": torch.from_numpy(vectors).to(dtype),
        "logits": torch.from_numpy(rng.normal(size=(num_rows, 3))),
        "labels": torch.from_numpy(labels),
        "rows": torch.arange(num_rows).flip(0),
    }


def expected_scalars(vectors, labels):
    points = vectors.double()
    return {
        "representations/silhouette": silhouette_score(points.numpy(), labels.numpy()),
        "representations/centroid_distance": centroid_distance(points, labels),
        "representations/effective_rank": effective_rank(points),
    }


class TestOnGivenVectors:
    def test_rows_from_all_over_the_split(self, tmp_path):
        values = given()
        log = fitted(
            tmp_path, Given(values, NAMES), RepresentationMonitor(tmp_path / "monitor", num_texts=25)
        )
        assert [path.name for path in (tmp_path / "monitor").iterdir()] == ["representations_2.npz"]
        saved = arrays(tmp_path / "monitor/representations_2.npz")
        rows = saved["rows"]
        assert len(rows) == 25
        assert (np.diff(rows) > 0).all()
        assert max(np.diff(rows)) <= 4  # of 60
        assert rows[0] <= 3
        assert rows[-1] >= 56
        kept = 59 - rows  # the loader has them the other way round
        assert saved["names"].tolist() == NAMES
        assert saved["vectors"].dtype == np.float32
        np.testing.assert_array_equal(saved["vectors"], values["features"].numpy()[kept])
        np.testing.assert_array_equal(saved["labels"], values["labels"].numpy()[kept])
        np.testing.assert_array_equal(saved["predictions"], values["logits"].numpy()[kept].argmax(1))
        assert log.scalars.keys() == {2}
        expected = expected_scalars(values["features"][kept], values["labels"][kept])
        assert log.scalars[2] == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_vectors_of_another_precision(self, tmp_path, dtype):
        values = given(dtype=dtype)
        fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path))
        saved = arrays(tmp_path / "representations_2.npz")["vectors"]
        assert saved.dtype == np.float32
        np.testing.assert_array_equal(saved, values["features"].float().flip(0))

    def test_without_rows_they_are_counted_as_they_come(self, tmp_path):
        values = given()
        del values["rows"]
        module = Given(values)
        fitted(tmp_path, module, RepresentationMonitor(tmp_path, num_texts=10), datamodule=Validation(module))
        saved = arrays(tmp_path / "representations_2.npz")
        assert len(saved["rows"]) == 10
        np.testing.assert_array_equal(saved["vectors"], values["features"][saved["rows"]])
        assert projected(tmp_path / "tensorboard")[1][0] == ["label", "prediction"]

    def test_shuffled_labels_show(self, tmp_path):
        values = given()
        wrong = {**values, "labels": values["labels"].roll(1)}
        right, wrong = (
            fitted(tmp_path / name, Given(part), RepresentationMonitor(tmp_path / name)).scalars[2]
            for name, part in {"right": values, "wrong": wrong}.items()
        )
        assert right["representations/silhouette"] > 0.3 > 0.05 > wrong["representations/silhouette"]
        assert right["representations/centroid_distance"] > 2 > 1 > wrong["representations/centroid_distance"]
        assert right["representations/effective_rank"] == wrong["representations/effective_rank"]

    def test_one_class_has_a_rank_alone(self, tmp_path):
        values = given()
        values["labels"][:] = 1
        scalars = fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path)).scalars[2]
        assert scalars == {
            "representations/effective_rank": pytest.approx(effective_rank(values["features"]))
        }

    def test_equal_vectors_have_nothing(self, tmp_path):
        values = given()
        values["features"][:] = 0.5
        values["labels"][:] = 1
        log = fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path))
        assert log.scalars == {}
        assert (tmp_path / "representations_2.npz").exists()

    def test_rows_that_are_not_finite_are_left_out(self, tmp_path):
        values = given(num_rows=30)
        values["features"][4, 2] = math.nan
        log = fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path))
        kept = [row for row in range(30) if row != 4]
        expected = expected_scalars(values["features"][kept], values["labels"][kept])
        assert log.scalars[2] == pytest.approx(expected, rel=1e-6)
        assert np.isnan(arrays(tmp_path / "representations_2.npz")["vectors"]).sum() == 1
        assert len(projected(tmp_path / "tensorboard")[0]) == 29

    def test_nothing_finite(self, tmp_path):
        values = given(num_rows=9)
        values["features"][:] = math.nan
        log = fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path / "monitor"))
        assert log.scalars == {}
        assert np.isnan(arrays(tmp_path / "monitor/representations_2.npz")["vectors"]).all()
        assert not (tmp_path / "tensorboard/projector_config.pbtxt").exists()

    def test_after_an_error_nothing_is_kept(self, tmp_path):
        monitor = RepresentationMonitor(tmp_path / "monitor")
        with pytest.raises(RuntimeError, match="broken off"):
            fitted(tmp_path, broken_off(Given(given()), epoch=1), monitor, max_epochs=2)
        assert monitor._batches is None
        assert monitor._last is None
        assert [path.name for path in (tmp_path / "monitor").iterdir()] == ["representations_2.npz"]
        assert not (tmp_path / "tensorboard/projector_config.pbtxt").exists()


def projected(folder):
    """Vectors and metadata as the projector finds them: by its configuration."""
    config = text_format.Parse(
        (folder / "projector_config.pbtxt").read_text(encoding="utf-8"), ProjectorConfig()
    )
    (embedding,) = config.embeddings
    assert embedding.tensor_name.startswith("representations:")
    vectors = np.loadtxt(folder / embedding.tensor_path, delimiter="\t", ndmin=2)
    lines = (folder / embedding.metadata_path).read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return vectors, [line.split("\t") for line in lines]


class TestProjector:
    def test_files(self, tmp_path):
        values = given(num_rows=6)
        texts = ["plain", "a\ttab", "two\nlines\r\n", "", "x" * 200, "odd\u2028end\x0b"]
        module = Given(values, ["an\tger", *NAMES[1:]])
        fitted(tmp_path, module, RepresentationMonitor(tmp_path), datamodule=Validation(module, texts))
        vectors, (header, *rows) = projected(tmp_path / "tensorboard")
        np.testing.assert_allclose(vectors, values["features"].flip(0), rtol=1e-6)
        assert header == ["label", "prediction", "text"]
        names = ["an ger", *NAMES[1:]]
        assert [row[0] for row in rows] == [names[label] for label in values["labels"].flip(0)]
        assert [row[1] for row in rows] == [names[label] for label in values["logits"].argmax(1).flip(0)]
        assert [row[2] for row in rows] == ["plain", "a tab", "two lines", "", "x" * 80, "odd end"]

    def test_the_last_validation(self, tmp_path):
        values = given(num_rows=6)
        module = Given(values)
        module.on_validation_start = lambda: values["features"].add_(1)
        fitted(tmp_path, module, RepresentationMonitor(tmp_path), max_epochs=3, num_sanity_val_steps=0)
        vectors, _ = projected(tmp_path / "tensorboard")
        np.testing.assert_allclose(vectors, given(num_rows=6)["features"].flip(0) + 3, rtol=1e-6)
        assert (tmp_path / "tensorboard/00006").is_dir()

    @pytest.mark.parametrize(("projector", "settings"), [(False, {}), (True, {"limit_val_batches": 0})])
    def test_is_left_out_or_empty(self, tmp_path, projector, settings):
        monitor = RepresentationMonitor(tmp_path / "monitor", projector=projector)
        fitted(tmp_path, Given(given()), monitor, **settings)
        assert (tmp_path / "monitor/representations_2.npz").exists() == (not projector)
        assert not (tmp_path / "tensorboard/projector_config.pbtxt").exists()


def test_a_module_without_features(tmp_path):
    values = given()
    del values["features"]
    message = (
        r"needs `features`, `logits`, `labels` from Given\.validation_step, which returned no `features`;"
    )
    with pytest.raises(ConfigError, match=f"monitor: RepresentationMonitor {message}"):
        fitted(tmp_path, Given(values), RepresentationMonitor(tmp_path), num_sanity_val_steps=0)


def test_out_of_range(tmp_path):
    with pytest.raises(ConfigError, match=r"monitor\.representations\.num_texts=0: must be an integer ≥ 1"):
        RepresentationMonitor(tmp_path, num_texts=0)


class TestInARun:
    def test_vectors_are_those_of_the_saved_model(self, tmp_path, tiny_encoder, reviews):
        monitor = RepresentationMonitor(tmp_path / "monitor", num_texts=30)
        _, log = finished(tmp_path, tiny_encoder, reviews, [monitor])
        saved = arrays(tmp_path / "monitor/representations_10.npz")
        bundle, split = reloaded(tmp_path, reviews, "validation")
        with torch.no_grad():
            expected = torch.cat([bundle.classifier.features(split[row]) for row in saved["rows"]])
        np.testing.assert_allclose(saved["vectors"], expected, rtol=0, atol=1e-5)
        assert saved["names"].tolist() == ["negative", "positive"]
        assert log.of("representations/").keys() == {10}
        with reviews["validation"].open(encoding="utf-8") as file:
            rows = [row for number, row in enumerate(csv.DictReader(file)) if number in saved["rows"]]
        _, (_, *metadata) = projected(tmp_path / "tensorboard")
        assert [[label, text] for label, _, text in metadata] == [
            [row["label"], row["text"][:80]] for row in rows
        ]
