"""Whole runs on a tiny encoder: what they reach, report and save, and that they repeat."""

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Timer
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, BertModel, pipeline

from bert_ft.data.packing import pack
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.bundle import load_bundle

from .running import interrupted, reloaded, reloaded_logits, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, reviews):
    folder = tmp_path_factory.mktemp("finished")
    objective, metrics = train(folder, tiny_encoder, reviews, "trainer.max_epochs=4")
    return folder, objective, metrics


def test_it_learns(finished):
    _, objective, metrics = finished
    assert metrics["test"]["accuracy"] >= 0.9
    assert objective == metrics["val"]["accuracy"] == metrics["objective"]["value"]


def test_it_learns_nothing_from_nothing(tmp_path, tiny_encoder, reviews):
    """The negative control: with a learning rate of practically 0 it stays at chance."""
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=2", "optimizer.lr=1e-12")
    assert metrics["test"]["accuracy"] < 0.8


def test_what_it_writes(finished):
    folder, _, metrics = finished
    for path in (
        "metrics.json",
        "data_report.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "csv/version_0/metrics.csv",
        "model/model.safetensors",
        "model/config.json",
        "model/tokenizer.json",
        "model/bert_ft.yaml",
    ):
        assert (folder / path).is_file(), path
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert metrics["weights"] == "raw"
    assert metrics["checkpoint"]["path"] == "checkpoints/best.ckpt"
    assert metrics["precision"] == {"requested": "32", "effective": "32-true"}
    assert metrics["labels"] == ["negative", "positive"]
    assert metrics["rows"] == {"train": 160, "validation": 40, "test": 40}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_reloaded_folder_gives_what_was_reported(finished, reviews, split):
    """Metrics recomputed by scikit-learn and torch from the saved folder, row by row."""
    folder, _, metrics = finished
    logits, labels = reloaded_logits(folder, reviews, split)
    reported = metrics["val" if split == "validation" else "test"]
    predicted = logits.argmax(dim=1)
    assert reported["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-6)
    assert reported["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-6)
    assert reported["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)


def test_the_kept_checkpoint_is_the_latest_that_cant_be_told_from_the_best(finished):
    folder, objective, metrics = finished
    with (folder / "csv/version_0/metrics.csv").open() as file:
        values = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    best = max(values)
    least = best - (best * (1 - best) / metrics["rows"]["validation"]) ** 0.5
    epoch = max(number for number, value in enumerate(values, start=1) if value >= least)
    assert epoch > values.index(best) + 1
    assert objective == pytest.approx(values[epoch - 1], abs=1e-7)
    assert metrics["checkpoint"]["epoch"] == epoch
    assert metrics["checkpoint"]["step"] == 10 * metrics["checkpoint"]["epoch"]


@pytest.mark.slow
def test_runs_repeat_to_the_last_bit(tmp_path, tiny_encoder, reviews):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, tiny_encoder, reviews, "trainer.max_epochs=1", f"seed={seed}")
        weights.append(load_bundle(tmp_path / name / "model").classifier.state_dict())
    first, same, other = weights
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
def test_a_batch_over_the_token_budget_trains_alike(tmp_path, tiny_encoder, reviews):
    """In pieces or whole: equal losses with dropout off (with it on, masks differ)."""
    still = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0", "model.head.dropout=0.0"]
    losses = []
    for budget in (64, 4096):
        folder = tmp_path / str(budget)
        train(folder, tiny_encoder, reviews, "trainer.max_epochs=1", f"data.max_tokens={budget}", *still)
        lines = (folder / "csv/version_0/metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("train/loss")
        losses.append([float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]])
    assert len(losses[0]) == 10
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)


@pytest.fixture(scope="module")
def linear(tmp_path_factory, tiny_encoder, reviews):
    folder = tmp_path_factory.mktemp("linear")
    _, metrics = train(folder, tiny_encoder, reviews, "model=bert_linear", "trainer.max_epochs=2")
    return folder, metrics


@pytest.mark.slow
def test_bert_linear_loads_in_plain_transformers(linear, reviews):
    """``AutoModelForSequenceClassification`` gives our logits; its test accuracy is what we reported."""
    folder, metrics = linear
    bundle = load_bundle(folder / "model")
    plain, info = AutoModelForSequenceClassification.from_pretrained(
        folder / "model", output_loading_info=True
    )
    assert not any(info.values())
    with reviews["test"].open() as file:
        rows = list(csv.DictReader(file))
    inputs = bundle.tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = plain.eval()(**inputs).logits
        sequences = [
            ids[mask.bool()].numpy()
            for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        ]
        batch = pack(sequences, range(len(rows)))
        torch.testing.assert_close(bundle.classifier(batch), logits, rtol=0, atol=1e-5)
    predicted = [plain.config.id2label[index] for index in logits.argmax(dim=1).tolist()]
    accuracy = accuracy_score([row["label"] for row in rows], predicted)
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)


