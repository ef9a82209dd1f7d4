"""A head from an earlier fine-tuning: left out, or kept for the same labels."""

import logging

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.bundle import save_bundle
from bert_ft.models.classifier import build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch, tiny_config

LABELS = ("no", "yes", "maybe")
SETTINGS = {"pooling": "attention", "pooling_layers": 2, "head": {"hidden_sizes": [16], "dropout": 0.2}}
BATCH = random_batch([3, 9, 4], vocab_size=50)


def build(kind, folder, labels=LABELS, **changes):
    entries, spec = SingleLabel(tuple(labels)).config_entries(), EncoderSpec(str(folder))
    torch.manual_seed(1)
    if kind == "linear":
        return build_linear(spec, entries, **{"dropout": None, **changes}).eval()
    return build_residual(spec, entries, **{**SETTINGS, **changes}).eval()


@pytest.fixture(params=["linear", "residual"])
def saved(request, tiny_encoder, tmp_path):
    """What was fine-tuned before: kind, folder and model."""
    before = build(request.param, tiny_encoder)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    folder = tmp_path / "model"
    save_bundle(folder, before, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=48)
    return request.param, folder, before


def heads(model):
    return {
        name: value for name, value in model.state_dict().items() if name.startswith(("head.", "pooling."))
    }


def test_a_head_is_fresh_though_it_would_fit(saved, caplog):
    kind, folder, before = saved
    with caplog.at_level(logging.INFO, "bert_ft"):
        fresh = build(kind, folder)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "its head (3 labels: no, yes, maybe) isn't used" in message
    assert "model.keep_head=true" in message
    for name, value in heads(fresh).items():
        if "weight" in name and "norm" not in name:
            assert not torch.equal(value, heads(before)[name]), name
    for name, value in fresh.encoder.state_dict().items():
        assert torch.equal(value, before.encoder.state_dict()[name]), name


def test_a_kept_head_gives_the_same_logits(saved, caplog):
    kind, folder, before = saved
    with caplog.at_level(logging.INFO, "bert_ft"):
        kept = build(kind, folder, keep_head=True)
    assert caplog.records == []
    assert torch.equal(kept(BATCH), before(BATCH))


@pytest.mark.parametrize(
    ("kind", "pooling"), [("residual", "attention"), ("residual", "max"), ("linear", "max")]
)
def test_a_kept_head_has_its_pooling_over_windows(tiny_encoder, tmp_path, kind, pooling):
    before = build(kind, tiny_encoder, window_pooling=pooling)
    for parameter in before.window_pooling.parameters():
        torch.nn.init.normal_(parameter)
    save_bundle(tmp_path, before, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=48)
    kept = build(kind, tmp_path, keep_head=True, window_pooling=pooling)
    for name, value in before.state_dict().items():
        assert torch.equal(kept.state_dict()[name], value), name
    with pytest.raises(ConfigError, match=rf"model\.window_pooling=mean: .* model\.window_pooling={pooling}"):
        build(kind, tmp_path, keep_head=True)
    before = build(kind, tiny_encoder)
    save_bundle(tmp_path, before, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=48)
    build(
        kind, tmp_path, keep_head=True, window_pooling=pooling
    )  # a new one on a head for means, or for no windows


def test_labels_are_compared_by_name(saved):
    kind, folder, before = saved
    kept = build(kind, folder, ("maybe", "no", "yes"), keep_head=True)
    torch.testing.assert_close(kept(BATCH), before(BATCH)[:, [2, 0, 1]], rtol=0, atol=1e-6)
    assert list(kept.config.id2label.values()) == ["maybe", "no", "yes"]


@pytest.mark.parametrize("labels", [("no", "yes"), ("no", "yes", "perhaps"), ("no", "yes", "maybe", "more")])
def test_other_labels_are_refused(saved, labels):
    kind, folder, _ = saved
    with pytest.raises(
        ConfigError, match=r"model\.keep_head=true: .*knows 3 labels: no, yes, maybe.*keep_head=false"
    ):
        build(kind, folder, labels, keep_head=True)


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c", "d", "e")])
def test_another_number_of_labels_gets_a_fresh_head(saved, labels):
    kind, folder, before = saved
    fresh = build(kind, folder, labels)
    assert fresh(BATCH).shape == (3, len(labels))
    for name, value in fresh.encoder.state_dict().items():
        assert torch.equal(value, before.encoder.state_dict()[name]), name


def test_the_head_of_the_other_model_is_refused(saved):
    kind, folder, _ = saved
    other = {"linear": "residual", "residual": "linear"}[kind]
    with pytest.raises(ConfigError, match=r"model\.keep_head=true: .*bert_linear"):
        build(other, folder, keep_head=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling": "mean"}, r"model\.pooling=mean: .*attention"),
        ({"pooling_layers": 1}, r"model\.pooling_layers=1: .*2"),
        ({"head": {"hidden_sizes": [8]}}, r"model\.head\.hidden_sizes=\[8\]: .*\[16\]"),
    ],
)
def test_a_head_of_another_build_is_refused(tiny_encoder, tmp_path, changes, message):
    before = build("residual", tiny_encoder)
    save_bundle(tmp_path, before, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=48)
    with pytest.raises(ConfigError, match=message):
        build("residual", tmp_path, keep_head=True, **changes)
    other_rate = {"hidden_sizes": [16], "dropout": 0.0}
    assert torch.equal(build("residual", tmp_path, keep_head=True, head=other_rate)(BATCH), before(BATCH))


def test_an_encoder_without_a_head(tiny_encoder):
    entries = SingleLabel(LABELS).config_entries()
    with pytest.raises(ConfigError, match=r"model\.keep_head=true"):
        build_linear(EncoderSpec(str(tiny_encoder)), entries, dropout=None, keep_head=True)
    with pytest.raises(ConfigError, match=r"model\.keep_head=true: .*has no bert_ft\.yaml"):
        build("residual", tiny_encoder, keep_head=True)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
@pytest.mark.parametrize("labels", [("spam", "ham"), ("a", "b", "c")])
def test_a_checkpoint_of_transformers(family, labels, tmp_path):
    """Fine-tuned elsewhere on other labels: no weight of its head is left, each of its encoder is."""
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(labels).config_entries())
    reference = AutoModelForSequenceClassification.from_config(config)
    reference.save_pretrained(tmp_path)
    fresh = build("linear", tmp_path, ("neg", "pos"))
    state = reference.state_dict()
    for name, value in fresh.saved_state().items():
        if name.startswith(f"{reference.base_model_prefix}."):
            assert torch.equal(value, state[name]), name
        elif value.ndim > 1:
            assert value.shape != state[name].shape or not torch.equal(value, state[name]), name


def test_weights_of_another_size_than_the_configuration(tmp_path):
    model = AutoModelForSequenceClassification.from_config(tiny_config("bert"))
    model.save_pretrained(tmp_path)
    model.config.vocab_size += 7
    model.config.save_pretrained(tmp_path)
    for kind in ("linear", "residual"):
        with pytest.raises(CheckpointError, match=r"differ in size: .*word_embeddings\.weight"):
            build(kind, tmp_path)
