"""Runs on texts that are longer than the limit: windows, cuts of the middle, the choice between them, pieces."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.inference.files import predict_file
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from bert_ft.train import main
from tests.conftest import NEUTRAL, make_rows, write_csv

from .running import SMALL_STAGE, interrupted, small_run, train

WINDOWS = ["data.long_texts=windows", "data.max_length=16", "data.stride=4", "data.max_windows=3"]
ONE_EPOCH = ["trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def long_reviews(tmp_path_factory):
    """Reviews of which every other one stands behind some neutral words, in a long text."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)

    def rows(count, seed):
        for number, (text, label) in enumerate(make_rows(count, seed)):
            front = " ".join(rng.choice(NEUTRAL, size=rng.integers(20, 120)))
            yield (f"{front} {text}" if number % 2 else text), label

    sizes = {"train": 96, "validation": 24, "test": 24}
    return {
        name: write_csv(folder / f"{name}.csv", list(rows(size, seed)))
        for seed, (name, size) in enumerate(sizes.items())
    }


def weights(folder):
    return load_file(folder / "model/model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [[], ["model.window_pooling=attention", "model.pooling=cls", "loss.r_drop_weight=1"]]
)
def test_where_no_text_is_long_windows_are_the_cut_run(tmp_path, tiny_encoder, reviews, more):
    files = {name: reviews[name] for name in ("train", "validation", "test")}
    _, cut = train(tmp_path / "cut", tiny_encoder, files, *ONE_EPOCH, *more)
    _, windows = train(
        tmp_path / "windows", tiny_encoder, files, *ONE_EPOCH, "data.long_texts=windows", *more
    )
    assert [cut[split] for split in ("val", "test")] == [windows[split] for split in ("val", "test")]
    found = weights(tmp_path / "windows")
    for name, value in weights(tmp_path / "cut").items():
        assert torch.equal(found.pop(name), value), name
    assert list(found) == (["window_pooling.query.weight"] if more else [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, long_reviews):
    folder = tmp_path_factory.mktemp("windows")
    more = [
        "model.window_pooling=attention",
        "data.augmentation.token_deletion_prob=0.1",
        "data.max_tokens=64",
    ]
    overrides = [*WINDOWS, *more, "trainer.max_epochs=2", "keep=all"]
    _, metrics = train(folder, tiny_encoder, long_reviews, *overrides)
    return folder, overrides, metrics


@pytest.mark.slow
def test_the_report_counts_windows_and_no_loss(finished):
    folder, _, _ = finished
    report = json.loads((folder / "data_report.json").read_text())
    train_split = report["splits"]["train"]
    assert (train_split["lost_ratio"], train_split["truncated_ratio"]) == (0, 0)
    assert train_split["num_windows"] > train_split["num_rows"]
    assert report["long_texts"] == {"mode": "windows", "stride": 4, "windowed_text": "second"}
    assert any("data.max_windows=3 windows; each epoch trains 3 of each" in note for note in report["notes"])


@pytest.mark.slow
def test_a_saved_folder_predicts_each_row_as_validated_in_any_batch(finished, long_reviews, tmp_path):
    folder, _, metrics = finished
    bundle = load_bundle(folder)
    assert bundle.long_texts.described() == {"mode": "windows", "stride": 4, "windowed_text": "second"}

    def predicted(name, source, **sizes):
        target = tmp_path / f"{name}.jsonl"
        labeled = predict_file(
            bundle, source, target, text_column="text", label_column="label", probabilities="all", **sizes
        )
        rows = [json.loads(line) for line in target.read_text().splitlines()]
        return np.array([row["probability_positive"] for row in rows]), labeled.scores.values

    whole, scores = predicted("whole", long_reviews["validation"])
    assert scores["accuracy"] == pytest.approx(metrics["val"]["accuracy"])
    for number, sizes in enumerate([{"batch_size": 1}, {"batch_size": 5, "max_tokens": 40}]):
        np.testing.assert_allclose(
            predicted(str(number), long_reviews["validation"], **sizes)[0], whole, atol=1e-5
        )
    header, *lines = long_reviews["validation"].read_text().splitlines()
    (tmp_path / "one.csv").write_text(f"{header}\n{lines[7]}\n")
    np.testing.assert_allclose(predicted("one", tmp_path / "one.csv")[0], whole[7:8], atol=1e-5)
    with pytest.raises(ConfigError, match=r"data\.long_texts=windows, .* predict with bert_ft\.predict"):
        export_onnx(bundle, tmp_path / "model.onnx")


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_windows(finished, tiny_encoder, long_reviews, tmp_path, monkeypatch):
    folder, overrides, metrics = finished
    stop = lambda module: module.trainer.global_step == 8  # noqa: E731  (of 12, in the second epoch)
    path = interrupted(
        monkeypatch, "on_train_batch_start", stop, tmp_path / "run", tiny_encoder, long_reviews, *overrides
    )
    _, resumed = train(tmp_path / "run", tiny_encoder, long_reviews, *overrides, f"resume_from={path}")
    assert resumed["val"] == metrics["val"]
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in weights(folder).items())


@pytest.mark.slow
def test_cached_frozen_layers_are_those_of_each_window(tmp_path, tiny_encoder, long_reviews):
    still = ["encoder.freeze_layers=1", "encoder.hidden_dropout=0", "encoder.attention_dropout=0"]
    overrides = [*WINDOWS, *still, "model.head.dropout=0", "trainer.max_epochs=2"]
    _, plain = train(tmp_path / "plain", tiny_encoder, long_reviews, *overrides)
    _, cached = train(
        tmp_path / "cached", tiny_encoder, long_reviews, *overrides, "encoder.cache_frozen=true"
    )
    assert cached["val"] == pytest.approx(plain["val"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "mode", "side"),
    [("data.long_texts=auto", "windows", None), ("data.truncation_side=middle", "cut", True)],
)
def test_a_folder_keeps_what_the_run_did(tmp_path, tiny_encoder, long_reviews, setting, mode, side):
    overrides = [*WINDOWS[1:], setting, "model=bert_linear", "trainer.max_steps=2"]
    train(tmp_path, tiny_encoder, long_reviews, *overrides)
    bundle = load_bundle(tmp_path)
    assert (bundle.long_texts.mode, bundle.long_texts.keeps_ends or None) == (mode, side)
    assert load_tokenizer(tmp_path / "model").truncation_side == "right"
    notes = json.loads((tmp_path / "data_report.json").read_text())["notes"]
    assert (mode == "windows") == any("data.long_texts=auto: chose windows" in note for note in notes)


def test_a_stride_that_is_too_large_is_refused_before_the_data_is_read(tmp_path, tiny_encoder):
    missing = {"train": tmp_path / "train.csv"}
    missing["train"].write_text("not,what,is\nlooked,for,here\n")
    config = small_run(tmp_path / "run", tiny_encoder, missing, "data.long_texts=windows", "data.stride=30")
    with pytest.raises(ConfigError, match=r"data\.stride=30: .* at most 29;"):
        main(config)


@pytest.mark.slow
def test_a_stage_before_windows_reads_training_texts_in_pieces_with_their_labels(
    tmp_path, tiny_encoder, long_reviews
):
    stage = [
        "pretrain=contrastive",
        "pretrain.supervised=true",
        "pretrain.trainer.max_epochs=1",
        *SMALL_STAGE,
    ]
    _, metrics = train(tmp_path, tiny_encoder, long_reviews, *WINDOWS, *stage, *ONE_EPOCH)
    texts = metrics["pretraining"]["texts"]
    assert texts["train"] + texts["held_out"] > 2 * 96
    assert texts["lost_ratio"] == 0