def test_bert_linear_works_in_a_pipeline(linear):
    folder, _ = linear
    bundle = load_bundle(folder / "model")
    text = "a lovely film"
    classify = pipeline("text-classification", model=str(folder / "model"), device="cpu")
    found = classify(text)[0]
    with torch.no_grad():
        ours = bundle.classifier(pack([np.array(bundle.tokenizer(text)["input_ids"])], [0])).softmax(dim=-1)[
            0
        ]
    assert found["label"] == bundle.labels[int(ours.argmax())]
    assert found["score"] == pytest.approx(ours.max().item(), abs=1e-6)


def test_transformers_loads_the_encoder_of_bert_residual(finished):
    folder, _, _ = finished
    bundle = load_bundle(folder / "model")
    encoder, info = BertModel.from_pretrained(
        folder / "model", add_pooling_layer=False, output_loading_info=True
    )
    assert not info["missing_keys"]
    for name, value in bundle.classifier.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value), name


@pytest.mark.slow
def test_early_stopping_ends_the_run_and_says_why(tmp_path, tiny_encoder, reviews):
    _, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=9",
        "optimizer.lr=1e-12",
        "callbacks.early_stopping.patience=2",
    )
    assert (
        metrics["stopped"]
        == "no better val/accuracy for 2 validations, since step 18: ended at step 54 of 90"
    )
    assert metrics["checkpoint"]["step"] == 54


def test_a_run_that_diverges_in_its_first_epoch_says_so(tmp_path, tiny_encoder, reviews):
    diverging = ["optimizer.lr=1e30", "objective.metric=val/loss", "objective.mode=min"]
    _, metrics = train(tmp_path, tiny_encoder, reviews, *diverging)
    assert metrics["stopped"] == "val/loss is no longer finite: training diverged"


def test_half_precision_on_a_cpu_is_named(tmp_path, tiny_encoder, reviews, caplog):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1", "trainer.precision=16")
    assert metrics["precision"] == {"requested": "16", "effective": "bf16-mixed"}
    assert "trainer.precision=16: a CPU doesn't support float16; bf16-mixed is used instead" in caplog.text


AT_THE_SECOND_EPOCH = ("on_train_epoch_start", lambda module: module.current_epoch == 1)
TWICE_AN_EPOCH = "trainer.val_check_interval=0.5"
NO_VALIDATION = [
    "trainer.limit_val_batches=0",
    "callbacks.best_checkpoint=null",
    "callbacks.early_stopping=null",
]
WORKER = "data.num_workers=1"  # which fetches ahead, and must fetch what comes then


def at_batch(step):
    """At the start of a batch, after so many optimizer steps."""
    return "on_train_batch_start", lambda module: module.global_step == step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "condition", "overrides"),
    [
        pytest.param(*AT_THE_SECOND_EPOCH, [], id="between epochs"),
        pytest.param(*AT_THE_SECOND_EPOCH, [WORKER], id="between epochs, with a worker"),
        pytest.param(
            *AT_THE_SECOND_EPOCH,
            [WORKER, "trainer.limit_train_batches=0.8"],
            id="between epochs of a part of the batches, with a worker",
        ),
        pytest.param(
            *AT_THE_SECOND_EPOCH,
            [WORKER, *NO_VALIDATION],
            id="between epochs without validation, with a worker",
        ),
        pytest.param(*AT_THE_SECOND_EPOCH, ["trainer.max_steps=20"], id="between epochs that steps end"),
        pytest.param(
            *AT_THE_SECOND_EPOCH,
            ["trainer.max_steps=20", *NO_VALIDATION],
            id="between epochs that steps end, without validation",
        ),
        # seven batches into the first epoch of ten; the last validation was after five
        pytest.param(*at_batch(7), [TWICE_AN_EPOCH], id="in the first epoch"),
        pytest.param(*at_batch(17), [TWICE_AN_EPOCH], id="in the second epoch"),
        # the last validation was after five batches, of which the fifth is half an optimizer step
        pytest.param(
            *at_batch(4),
            [TWICE_AN_EPOCH, "trainer.accumulate_grad_batches=2", "loss.class_weights=[1,3]"],
            id="in an accumulation window",
        ),
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path, tiny_encoder, reviews, monkeypatch, hook, condition, overrides
):
    arguments = (tiny_encoder, reviews, "trainer.max_epochs=2", *overrides)
    train(tmp_path / "whole", *arguments)
    last = interrupted(monkeypatch, hook, condition, tmp_path / "broken", *arguments)
    _, metrics = train(tmp_path / "broken", *arguments, f"resume_from={last}")
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(list((tmp_path / "broken/csv").glob("version_*/metrics.csv"))) == 2
    assert metrics == json.loads((tmp_path / "whole/metrics.json").read_text()) | {
        "fit_seconds": metrics["fit_seconds"]
    }


