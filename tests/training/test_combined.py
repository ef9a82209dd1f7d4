"""Techniques together, on BBC News: layer decay, SWA, cosine, accumulation, bf16, checkpointing, smoothing, stopping."""

import csv
import json

import pytest
import torch
from torch.nn import functional as F

from bert_ft.data.prepare import prepare
from bert_ft.data.sources import BbcNews
from bert_ft.models.bundle import load_bundle
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.train import main

from .running import compose_run

COMBINED = [
    "optimizer.layer_decay=0.9",
    "averaging=swa",
    "schedule=cosine",
    "trainer.accumulate_grad_batches=2",
    "trainer.precision=bf16",
    "encoder.gradient_checkpointing=true",
    "loss.label_smoothing=0.1",
]
# small, and so that it stops after the average has begun: half an epoch lies between validations
SMALL = [
    "data.max_length=24",
    "trainer.max_epochs=6",
    "trainer.val_check_interval=0.5",
    "averaging.start_ratio=0.2",
    "callbacks.early_stopping.patience=2",
    "callbacks.early_stopping.min_delta=0.3",
    "optimizer.lr=1e-3",
    "trainer.enable_progress_bar=false",
    "logger=default",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("combined")
    encoder = ["encoder=any", f"encoder.name_or_path={tiny_encoder}", f"data.cache_dir={folder / 'cache'}"]
    main(compose_run(folder, "data=bbc_news", *encoder, *COMBINED, *SMALL))
    return folder, json.loads((folder / "metrics.json").read_text())


def test_it_stops_early_and_keeps_averaged_weights(finished):
    folder, metrics = finished
    with (folder / "csv/version_0/metrics.csv").open() as file:
        validations = [row for row in csv.DictReader(file) if row["val/accuracy"]]
    assert 3 <= len(validations) < 12
    assert "val/accuracy" in metrics["stopped"]
    assert metrics["weights"] == "swa"
    assert metrics["precision"] == {"requested": "bf16", "effective": "bf16-mixed"}


def test_the_reloaded_folder_gives_the_reported_test_metrics(finished):
    folder, metrics = finished
    bundle = load_bundle(folder / "model")
    split = prepare(
        BbcNews().load(folder / "cache"),
        bundle.tokenizer,
        max_length=bundle.max_length,
        test_ratio=0.2,
        deduplicate=True,
        task=SingleLabel(),
        seed=0,
        cache_dir=folder / "cache",
    ).splits["test"]
    batch = split[range(len(split))]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = bundle.classifier(batch).float()
    labels = batch.as_given(batch.labels)
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["test"]["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
