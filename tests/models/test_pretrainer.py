"""Predicted tokens and vectors against transformers' own models, padded."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import pad, padding_mask
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoder_config import attention_name
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.optim.groups import parameter_groups

from .families import FAMILIES, random_batch, tiny_config
from .references import assert_equal, gradients_of

LENGTHS = [1, 4, 9, 9, 17]
MASK = 4


def masked_batch(lengths=LENGTHS, seed=0):
    text = random_batch(lengths, seed=seed)
    is_target = torch.rand(text.num_tokens, generator=torch.Generator().manual_seed(seed)) < 0.3
    masked = copy.copy(text)
    masked.input_ids = torch.where(is_target, MASK, text.input_ids)
    return MaskedBatch(text, masked, is_target)


def twins(family, **changes):
    """A pretrainer, and transformers' model of the same weights; float64, without dropout."""
    torch.manual_seed(0)
    config = tiny_config(family, **changes)
    model = AutoModelForMaskedLM.from_config(config, attn_implementation=attention_name(config, "sdpa"))
    reference = AutoModelForMaskedLM.from_config(tiny_config(family, **changes))
    reference.load_state_dict(model.state_dict())
    model.double().eval()
    return Pretrainer(model.base_model, model).eval(), reference.double().eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(family):
    ours, reference = twins(family)
    batch = masked_batch()
    logits = ours.token_logits(batch)
    assert logits.shape == (int(batch.is_target.sum()), reference.config.vocab_size)
    labels = torch.where(batch.is_target, batch.text.input_ids, -100)
    expected = reference(
        input_ids=pad(batch.masked.input_ids, batch.text, reference.config.pad_token_id),
        attention_mask=padding_mask(batch.text).long(),
        labels=pad(labels, batch.text, -100),
    )
    loss = F.cross_entropy(logits, batch.targets)
    # ModernBERT's own is taken in float32
    rtol = 1e-9 if expected.loss.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(loss, expected.loss.double(), rtol=rtol, atol=0)
    loss.backward()
    expected.loss.backward()
    found, wanted = gradients_of(ours.encoder), gradients_of(reference.base_model)
    assert_equal(found, wanted, rtol=1e4 * rtol if rtol < 1e-8 else 1e-3, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tied_decoder_is_one_parameter_of_the_embeddings(family):
    ours, reference = twins(family)
    settings = {
        "num_layers": ours.config.num_hidden_layers,
        "lr": 1.0,
        "layer_decay": 0.9,
        "weight_decay": 0.0,
    }
    groups = parameter_groups(ours.named_parameters(), **settings)
    trained = [parameter for group in groups for parameter in group["params"]]
    assert len({id(parameter) for parameter in trained}) == len(trained)
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in reference.parameters())
    table = ours.encoder.get_input_embeddings().weight
    (group,) = [group for group in groups if any(p is table for p in group["params"])]
    assert "embeddings" in group["name"]
    output = next(iter(ours._saved)).get_output_embeddings()
    assert output.weight is table or family.startswith("deberta")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_those_of_the_encoder(pooling):
    model, reference = twins("bert")
    ours = Pretrainer(model.encoder, pooling=pooling, projection_sizes=[5]).double().eval()
    text = random_batch(LENGTHS)
    with torch.no_grad():
        features = ours.features(text)
        hidden = reference.base_model(
            input_ids=pad(text.input_ids, text), attention_mask=padding_mask(text).long()
        ).last_hidden_state
    expected = [
        row[0] if pooling == "cls" else row[:length].mean(0)
        for row, length in zip(hidden, LENGTHS, strict=True)
    ]
    torch.testing.assert_close(features, torch.stack(expected))
    assert ours.project(features).shape == (5, 5)
    assert "mlm" not in ours.head


class TestLoading:
    def test_an_encoder_without_a_head_gets_a_fresh_one(self, tiny_encoder):
        spec = EncoderSpec(str(tiny_encoder))
        model, is_fresh = spec.load_masked_lm(spec.load_config())
        assert is_fresh
        assert model.training
        encoder = spec.load()
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        torch.testing.assert_close(model.get_input_embeddings().weight, encoder.get_input_embeddings().weight)

    def test_what_is_saved_is_loaded_head_and_all(self, tiny_encoder, tmp_path):
        spec = EncoderSpec(str(tiny_encoder))
        model, _ = spec.load_masked_lm(spec.load_config())
        ours = Pretrainer(model.base_model, model).eval()
        ours.save(tmp_path, AutoTokenizer.from_pretrained(tiny_encoder))
        again = EncoderSpec(str(tmp_path))
        loaded, is_fresh = again.load_masked_lm(again.load_config())
        assert not is_fresh
        reference, info = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        ids = np.random.default_rng(0).integers(5, 50, (2, 7))
        with torch.no_grad():
            wanted = reference.eval()(input_ids=torch.from_numpy(ids)).logits
            found = Pretrainer(loaded.base_model, loaded).eval()
            batch = masked_batch([7])
            batch.masked.input_ids = torch.from_numpy(ids[0])
            batch.is_target = torch.ones(7, dtype=torch.bool)
            torch.testing.assert_close(found.token_logits(batch), wanted[0], rtol=1e-4, atol=1e-5)
        # and as a bare encoder
        again.load()

    def test_without_a_head_the_encoder_is_saved(self, tiny_encoder, tmp_path):
        spec = EncoderSpec(str(tiny_encoder))
        ours = Pretrainer(spec.load())
        ours.save(tmp_path, AutoTokenizer.from_pretrained(tiny_encoder))
        state = EncoderSpec(str(tmp_path)).load().state_dict()
        assert state.keys() == ours.encoder.state_dict().keys()
        assert all(torch.equal(state[name], value) for name, value in ours.encoder.state_dict().items())

    def test_a_family_without_a_known_head(self):
        config = AutoConfig.for_model("xlm", vocab_size=50, emb_dim=8, n_layers=1, n_heads=2)
        model = AutoModelForMaskedLM.from_config(config)
        with pytest.raises(ConfigError, match=r"pretrain\.mlm_weight: no masked language model .* 'xlm'"):
            Pretrainer(model.base_model, model)
