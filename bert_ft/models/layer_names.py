"""Which layer each parameter of an encoder belongs to, as far as its family's names are known."""

from __future__ import annotations

import copy

import torch
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import type_of_model
from bert_ft.models.families import FAMILIES, family_of
from bert_ft.optim.layers import LayerNames, layer_of


def layer_names(encoder: PreTrainedModel) -> LayerNames | None:
    """The names of the encoder's family; ``None`` where one of the encoder's parameters has no known layer."""
    names = family_of(encoder.config).layers
    try:
        for name, _ in encoder.named_parameters():
            layer_of(f"encoder.{name}", int(encoder.config.num_hidden_layers), names)
    except ConfigError:
        return None
    return names


def check_layer_names(config: PretrainedConfig, setting: str, remedy: str) -> None:
    """Refuse a setting that needs to know the encoder's layers, where they aren't known.

    Args:
        config: of the encoder.
        setting: key and value.
        remedy: what to do instead.

    Raises:
        ConfigError: a parameter of such an encoder has no known layer.
    """
    is_known = config.model_type in FAMILIES and getattr(config, "num_hidden_groups", 1) == 1  # ALBERT's
    if is_known:
        return
    with torch.device("meta"):  # names alone: no weights
        encoder = type_of_model(config)(copy.deepcopy(config))
    if layer_names(encoder) is None:
        raise ConfigError(
            f"{setting}: which layer a parameter of {config.model_type} belongs to isn't known; {remedy}"
        )
