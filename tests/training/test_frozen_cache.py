"""The frozen part's kept output: it changes nothing but the time, is read again, and leaves no file behind."""

import shutil
import tempfile
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModel

from bert_ft.data.packing import pack
from bert_ft.errors import ConfigError
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.bundle import load_bundle
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.frozen import freeze
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training import frozen_cache
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.module import ClassificationModule
from tests.models.families import VOCAB_SIZE, WITH_BERT_LAYERS, tiny_config

from .running import interrupted, train

LENGTHS = np.array([5, 1, 9, 9, 30, 2, 12, 3])
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
STILL = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0"]
CACHED = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]


def batch_of(rows, seed=0):
    """The given rows of a data set of ``LENGTHS``."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, VOCAB_SIZE, size=length) for length in LENGTHS]
    labels = rng.integers(0, 3, size=len(LENGTHS))
    return pack([ids[row] for row in rows], rows, labels=labels[rows])


def frozen_classifier(family="bert", num_layers=2, pooling="cls", **changes):
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(("a", "b", "c")).config_entries(), **changes)
    model = ResidualClassifier(empty_encoder(config), pooling=pooling, dropout=0.0)
    freeze(model.encoder, num_layers)
    return model


def cache_of(model, num_layers=2, max_tokens=4096):
    return FrozenStates(model.encoder, {"train": LENGTHS}, num_layers=num_layers, max_tokens=max_tokens)


def count_calls(encoder) -> Counter:
    """How often the embeddings and each layer run from now on."""
    calls = Counter()
    for name, module in [("embeddings", encoder.embeddings), *enumerate(encoder.encoder.layer)]:
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    return calls


def gradients(model, batch):
    model.zero_grad()
    cross_entropy(model(batch), batch.labels).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", WITH_BERT_LAYERS)
def test_logits_and_gradients_are_those_without_a_cache(family, pooling):
    """In float64 computed, in float32 kept: what differs is the rounding of one state."""
    model = frozen_classifier(family, pooling=pooling, initializer_range=0.1, **NO_DROPOUT).double()
    cache = cache_of(model)
    for rows in ([0, 1, 2, 3], [4, 5, 6, 7]):
        cache.attach(batch_of(rows), "train")
    batch = batch_of([6, 3, 0, 5])  # from both
    kept = cache.attach(batch, "train")
    torch.testing.assert_close(model(kept), model(batch), rtol=0, atol=1e-5)
    expected, found = gradients(model, batch), gradients(model, kept)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-5, msg=name)


def test_rows_are_computed_once():
    model = frozen_classifier()
    cache = cache_of(model)
    calls = count_calls(model.encoder)
    first = cache.attach(batch_of([0, 2, 4]), "train")
    assert calls == {"embeddings": 1, 0: 1, 1: 1}
    again = cache.attach(batch_of([0, 2, 4]), "train")
    assert torch.equal(again.states, first.states)
    other = cache.attach(batch_of([4, 2]), "train")
    assert torch.equal(other.states, first.states[5:])  # the rows of 9 and 30 tokens
    assert calls == {"embeddings": 1, 0: 1, 1: 1}
    cache.attach(batch_of([4, 2, 7]), "train")  # one that wasn't there
    assert calls == {"embeddings": 2, 0: 2, 1: 2}
    model(other)
    assert calls == {"embeddings": 2, 0: 2, 1: 2, 2: 1}


def test_splits_do_not_share_rows():
    model = frozen_classifier()
    cache = FrozenStates(model.encoder, {"train": LENGTHS, "test": LENGTHS}, num_layers=1, max_tokens=4096)
    train, test = (cache.attach(batch_of([0, 3], seed), name) for seed, name in enumerate(("train", "test")))
    assert not torch.equal(train.states, test.states)
    assert torch.equal(cache.attach(batch_of([0, 3]), "train").states, train.states)


def test_a_large_batch_is_computed_in_pieces():
    model = frozen_classifier()
    calls = count_calls(model.encoder)
    pieces = cache_of(model, max_tokens=10).attach(batch_of(list(range(8))), "train")
    assert calls["embeddings"] == len(pieces.split(10)) > 1
    whole = cache_of(model).attach(batch_of(list(range(8))), "train")
    torch.testing.assert_close(pieces.states, whole.states)


def test_states_are_kept_in_float32_under_autocast():
    model = frozen_classifier(initializer_range=0.1)
    cache = cache_of(model)
    exact = cache_of(model).attach(batch_of([0, 4]), "train").states
    with torch.autocast("cpu", torch.bfloat16):
        first, again = (cache.attach(batch_of([0, 4]), "train").states for _ in range(2))
    assert first.dtype == again.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, exact)
    torch.testing.assert_close(first, exact, rtol=0.05, atol=0.05)


def test_dropout_above_the_frozen_part_differs_from_epoch_to_epoch():
    model = frozen_classifier().train()
    cache = cache_of(model)
    first, second = (cache.attach(batch_of([0, 4]), "train") for _ in range(2))
    assert torch.equal(first.states, second.states)
    assert not torch.equal(model(first), model(second))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which temporary files are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def mapped_files(folder) -> int:
    """Files without a name in ``folder`` that this process holds mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sum(f" {folder}/" in line and line.endswith("(deleted)") for line in lines)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into Linux's list of mapped files")
def test_no_file_has_a_name_and_close_frees_the_space(temporary):
    cache = cache_of(frozen_classifier())
    cache.attach(batch_of([0, 4]), "train")
    assert list(temporary.iterdir()) == []
    assert mapped_files(temporary) == 1
    cache.close()
    assert mapped_files(temporary) == 0
    assert cache.attach(batch_of([0, 4]), "train").states.shape == (35, 32)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into Linux's list of mapped files")
