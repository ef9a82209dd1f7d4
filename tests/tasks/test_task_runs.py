"""Each task end to end: train, report, save, reload by bert_ft and by plain transformers, predict, export."""

import csv
import json

import numpy as np
import pytest
from transformers import pipeline

from bert_ft.inference.files import predict_file
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from bert_ft.reporting.report import write_report
from tests.conftest import BAD, GOOD, NEUTRAL
from tests.training.running import SMALL, compose_run

pytestmark = pytest.mark.slow
TASKS = {
    "multi_label": ["task=multi_label", "data.label_column=tags", "task.thresholds=f1"],
    "columns": ["task=multi_label", "data.label_column=[bad]", "loss=asymmetric", "loss.r_drop_weight=1"],
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


@pytest.fixture(scope="module", params=TASKS)
def run(request, files, tiny_encoder, tmp_path_factory):
    from bert_ft.train import main

    folder = tmp_path_factory.mktemp(request.param)
    small = [each for each in SMALL if not each.startswith(("monitor=", "advice="))]
    given = [f"data.{name}_file={path}" for name, path in files.items()]
    config = compose_run(
        folder, *small, *TASKS[request.param], *given, f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={folder / 'cache'}", "model=bert_linear", "monitor=light", "trainer.max_epochs=4",
    )  # fmt: skip
    main(config)
    return request.param, folder


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
    section = {"regression": "Numbers", "ordinal": "Validation", "votes": "Validation"}.get(
        name, "Label sets"
    )
    shown = [title for title in ("Validation", "Label sets", "Numbers") if f">{title}</h2>" in page]
    assert shown == [section]
    assert "couldn't be drawn" not in page