def test_resume_into_another_folder(tmp_path, tiny_encoder, reviews):
    elsewhere = tmp_path / "elsewhere/checkpoints/last.ckpt"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    with pytest.raises(ConfigError, match=r"add hydra\.run\.dir=.*/elsewhere"):
        train(tmp_path / "run", tiny_encoder, reviews, f"resume_from={elsewhere}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "isn't a checkpoint"),
        (b"no checkpoint", "isn't a checkpoint"),
        ({"state_dict": {}}, "belongs to a different model"),
    ],
)
def test_resume_from_something_else(tmp_path, tiny_encoder, reviews, content, reason):
    path = tmp_path / "checkpoints/last.ckpt"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"resume_from=.*last\.ckpt: {reason}"):
        train(tmp_path, tiny_encoder, reviews, f"resume_from={path}")


def test_texts_that_lose_their_beginning(tmp_path, tiny_encoder, reviews):
    settings = ["trainer.max_epochs=1", "data.max_length=6", "data.truncation_side=left"]
    _, metrics = train(tmp_path, tiny_encoder, reviews, *settings)
    bundle, split = reloaded(tmp_path, reviews, "validation")
    text = split.texts["text"][0]
    ids = bundle.tokenizer(text)["input_ids"]
    assert len(ids) > 6
    assert split[[0]].input_ids.tolist() == [ids[0], *ids[-5:]]
    logits, labels = reloaded_logits(tmp_path, reviews, "validation")
    assert metrics["val"]["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)


def test_max_length_beyond_the_encoder(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError, match=r"data\.max_length=65: .* has positions for 64 tokens"):
        train(tmp_path, tiny_encoder, reviews, "data.max_length=65")


def test_max_length_null_is_the_encoders_own(tmp_path, tiny_encoder, reviews):
    train(tmp_path, tiny_encoder, reviews, "data.max_length=null", "trainer.max_epochs=1")
    assert load_bundle(tmp_path / "model").max_length == 64


def test_a_finished_run_is_not_overwritten(tmp_path, tiny_encoder, reviews):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.* already has a finished run"):
        train(tmp_path, tiny_encoder, reviews)
    assert (tmp_path / "metrics.json").read_text() == "{}"


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 13])
def test_steps_that_end_within_an_epoch_are_validated(tmp_path, tiny_encoder, reviews, steps):
    kept = "callbacks.best_checkpoint.standard_errors=100"  # the latest
    objective, metrics = train(tmp_path, tiny_encoder, reviews, f"trainer.max_steps={steps}", kept)
    assert metrics["checkpoint"] == {"path": "checkpoints/best.ckpt", "epoch": steps / 10, "step": steps}
    assert metrics["stopped"] == "all steps done"
    logits, labels = reloaded_logits(tmp_path, reviews, "validation")
    assert metrics["val"]["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
    assert objective == metrics["val"]["accuracy"]


def test_without_a_checkpoint_the_last_weights_are_validated(tmp_path, tiny_encoder, reviews):
    objective, metrics = train(
        tmp_path, tiny_encoder, reviews, "trainer.max_steps=3", "callbacks.best_checkpoint=null"
    )
    assert objective == metrics["val"]["accuracy"]
    assert metrics["checkpoint"] == {"path": None, "epoch": 0.3, "step": 3}


@pytest.mark.slow
@pytest.mark.parametrize("length", ["trainer.max_epochs=1", "trainer.max_steps=1000"])
def test_a_run_whose_time_is_over_says_so(tmp_path, tiny_encoder, reviews, monkeypatch, length):
    ticks = itertools.count()
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: next(ticks))
    _, metrics = train(tmp_path, tiny_encoder, reviews, length, "trainer.max_time='00:00:00:05'")
    assert metrics["stopped"] == "trainer.max_time is over"
    assert 0 < metrics["checkpoint"]["step"] < 10


def test_a_run_that_diverges_says_so(tmp_path, tiny_encoder, reviews):
    _, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "optimizer.lr=1e30",
        "trainer.gradient_clip_val=null",
        "trainer.max_epochs=1",
    )
    assert metrics["val"]["loss"] is None
