"""Whole runs on augmented texts: training alone sees them, and they repeat."""

import shutil
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bert_ft.errors import ConfigError
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.bundle import load_bundle
from bert_ft.training.module import ClassificationModule
from tests.conftest import make_rows, write_csv

from .running import train
from .test_run import interrupted

pytestmark = pytest.mark.slow

AUGMENTED = [
    "data.augmentation.token_deletion_prob=0.1",
    "data.augmentation.token_swap_prob=0.1",
    "data.augmentation.span_mask_ratio=0.2",
]


@pytest.fixture
def seen(monkeypatch):
    """The batches of each stage, in the order in which a run meets them."""
    batches = {"train": [], "validation": [], "test": []}
    for stage, recorded in batches.items():
        monkeypatch.setattr(
            ClassificationModule,
            f"on_{stage}_batch_start",
            lambda module, batch, *_, recorded=recorded: recorded.append(batch),
        )
    return batches


def by_row(batches):
    """The ids of each row; what a row has in several epochs, in their order."""
    found = {}
    for batch in batches:
        for row, (start, stop) in zip(batch.rows.tolist(), pairwise(batch.cu_seqlens.tolist()), strict=True):
            found.setdefault(row, []).append(batch.input_ids[start:stop].tolist())
    return found


def taken(seen):
    found = {stage: list(batches) for stage, batches in seen.items()}
    for batches in seen.values():
        batches.clear()
    return found


def weights(folder):
    return load_bundle(folder / "model").classifier.state_dict()


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_changes_training_alone_and_anew_in_each_epoch(tmp_path, tiny_encoder, reviews, seen):
    arguments = (tiny_encoder, reviews, "trainer.max_epochs=2")
    train(tmp_path / "plain", *arguments)
    plain = taken(seen)
    train(tmp_path / "augmented", *arguments, *AUGMENTED)
    augmented = taken(seen)
    for stage in ("validation", "test"):
        assert len(plain[stage]) == len(augmented[stage]) > 0
        for one, other in zip(plain[stage], augmented[stage], strict=True):
            assert torch.equal(one.input_ids, other.input_ids)
            assert torch.equal(one.rows, other.rows)
            assert torch.equal(one.labels, other.labels)
    for one, other in zip(plain["train"], augmented["train"], strict=True):
        assert sorted(one.rows.tolist()) == sorted(other.rows.tolist())  # the same batches of other texts
    texts, changed = by_row(plain["train"]), by_row(augmented["train"])
    assert all(first == second for first, second in texts.values())
    assert sum(first != texts[row][0] for row, (first, _) in changed.items()) > 140  # of 160
    assert sum(first != second for first, second in changed.values()) > 140
    assert not equal(weights(tmp_path / "plain"), weights(tmp_path / "augmented"))


def test_a_run_without_it_is_the_plain_one(tmp_path, tiny_encoder, reviews):
    train(tmp_path / "plain", tiny_encoder, reviews, "trainer.max_epochs=1")
    train(tmp_path / "null", tiny_encoder, reviews, "trainer.max_epochs=1", "data.augmentation=null")
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "null"))


@pytest.mark.parametrize(
    ("hook", "step"),
    [("on_train_batch_start", 7), ("on_train_epoch_start", 10), ("on_train_batch_start", 17)],
    ids=["first epoch", "between epochs", "second epoch"],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path, tiny_encoder, reviews, monkeypatch, seen, hook, step
):
    arguments = (tiny_encoder, reviews, "trainer.max_epochs=2", "trainer.val_check_interval=0.5", *AUGMENTED)
    _, expected = train(tmp_path / "whole", *arguments)
    whole = taken(seen)["train"]
    last = interrupted(monkeypatch, hook, lambda m: m.global_step == step, tmp_path / "broken", *arguments)
    seen["train"].clear()
    _, metrics = train(tmp_path / "broken", *arguments, f"resume_from={last}")
    resumed = taken(seen)["train"]
    assert len(resumed) == 20 - step // 5 * 5  # from the last validation on
    for one, other in zip(whole[-len(resumed) :], resumed, strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert metrics["val"] == expected["val"]


def test_a_worker_gives_the_same_run(tmp_path, tiny_encoder, reviews):
    for workers in (0, 1):
        train(
            tmp_path / str(workers),
            tiny_encoder,
            reviews,
            "trainer.max_epochs=2",
            f"data.num_workers={workers}",
            *AUGMENTED,
        )
    assert equal(weights(tmp_path / "0"), weights(tmp_path / "1"))


def test_an_unknown_word_is_a_word(tmp_path, tiny_encoder, seen):
    """[UNK] stands among the tokenizer's special tokens, but is deleted and moved as any other."""
    rows = [(f"☃ {text} ☃", label) for text, label in make_rows(80, seed=1)]
    files = {"train": write_csv(tmp_path / "train.csv", rows)}
    for name, overrides in {"plain": [], "augmented": ["data.augmentation.token_deletion_prob=0.5"]}.items():
        train(tmp_path / name, tiny_encoder, files, "trainer.max_epochs=1", *overrides)
    unknown = AutoTokenizer.from_pretrained(tiny_encoder).unk_token_id
    batches = seen["train"]
    half = len(batches) // 2
    plain, augmented = (
        sum(int((batch.input_ids == unknown).sum()) for batch in part)
        for part in (batches[:half], batches[half:])
    )
    assert plain == 2 * 64
    assert abs(augmented - 64) < 5 * (128 / 4) ** 0.5


@pytest.fixture
def encoder_without_mask(tmp_path, tiny_encoder):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    for file in folder.glob("*token*"):
        file.unlink()
    names = {
        name: tokenizer.special_tokens_map[name]
        for name in ("unk_token", "sep_token", "pad_token", "cls_token")
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **names).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).mask_token is None
    return folder


def test_a_tokenizer_without_mask(tmp_path, encoder_without_mask, reviews):
    message = r"data\.augmentation\.span_mask_ratio=0\.2: the tokenizer of .* has no \[MASK\]; set it to 0"
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", encoder_without_mask, reviews, "debug=fast", *AUGMENTED)
    train(tmp_path / "other", encoder_without_mask, reviews, "debug=fast", *AUGMENTED[:2])


def test_masked_tokens_are_trained(tmp_path, tiny_encoder, reviews, monkeypatch):
    """No training text has [MASK], yet its row of the embedding is among those that are trained."""
    seen = []
    monkeypatch.setattr(
        ClassificationModule,
        "on_train_end",
        lambda module: seen.append(module.classifier.encoder.get_input_embeddings()),
    )
    mask = AutoTokenizer.from_pretrained(tiny_encoder).mask_token_id
    settings = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "optimizer.weight_decay=0"]
    train(tmp_path / "plain", tiny_encoder, reviews, *settings)
    train(tmp_path / "masked", tiny_encoder, reviews, *settings, *AUGMENTED)
    assert all(type(embedding) is SplitEmbedding for embedding in seen)
    start, plain, masked = (
        next(value for name, value in state.items() if name.endswith("word_embeddings.weight"))[mask]
        for state in (
            load_file(tiny_encoder / "model.safetensors"),
            weights(tmp_path / "plain"),
            weights(tmp_path / "masked"),
        )
    )
    assert torch.equal(plain, start)
    assert not torch.equal(masked, start)
