"""Packed encoders against transformers' own, padded."""

import copy
import inspect

import pytest
import torch

from bert_ft.data.packing import unpad
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import attention_name
from bert_ft.models.encoding import encode, is_packed

from .families import FAMILIES, PACKED_FAMILIES, PADDED_FAMILIES, random_batch, tiny_config
from .references import LENGTHS, padded_reference, twins


def test_every_packed_family_is_tested():
    assert sorted(set(FAMILIES) - set(PADDED_FAMILIES)) == PACKED_FAMILIES


@pytest.mark.parametrize(
    ("family", "token_types"), [*((name, True) for name in FAMILIES), ("bert", False), ("deberta", False)]
)
def test_equals_padded_transformers(family, token_types):
    ours, reference = twins(family)
    batch = random_batch(LENGTHS, token_types=token_types)
    with torch.no_grad():
        states = encode(ours, batch, num_layers=2)
        expected = padded_reference(reference, batch).hidden_states
    assert is_packed(ours) == (family not in PADDED_FAMILIES)
    for state, hidden in zip(states, expected[-2:], strict=True):
        # float64; 1e-5 is what the project promises of float32
        torch.testing.assert_close(state, unpad(hidden, batch), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("family", "num_types"), [("bert", 1), ("deberta", 0), ("deberta", 1)])
def test_an_encoder_with_a_row_for_one_text_reads_pairs_without_types(family, num_types):
    encoder = empty_encoder(tiny_config(family, type_vocab_size=num_types)).eval()
    with torch.no_grad():
        of_pairs = encode(encoder, random_batch(LENGTHS, token_types=True))[0]
        assert torch.equal(of_pairs, encode(encoder, random_batch(LENGTHS, token_types=False))[0])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
def test_equals_padded_transformers_in_float32(family):
    ours, reference = (model.float() for model in twins(family, initializer_range=0.05))
    batch = random_batch(LENGTHS)
    with torch.no_grad():
        expected = unpad(padded_reference(reference, batch).last_hidden_state, batch)
        torch.testing.assert_close(encode(ours, batch)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_eager_equals_sdpa(family):
    sdpa, _ = twins(family)
    eager = copy.deepcopy(sdpa)
    eager.set_attn_implementation(attention_name(eager.config, "eager"))
    batch = random_batch(LENGTHS)
    with torch.no_grad():
        torch.testing.assert_close(encode(eager, batch)[0], encode(sdpa, batch)[0], rtol=0, atol=1e-9)


def test_transformers_still_passes_our_arguments_on():
    """Packed attention depends on keyword arguments that reach it through each layer."""
    for family in PACKED_FAMILIES:
        model = empty_encoder(tiny_config(family))
        assert "kwargs" in inspect.signature(model.forward).parameters, family
        assert model._supports_attention_backend, family
