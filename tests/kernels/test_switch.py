"""``encoder.kernels``: what an encoder is made of with ``fast``, with ``plain``, and where a kernel fails its check."""

import copy
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import AdamW

from bert_ft.config import startup
from bert_ft.errors import ConfigError
from bert_ft.kernels import dropout, first_token, linear, packed_attention, self_check, split_embedding
from bert_ft.kernels.dropout import Dropout
from bert_ft.kernels.linear import Linear
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.kernels.switch import choose_kernels, is_fast
from bert_ft.kernels.used_embedding_rows import train_used_rows_only
from bert_ft.models import attention
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode
from bert_ft.models.first_token import computes_first_tokens
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.tasks.single_label import SingleLabel
from tests.models.families import random_batch

ALL = {"dropout", "linear", "packed attention", "first tokens", "split embedding"}
TASK = SingleLabel(("no", "yes"))
NUM_WORDS = 50


@pytest.fixture(autouse=True)
def on_any_processor(monkeypatch, unchecked):
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: True)


def classifier_with(folder, kernels="fast"):
    """As a run builds it."""
    classifier = build_linear(EncoderSpec(str(folder), kernels=kernels), TASK.config_entries(), dropout=None)
    train = SimpleNamespace(used_tokens=lambda size: np.arange(size) < NUM_WORDS)
    tokenizer = SimpleNamespace(all_special_ids=[0, 1, 2])
    optimizer = LayerwiseOptimizer(AdamW, lr=1e-3)
    train_used_rows_only(classifier.encoder, train, tokenizer, optimizer, torch.device("cpu"))
    return classifier


def kernels_in(classifier, monkeypatch) -> set[str]:
    """The kernels that take part in a training step."""
    encoder = classifier.encoder
    types = {type(module) for module in encoder.modules()}
    found = {"dropout"} if Dropout in types else set()
    found |= {"linear"} if Linear in types else set()
    found |= {"split embedding"} if SplitEmbedding in types else set()
    found |= {"first tokens"} if computes_first_tokens(encoder) else set()
    asked = []
    plain = attention.packed_attention
    with monkeypatch.context() as patch:
        patch.setattr(attention, "packed_attention", lambda *a, **k: (asked.append(1), plain(*a, **k))[1])
        classifier(random_batch([3, 5, 5], vocab_size=NUM_WORDS)).sum().backward()
    return found | ({"packed attention"} if asked else set())


def test_fast(tiny_encoder, monkeypatch, caplog):
    assert kernels_in(classifier_with(tiny_encoder), monkeypatch) == ALL
    assert not caplog.records


def test_plain_is_made_of_torchs_and_transformers_own_modules(tiny_encoder, monkeypatch):
    for module in (dropout, linear, packed_attention, first_token, split_embedding):
        monkeypatch.setattr(module, "passes", None)  # and none is checked
    classifier = classifier_with(tiny_encoder, "plain")
    assert kernels_in(classifier, monkeypatch) == set()
    types = {type(module) for module in classifier.encoder.modules()}
    assert {nn.Dropout, nn.Linear, nn.Embedding} <= types
    assert all(kind.__module__.startswith(("torch.", "transformers.")) for kind in types)


@pytest.mark.parametrize("rate", ["hidden_dropout", "attention_dropout"])
def test_plain_has_dropout(tiny_encoder, rate):
    rates = {"hidden_dropout": 0.0, "attention_dropout": 0.0, rate: 0.2}
    encoder = EncoderSpec(str(tiny_encoder), kernels="plain", **rates).load()
    batch = random_batch([3, 5, 5], vocab_size=NUM_WORDS)
    assert not torch.equal(encode(encoder, batch)[0], encode(encoder, batch)[0])


def wrong(*_, **__):
    return torch.zeros(1)


