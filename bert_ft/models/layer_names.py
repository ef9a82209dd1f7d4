"""Which layer each parameter of an encoder belongs to, if its family's names are known."""

from __future__ import annotations

import copy

import torch
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import type_of_model
from bert_ft.models.families import FAMILIES, family_of
from bert_ft.optim.layers import LayerNames, layer_of


def layer_names(encoder: PreTrainedModel) -> LayerNames | None:
    """Return the names of the encoder's family; ``None`` if the layer of any of its parameters is unknown."""
    names = family_of(encoder.config).layers
    try:
        for name, _ in encoder.named_parameters():
            layer_of(f"encoder.{name}", int(encoder.config.num_hidden_layers), names)
    except ConfigError:
        return None
    return names


def check_layer_names(config: PretrainedConfig, setting: str, remedy: str) -> None:
    """Raise ``ConfigError`` if a setting (key and value) needs to know an encoder's layers, and one is unknown."""
    if config.model_type in FAMILIES and getattr(config, "num_hidden_groups", 1) == 1:  # ALBERT's
        return
    with torch.device("meta"):  # names only: no weights
        encoder = type_of_model(config)(copy.deepcopy(config))
    if layer_names(encoder) is None:
        raise ConfigError(
            f"{setting}: which layer a parameter of {config.model_type} belongs to isn't known; {remedy}"
        )
