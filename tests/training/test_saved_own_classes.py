"""A run in which everything is somebody's own: what it reaches, and its folder loaded and used where trusted."""

import csv
import json
import sys

import numpy as np
import pytest
import torch
import yaml

from bert_ft.errors import ConfigError
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from tests import commands

from .own_classes import EVERYTHING, OWN, TRUST
from .running import reloaded_logits, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, reviews, package):
    """A run in which everything that can be somebody's own is."""
    folder = tmp_path_factory.mktemp("own")
    objective, metrics = train(
        folder,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=8",
        "callbacks.early_stopping=null",
        *EVERYTHING,
        "objective.metric=val/errors",
        "objective.mode=min",
        TRUST,
    )
    return folder, objective, metrics


def test_it_learns_by_all_of_them(finished):
    _, objective, metrics = finished
    assert metrics["test"]["accuracy"] >= 0.9
    calls = sys.modules["my_package.parts"].calls
    assert set(calls) == {"loss", "optimizer", "source"}
    assert calls.count("optimizer") == 80
    assert objective == metrics["val"]["errors"] == metrics["objective"]["value"]
    assert metrics["objective"]["metric"] == "val/errors"


def test_the_kept_checkpoint_has_the_fewest_errors(finished):
    folder, objective, metrics = finished
    with (folder / "csv/version_0/metrics.csv").open() as file:
        values = {
            int(row["step"]): float(row["val/errors"]) for row in csv.DictReader(file) if row["val/errors"]
        }
    assert len(values) > 1
    best = min(values, key=values.get)
    assert objective == pytest.approx(values[best], abs=1e-7)
    assert metrics["checkpoint"]["step"] == best


def test_the_saved_folder_gives_the_reported_metrics(finished, reviews):
    folder, _, metrics = finished
    bundle = load_bundle(folder / "model", trust=["my_package.*"])
    assert type(bundle.classifier.pooling).__name__ == "FirstAndMean"
    assert bundle.classifier.pooling.share == 0.25
    assert bundle.classifier.head[0].out_features == 12
    logits, labels = reloaded_logits(folder, reviews, "test", trust=["my_package.*"])
    errors = (logits.argmax(1) != labels).float().mean().item()
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert metrics["test"]["errors"] == pytest.approx(errors, abs=1e-6)
    assert metrics["test"]["accuracy"] == pytest.approx(1 - errors, abs=1e-6)
    assert metrics["test"]["loss"] == pytest.approx(loss, abs=1e-6)


def test_the_saved_folder_is_refused_without_trust(finished):
    folder, _, _ = finished
    message = (
        r"model\.pooling\._target_=my_package\.parts\.FirstAndMean: .*add trust=\[my_package\.parts\.\*\]"
    )
    with pytest.raises(ConfigError, match=message):
        load_bundle(folder / "model")


def test_a_folder_that_names_something_else_is_refused(finished, tmp_path):
    folder, _, _ = finished
    specification = yaml.safe_load((folder / "model/bert_ft.yaml").read_text())
    for file in (folder / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    specification["architecture"]["head"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    (tmp_path / "bert_ft.yaml").write_text(yaml.safe_dump(specification))
    with pytest.raises(ConfigError, match=r"model\.head\._target_=os\.system"):
        load_bundle(tmp_path, trust=["my_package.*"])
    assert not (tmp_path / "ran").exists()


def test_predict_with_trust_and_without(finished, reviews, package, tmp_path):
    folder, _, _ = finished
    words = [f"bundle={folder / 'model'}", f"input={reviews['test']}", f"output={tmp_path / 'y.csv'}"]
    refused = commands.run("bert_ft.predict", *words, cwd=package)
    assert refused.returncode == 2
    assert "model.pooling._target_=my_package.parts.FirstAndMean: " in refused.stderr
    assert "add trust=[my_package.parts.*]" in refused.stderr
    assert not (tmp_path / "y.csv").exists()
    done = commands.run("bert_ft.predict", *words, TRUST, cwd=package)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "y.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracy = np.mean([row["prediction"] == row["label"] for row in rows])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)


def test_a_pooling_of_ones_own_cannot_be_exported_but_a_head_can(finished, tmp_path, tiny_encoder, reviews):
    folder, _, _ = finished
    bundle = load_bundle(folder / "model", trust=["my_package.*"])
    with pytest.raises(ConfigError, match=r"model\.pooling=FirstAndMean: .*can be exported"):
        export_onnx(bundle, tmp_path / "model.onnx")
    train(tmp_path / "run", tiny_encoder, reviews, "debug=fast", *OWN["head"], TRUST)
    bundle = load_bundle(tmp_path / "run/model", trust=["my_package.*"])
    assert export_onnx(bundle, tmp_path / "head.onnx").is_file()