DROPS = {"dropout", "packed attention", "first tokens"}
# what is broken: the kernels that go with it, and how the log names them
BROKEN = {
    "dropout": (dropout, "keep_mask", DROPS, ["dropout", "packed attention", "layer for first tokens"]),
    "linear": (linear, "_product", {"linear"}, ["oneDNN linear layer"]),
    "packed attention": (packed_attention, "packed_attention", {"packed attention"}, ["packed attention"]),
    "first tokens": (first_token, "first_token_attention", {"first tokens"}, ["layer for first tokens"]),
    "split embedding": (SplitEmbedding, "forward", {"split embedding"}, ["embedding of used rows"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_kernel_that_fails_its_check_is_left_out_and_named_once(tiny_encoder, monkeypatch, caplog, name):
    place, function, left_out, names = BROKEN[name]
    monkeypatch.setattr(place, function, wrong)
    for _ in range(2):  # two runs in a process
        classifier = classifier_with(tiny_encoder)
    assert kernels_in(classifier, monkeypatch) == ALL - left_out
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    said = sorted(record.message.partition(" failed its self-check")[0] for record in caplog.records)
    assert said == sorted(f"encoder.kernels=fast: the {one}" for one in names)
    assert all(" own" in record.message.partition("; using ")[2] for record in caplog.records)


def test_masks_of_a_wrong_rate_are_found(tiny_encoder, monkeypatch, caplog):
    plain = dropout.keep_mask
    monkeypatch.setattr(dropout, "keep_mask", lambda shape, rate: (plain(shape, rate / 2)[0], 1 / (1 - rate)))
    assert kernels_in(classifier_with(tiny_encoder), monkeypatch) == ALL - DROPS
    assert "is dropped instead of 0.25" in caplog.text


def test_a_decay_that_is_left_out_is_found(tiny_encoder, monkeypatch, caplog):
    """The closed form of rows that no text uses."""
    monkeypatch.setattr(SplitEmbedding, "follow", lambda *_: None)
    assert kernels_in(classifier_with(tiny_encoder), monkeypatch) == ALL - {"split embedding"}
    assert "a row is off by" in caplog.text


def test_a_masked_language_model(tiny_encoder):
    """The linear layers of its head included."""
    for kernels, expected in (("fast", Linear), ("plain", nn.Linear)):
        spec = EncoderSpec(str(tiny_encoder), kernels=kernels)
        model, _ = spec.load_masked_lm(spec.load_config())
        assert {type(module) for module in model.modules() if isinstance(module, nn.Linear)} == {expected}


@pytest.mark.parametrize("works", [True, False])
def test_a_reloaded_folder(tmp_path, tiny_encoder, monkeypatch, caplog, works):
    tokenizer = SimpleNamespace(save_pretrained=lambda _: None)
    save_bundle(tmp_path, classifier_with(tiny_encoder), TASK, tokenizer, max_length=16)
    monkeypatch.setattr("bert_ft.models.bundle.load_tokenizer", lambda *_, **__: tokenizer)
    dropout.is_correct()
    caplog.clear()
    if not works:
        monkeypatch.setattr(linear, "_product", wrong)
        self_check.forget()
    encoder = load_bundle(tmp_path).classifier.encoder
    types = {type(module) for module in encoder.modules() if isinstance(module, nn.Linear)}
    assert types == {Linear if works else nn.Linear}
    assert ["oneDNN linear layer" in record.message for record in caplog.records] == [True] * (not works)


def test_the_choice_is_kept_by_a_copy():
    encoder = nn.Sequential(nn.Dropout(0.1))
    assert is_fast(encoder)
    choose_kernels(encoder, "plain")
    assert not is_fast(copy.deepcopy(encoder))
    with pytest.raises(ConfigError, match=r"encoder\.kernels=quick: must be one of fast, plain"):
        choose_kernels(encoder, "quick")
    choose_kernels(encoder, "fast")
    assert is_fast(encoder)
    assert type(encoder[0]) is Dropout


@pytest.mark.parametrize("kernels", ["fast", "plain"])
def test_memory(monkeypatch, kernels):
    asked = []
    monkeypatch.setattr(startup, "keep_freed_memory", lambda: asked.append(1))
    with startup.heavy_imports(kernels=kernels):
        pass
    assert bool(asked) == (kernels == "fast")
