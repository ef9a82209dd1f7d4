"""The last layer for first tokens only, against the whole layer."""

import copy

import pytest
import torch
from transformers import AutoModel

from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import without_pooler
from bert_ft.models.encoding import encode, encode_first_tokens
from bert_ft.models.first_token import computes_first_tokens, prepare_first_tokens
from bert_ft.nn.pooling import ClsPooling

from .families import FAMILIES, WITH_BERT_LAYERS, random_batch, tiny_config
from .references import assert_equal, gradients_of

LENGTHS = [1, 1, 2, 5, 5, 17, 40]


def prepared(family: str, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    encoder = empty_encoder(tiny_config(family, **changes)).to(dtype)
    prepare_first_tokens(encoder)
    return encoder


def first_of_all(encoder, batch):
    """The reference: every token computed, the first ones taken."""
    return ClsPooling()(encode(encoder, batch)[0], batch.cu_seqlens)


def widths(encoder):
    """A list that fills with how many tokens go through each feed-forward block."""
    seen = []
    for layer in encoder.encoder.layer:
        layer.intermediate.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    return seen


@pytest.mark.parametrize(
    ("family", "token_types", "checkpointing"),
    [*((family, True, False) for family in WITH_BERT_LAYERS), ("bert", False, False), ("bert", True, True)],
)
def test_values_and_gradients(family, token_types, checkpointing):
    encoder = prepared(family, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    whole = copy.deepcopy(encoder)
    if checkpointing:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
    seen = widths(encoder)
    batch = random_batch(LENGTHS, token_types=token_types)
    output, expected = encode_first_tokens(encoder, batch), first_of_all(whole, batch)
    assert seen == [sum(LENGTHS), sum(LENGTHS), len(LENGTHS)]
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    expected.backward(gradient)
    assert len(seen) == (6 if checkpointing else 3)
    assert_equal(gradients_of(encoder), gradients_of(whole), atol=1e-9)


def test_checkpointing_repeats_the_dropout():
    gradients = []
    for checkpointing in (False, True):
        encoder = prepared("bert").train()
        if checkpointing:
            encoder.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)
        encode_first_tokens(encoder, random_batch(LENGTHS)).square().sum().backward()
        gradients.append(gradients_of(encoder))
    assert_equal(*gradients)


@pytest.mark.parametrize("rate", ["attention_probs_dropout_prob", "hidden_dropout_prob"])
def test_dropout_acts_in_training_alone(rate):
    off = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    encoder = prepared("bert", **off | {rate: 0.2}, num_hidden_layers=1)
    batch = random_batch(LENGTHS)
    assert not torch.equal(encode_first_tokens(encoder, batch), encode_first_tokens(encoder, batch))
    encoder.eval()
    assert torch.equal(encode_first_tokens(encoder, batch), encode_first_tokens(encoder, batch))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(WITH_BERT_LAYERS)))
def test_other_families_compute_everything(family):
    encoder = prepared(family).eval()
    batch = random_batch(LENGTHS)
    assert not computes_first_tokens(encoder)
    assert torch.equal(encode_first_tokens(encoder, batch), first_of_all(encoder, batch))


def test_an_encoder_that_was_not_prepared_computes_everything():
    encoder = empty_encoder(tiny_config("bert")).eval()
    seen = widths(encoder)
    encode_first_tokens(encoder, random_batch(LENGTHS))
    assert not computes_first_tokens(encoder)
    assert seen == [sum(LENGTHS)] * 3


@pytest.mark.parametrize("lengths", [[0, 3, 5], [0, 0, 1]])
def test_an_empty_sequence_gives_zeros(lengths):
    encoder = prepared("bert").eval()
    batch = random_batch(lengths)
    output = encode_first_tokens(encoder, batch)
    assert torch.equal(output, first_of_all(encoder, batch))
    assert torch.equal(output[0], torch.zeros_like(output[0]))
    others = [length for length in lengths if length]
    expected = encode_first_tokens(encoder, random_batch(others))
    # random_batch draws the same ids for both: an empty sequence takes none
    torch.testing.assert_close(output[-len(others) :], expected, rtol=0, atol=1e-9)


def test_all_states_can_still_be_had():
    """What is prepared computes first tokens where it is asked to, and nowhere else."""
    encoder = prepared("bert").eval()
    plain = empty_encoder(tiny_config("bert")).double().eval()
    plain.load_state_dict(encoder.state_dict())
    batch = random_batch(LENGTHS)
    for ours, theirs in zip(encode(encoder, batch, 3), encode(plain, batch, 3), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_names_and_the_saved_folder_stay_as_they_were(family, tmp_path):
    encoder = prepared(family, torch.float32).eval()
    names = empty_encoder(tiny_config(family)).state_dict().keys()
    assert encoder.state_dict().keys() == names
    encoder.save_pretrained(tmp_path)
    options = without_pooler(encoder.config) | {"output_loading_info": True}
    loaded, info = AutoModel.from_pretrained(tmp_path, **options)
    assert not any(info.values())
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name
    assert not computes_first_tokens(loaded)


def test_preparing_twice_is_preparing_once():
    encoder = prepared("bert")
    once = type(encoder.encoder.layer[-1].attention)
    prepare_first_tokens(encoder)
    assert type(encoder.encoder.layer[-1].attention) is once
    assert type(encoder.encoder.layer[0].attention) is not once
