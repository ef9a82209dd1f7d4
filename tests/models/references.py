"""An encoder of ours beside transformers' own, with the same weights and the same texts, padded."""

import copy
from typing import Any

import torch
from transformers import AutoModel

from bert_ft.data.packing import pad, padding_mask
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import without_pooler
from bert_ft.models.inputs import takes_token_types

from .families import MAX_LENGTH, tiny_config

LENGTHS = [1, 2, 3, 3, 3, 17, 18, 31, 31, MAX_LENGTH]


def padded_reference(model, batch, **options: Any):
    """transformers' own forward on the padded batch, ``sdpa`` or eager as the family has it."""
    options = options or {"output_hidden_states": True}
    if batch.token_type_ids is not None and takes_token_types(model):
        options["token_type_ids"] = pad(batch.token_type_ids, batch)
    ids = pad(batch.input_ids, batch, model.config.pad_token_id or 0)
    return model(input_ids=ids, attention_mask=padding_mask(batch).long(), **options)


def twins(family: str, **changes):
    """Our encoder and transformers', with the same weights, in float64."""
    torch.manual_seed(0)
    config = tiny_config(family, **changes)
    ours = empty_encoder(copy.deepcopy(config)).double().eval()
    reference = AutoModel.from_config(config, **without_pooler(config)).double().eval()
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def gradients_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(found, expected, *, rtol: float = 0, atol: float = 1e-12) -> None:
    """Tensors by name."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=rtol, atol=atol, msg=name)
