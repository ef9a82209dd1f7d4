"""Uses of transformers (5.23) that have no public API."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, conversion_mapping


def has_class(auto: Any, config: PretrainedConfig) -> bool:
    """Return whether transformers has a model of the kind ``auto``, an ``AutoModel...``, for a configuration."""
    # no public API: ``from_config`` builds a model or raises an error.
    return type(config) in auto._model_mapping


def class_of(auto: Any, config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the class that an ``AutoModel...`` builds; raise ``KeyError`` if there is none."""
    # no public API: only a built model, with all its weights, shows its class.
    return cast(type[PreTrainedModel], auto._model_mapping[type(config)])


def keep_weight_conversions() -> None:
    """Build the table of weight conversions that transformers keeps for every later load of a model."""
    # no public API: otherwise only loading a model builds it, once per process.
    conversion_mapping.get_checkpoint_conversion_mapping("bert")


def knows_sdpa(model: type[PreTrainedModel]) -> bool:
    """Return whether a class of models can run torch's ``scaled_dot_product_attention``."""
    # no public API: only building a model with it shows that, by an error.
    return model._supports_sdpa


def takes_any_attention(model: type[PreTrainedModel]) -> bool:
    """Return whether a class of models runs every function registered with ``AttentionInterface``."""
    # no public API: only building a model with one shows that, by an error.
    return model._supports_attention_backend


def attention_of(config: PretrainedConfig) -> str | None:
    """Return the name of the attention function that a model runs; ``None`` if none has been chosen yet."""
    # no public API: ``attn_implementation`` can be set, but not read.
    return config._attn_implementation


def set_attention(config: PretrainedConfig, name: str) -> None:
    """Set the attention function of the model with this configuration, for any family."""
    # no public API: ``set_attn_implementation`` only warns, and sets nothing, if a model finds its attention in another way.
    config._attn_implementation = name


def draw_as_new(parameter: nn.Parameter) -> None:
    """Mark a loaded weight so that ``initialize`` draws it at random."""
    # no public API: transformers marks loaded weights so that they aren't initialized, and can't undo it.
    parameter._is_hf_initialized = False  # type: ignore[attr-defined]


def initialize(model: PreTrainedModel, module: nn.Module) -> None:
    """Initialize the weights of one part of a model as its family does, except those marked as loaded."""
    # no public API: ``init_weights`` initializes all parts of a model.
    model._init_weights(module)


def forget_capturing(module: nn.Module) -> None:
    """Let transformers install its hooks for attentions and hidden states again, in a copy that lost them."""
    # no public API: they are installed once, in the first pass that needs them.
    vars(module).pop("_output_capturing_hooks_installed", None)
