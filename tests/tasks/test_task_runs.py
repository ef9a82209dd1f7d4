"""Each task end to end: train, report, save, reload by bert_ft and by plain transformers, predict, export."""

import csv
import json

import numpy as np
import onnx
import optuna
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from bert_ft.inference.files import predict_file
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from bert_ft.reporting.report import write_report
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule
from tests import commands
from tests.conftest import BAD, GOOD, NEUTRAL
from tests.training.running import SMALL, compose_run

pytestmark = pytest.mark.slow
TASKS = {
    "multi_label": ["task=multi_label", "data.label_column=tags", "task.thresholds=f1"],
    "columns": ["task=multi_label", "data.label_column=[bad]", "loss=asymmetric", "loss.r_drop_weight=1"],
    "two classes": ["data.label_column=bad", "task.thresholds=recall:0.9"],
    "ordinal": ["task=ordinal", "data.label_column=grade", "task.order=[3,2,1,0,9]"],
    "votes": ["data.label_column=[yes,no]"],
    "regression": ["task=regression", "data.label_column=price"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Texts with good and bad words, the labels in every form."""
    rng, folder, paths = np.random.default_rng(0), tmp_path_factory.mktemp("tasks"), {}
    for name, size in {"train": 120, "validation": 30, "test": 30}.items():
        paths[name] = folder / f"{name}.csv"
        with paths[name].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "tags", "bad", "price", "grade", "yes", "no"])
            for _ in range(size):
                good, bad = rng.integers(4), rng.integers(2)
                words = [*rng.choice(NEUTRAL, 5), *rng.choice(GOOD, good), *rng.choice(BAD, bad)]
                tags = [tag for tag, has in (("good", good), ("bad", bad)) if has]
                writer.writerow(
                    [" ".join(words), ";".join(tags), bad, 1e6 + 1000 * good - 500 * bad, good, good, bad + 1]
                )
    return paths


def start(name, folder, files, encoder, *more):
    small = [each for each in SMALL if not each.startswith(("monitor=", "advice="))]
    given = [f"data.{split}_file={path}" for split, path in files.items()]
    config = compose_run(
        folder, *small, *TASKS[name], *given, f"encoder.name_or_path={encoder}",
        f"data.cache_dir={folder / 'cache'}", "model=bert_linear", "monitor=light", "trainer.max_epochs=4", *more,
    )  # fmt: skip
    main(config)


@pytest.fixture(scope="module", params=TASKS)
def run(request, files, tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    start(request.param, folder, files, tiny_encoder)
    return request.param, folder


def test_an_interrupted_run_continues_to_the_same_weights(run, files, tiny_encoder, tmp_path, monkeypatch):
    name, folder = run

    def break_off(module, *_):
        if module.global_step == 20:  # between two validations
            raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationModule, "on_train_batch_start", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            start(name, tmp_path, files, tiny_encoder)
    start(name, tmp_path, files, tiny_encoder, f"resume_from={tmp_path / 'checkpoints/last.ckpt'}")
    found, expected = (load_file(each / "model/model.safetensors") for each in (tmp_path, folder))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    metrics = [json.loads((each / "metrics.json").read_text()) for each in (tmp_path, folder)]
    assert [each["test"] for each in metrics] == [metrics[1]["test"]] * 2
    assert metrics[0].get("calibration") == metrics[1].get("calibration")


def test_it_is_reported_reloaded_predicted_and_exported(run, files, tmp_path):
    name, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(entry["sentence"].endswith(".") for entry in metrics["advice"])
    bundle = load_bundle(folder)
    target = tmp_path / "y.csv"
    probabilities = "top" if name == "regression" else "all"
    done = predict_file(
        bundle, files["test"], target, text_column="text", label_column=bundle.label_column,
        probabilities=probabilities,
    )  # fmt: skip
    measured = {key: value for key, value in metrics["test"].items() if key != "loss"}
    assert done.scores.values == pytest.approx(measured, rel=1e-5)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [row["text"] for row in rows]
    plain = pipeline("text-classification", str(folder / "model"), top_k=None, device="cpu")(texts)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(export_onnx(bundle, tmp_path / "model.onnx")))
    tokens = bundle.tokenizer(texts, padding=True, return_tensors="np")
    wanted = {each.name for each in session.get_inputs()}
    (logits,) = session.run(
        None, {key: value.astype(np.int64) for key, value in tokens.items() if key in wanted}
    )
    if name == "regression":
        ours = [float(row["prediction"]) for row in rows]
        assert [each[0]["score"] for each in plain] == pytest.approx(ours, rel=1e-5)
        assert logits[:, 0].tolist() == pytest.approx(ours, rel=1e-5)
        errors = [abs(float(row["prediction"]) - float(row["price"])) for row in rows]
        assert np.mean(errors) == pytest.approx(metrics["test"]["mae"], rel=1e-6)
        assert metrics["baseline"]["test"]["spearman"] == 0
    elif name == "two classes":
        record = json.loads((folder / "model/config.json").read_text())["thresholds"]
        threshold, positives = record["1"]["threshold"], record["1"]["positives"]
        assert record == metrics["calibration"]["thresholds"]
        assert 0 < positives < 30
        properties = {each.key: each.value for each in onnx.load(tmp_path / "model.onnx").metadata_props}
        assert json.loads(properties["thresholds"]) == record
        assert json.loads(properties["labels"]) == ["0", "1"]
        given = [str(int(float(row["probability_1"]) >= threshold)) for row in rows]
        assert [row["prediction"] for row in rows] == given
    elif name == "votes":
        assert metrics["test"]["kl"] > 0
        assert (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[:, 0].tolist() == pytest.approx(
            [float(row["probability_yes"]) for row in rows], abs=1e-5
        )
    elif name == "ordinal":
        for row, outputs in zip(rows, logits, strict=True):
            above = np.cumprod(1 / (1 + np.exp(-outputs)))
            ours = [float(row[f"probability_{grade}"]) for grade in bundle.task.class_names]
            assert (1 - np.cumsum(ours))[:-1].tolist() == pytest.approx(above.tolist(), abs=1e-5)
    else:
        for index, label in enumerate(bundle.labels):
            ours = [float(row[f"probability_{label}"]) for row in rows]
            theirs = [next(e["score"] for e in each if e["label"] == label) for each in plain]
            assert theirs == pytest.approx(ours, abs=1e-5)
            assert (1 / (1 + np.exp(-logits[:, index]))).tolist() == pytest.approx(ours, abs=1e-5)
            given = [label in json.loads(row["prediction"]) for row in rows]
            threshold = (bundle.task.cut_offs or (0.5, 0.5))[index]
            assert given == [probability >= threshold for probability in ours]
    page = write_report(folder).read_text(encoding="utf-8")
    section = {
        "regression": "Numbers",
        "ordinal": "Validation",
        "votes": "Validation",
        "two classes": "Validation",
    }.get(name, "Label sets")
    shown = [title for title in ("Validation", "Label sets", "Numbers") if f">{title}</h2>" in page]
    assert shown == [section]
    assert "couldn't be drawn" not in page


def test_a_search_prunes_by_the_objective_of_the_task(files, tiny_encoder, tmp_path):
    """Errors, which are above 1 and to be small."""
    small = [each for each in SMALL if not each.startswith("optimizer.lr")]
    done = commands.run(
        "bert_ft.train", "--multirun", "hydra/sweeper=optuna", "hydra/sweeper/pruner=percentile",
        "hydra.sweeper.pruner.percentile=1", "hydra.sweeper.pruner.n_startup_trials=2", "hydra.sweeper.n_trials=6",
        "hydra.sweeper.sampler.seed=0", f"hydra.sweep.dir={tmp_path / 'search'}", "search=none",
        "optimizer.lr=tag(log,interval(1e-5,1e-2))", *TASKS["regression"], "objective.metric=val/mae", "objective.mode=min",
        *small, *(f"data.{split}_file={path}" for split, path in files.items()), f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path / 'cache'}", "logger=none", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search' / 'study.db'}")
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 6
    assert set(states) == {"COMPLETE", "PRUNED"}, states
    assert study.best_value == min(trial.value for trial in study.trials if trial.state.name == "COMPLETE")
