"""Every family's token embedding grows, and what it was before stays as it was."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from bert_ft.compat.transformers import has_class
from bert_ft.data.packing import pack
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode
from bert_ft.models.families import family_of
from bert_ft.models.family_heads import head_of
from bert_ft.models.grown_embedding import grow_embedding

from .tiny_families import TABLE, random_encoder, tiny_family

OLD, NEW = 99, 103


GROWING = sorted(name for name in TABLE if name != "ibert")


@pytest.fixture(scope="module", params=GROWING)
def family(request):
    return request.param


def batch(*rows):
    return pack([np.array(row) for row in rows], range(len(rows)))


def is_tied(model):
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight


def test_an_encoder_grows(family):
    encoder = random_encoder(family).eval()
    before = encode(encoder, batch([5, 6, 7, 98], [8, 9]))[0]
    grow_embedding(encoder, NEW)
    embedding = encoder.get_input_embeddings()
    assert embedding.num_embeddings == len(embedding.weight) == encoder.config.vocab_size == NEW
    after = encode(encoder, batch([5, 6, 7, 98], [8, 9]))[0]
    assert torch.equal(before, after)
    mean = embedding.weight[:OLD].mean(0)
    assert torch.allclose(embedding.weight[OLD:], mean.expand(NEW - OLD, -1), atol=1e-3)
    assert encode(encoder, batch([5, 102, 99]))[0].isfinite().all()
    grow_embedding(encoder, OLD)  # it never shrinks
    assert encoder.config.vocab_size == NEW


def test_a_masked_lm_grows(family):
    config = tiny_family(family)
    if family_of(config).predict_tokens is None or not has_class(AutoModelForMaskedLM, config):
        pytest.skip("has no known head")
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).eval()
    hidden = torch.randn(3, model.config.hidden_size)
    was_tied = is_tied(model)
    before = family_of(model.config).predict_tokens(model.base_model, head_of(model), hidden)
    grow_embedding(model, NEW)
    after = family_of(model.config).predict_tokens(model.base_model, head_of(model), hidden)
    assert before.shape == (3, OLD)
    assert after.shape == (3, NEW)
    assert torch.allclose(before, after[:, :OLD], atol=1e-6)
    assert is_tied(model) is was_tied


def test_the_rows_follow_the_seed(tiny_encoder):
    spec = EncoderSpec(str(tiny_encoder), num_embeddings=200)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(spec.load().get_input_embeddings().weight)
    assert len(found[0]) == 200
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[0], found[2], atol=1e-3)


def test_a_family_that_is_known_not_to_grow():
    with pytest.raises(
        ConfigError, match=r"data\.tokenizer: .* of ibert can't grow from 99 to 103 rows; use"
    ):
        grow_embedding(random_encoder("ibert"), NEW)


def test_a_family_that_cannot_is_named(monkeypatch):
    encoder = random_encoder("bert")

    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(encoder, "resize_token_embeddings", refuse)
    with pytest.raises(
        ConfigError, match=r"data\.tokenizer: .* of bert can't grow from 99 to 103 rows; .* \(NotImpl"
    ):
        grow_embedding(encoder, NEW)