def test_a_run_that_fails_frees_the_space(tmp_path, tiny_encoder, reviews, temporary, monkeypatch):
    held = []

    def fail(module):
        held.append(mapped_files(temporary))
        raise RuntimeError("broken off")

    monkeypatch.setattr(ClassificationModule, "on_train_epoch_end", fail)
    with pytest.raises(RuntimeError, match="broken off") as raised:
        train(tmp_path / "run", tiny_encoder, reviews, "trainer.max_epochs=1", *CACHED)
    assert raised.value.__traceback__ is not None  # it holds on to the run
    assert held == [2]  # training and validation rows
    assert mapped_files(temporary) == 0
    assert list(temporary.iterdir()) == []


def test_a_disk_that_is_too_small(monkeypatch):
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9000))
    message = r"cache_frozen=true: 71 tokens of 128 bytes take 9,088 bytes, but .* has 9,000 free; set TMPDIR"
    with pytest.raises(ConfigError, match=message):
        cache_of(frozen_classifier())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9088))
    cache_of(frozen_classifier())


def losses(folder) -> list[float]:
    lines = (folder / "csv/version_0/metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    return [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], ["data.max_tokens=64"], ["model=bert_linear"]], ids=str)
def test_a_run_reaches_what_it_does_without_a_cache(tmp_path, tiny_encoder, reviews, overrides):
    found = []
    # dropout of the head stays on: its masks are the same
    for name, options in (("plain", CACHED[:1]), ("cached", CACHED)):
        _, metrics = train(
            tmp_path / name, tiny_encoder, reviews, "trainer.max_epochs=3", *STILL, *options, *overrides
        )
        found.append((losses(tmp_path / name), metrics))
    (plain_losses, plain), (cached_losses, cached) = found
    assert len(plain_losses) == 30
    assert cached_losses == pytest.approx(plain_losses, abs=1e-4)
    for split in ("val", "test"):
        assert cached[split] == pytest.approx(plain[split], abs=1e-4)


def test_the_frozen_part_runs_once_for_each_batch_of_the_first_epoch(
    tmp_path, tiny_encoder, reviews, monkeypatch
):
    computed = []
    original = frozen_cache.frozen_states

    def counted(encoder, batch, num_layers):
        computed.append(batch.rows.tolist())
        return original(encoder, batch, num_layers)

    monkeypatch.setattr(frozen_cache, "frozen_states", counted)
    train(tmp_path / "run", tiny_encoder, reviews, "trainer.max_epochs=3", *CACHED)
    assert sum(map(len, computed)) == 160 + 40 + 40


def test_frozen_weights_come_out_as_they_went_in(tmp_path, tiny_encoder, reviews):
    train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1", *CACHED, "optimizer.weight_decay=0.1")
    encoder = load_bundle(tmp_path / "model").classifier.encoder
    start = AutoModel.from_pretrained(tiny_encoder, add_pooling_layer=False).state_dict()
    for name, value in encoder.state_dict().items():
        is_frozen = name.startswith("embeddings") or ".layer.0." in name
        # keys' biases have no gradient: softmax takes no notice of them
        if is_frozen or not name.endswith("key.bias"):
            assert torch.equal(value, start[name]) == is_frozen, name


def test_a_frozen_embedding_is_not_split(tmp_path, tiny_encoder, reviews, monkeypatch):
    monkeypatch.setattr(SplitEmbedding, "__init__", None)
    train(tmp_path, tiny_encoder, reviews, "debug=fast", "encoder.freeze_layers=0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["encoder.freeze_layers=0"],
        ["encoder.freeze_layers=2"],  # the head alone
        ["encoder.freeze_layers=2", "model.pooling=cls"],
        ["encoder.gradient_checkpointing=true"],
        ["encoder.attn_implementation=eager"],
        ["trainer.precision=16"],
        ["trainer.precision=bf16-true"],
        ["trainer.precision=64"],
        ["data.num_workers=1"],
        ["model.pooling=attention", "model.pooling_layers=2"],
    ],
    ids=str,
)
@pytest.mark.parametrize("cache", ["false", "true"])
def test_settings_that_go_with_it(tmp_path, tiny_encoder, reviews, overrides, cache):
    options = ["debug=fast", CACHED[0], f"encoder.cache_frozen={cache}", *overrides]
    _, metrics = train(tmp_path, tiny_encoder, reviews, *options)
    assert metrics["checkpoint"]["step"] == 4
    assert np.isfinite(metrics["val"]["loss"])


@pytest.mark.slow
def test_a_resumed_run_reaches_what_the_uninterrupted_one_does(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Up to rounding: the resumed run fills its cache from the batches of another epoch."""
    arguments = (tiny_encoder, reviews, "trainer.max_epochs=3", "trainer.val_check_interval=0.5", *CACHED)
    _, whole = train(tmp_path / "whole", *arguments)

    broken = ("on_train_batch_start", lambda module: module.global_step == 17, tmp_path / "broken")
    last = interrupted(monkeypatch, *broken, *arguments)
    _, resumed = train(tmp_path / "broken", *arguments, f"resume_from={last}")
    for split in ("val", "test"):
        assert resumed[split] == pytest.approx(whole[split], abs=1e-4)
    weights = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-3, msg=name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.freeze_layers=3"], r"encoder\.freeze_layers=3: this encoder has 2 layers"),
        (
            ["encoder.freeze_layers=2", "encoder.cache_frozen=true", "model.pooling_layers=2"],
            r"model\.pooling_layers=2: .* can be at most 1",
        ),
    ],
)
def test_runs_that_cannot_be(tmp_path, tiny_encoder, reviews, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, *overrides)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "checkpoints"}
