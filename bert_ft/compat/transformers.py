"""What transformers has no public way for (as of 5.23)."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


def has_class(auto: Any, config: PretrainedConfig) -> bool:
    """Return whether transformers has a model of this kind for a configuration.

    The public way that is missing: ``from_config`` of an ``AutoModel...`` builds a model, or raises an error.

    Args:
        auto: ``AutoModel`` or one of its kin.
        config: of any encoder.
    """
    return type(config) in auto._model_mapping


def class_of(auto: Any, config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the class that an ``AutoModel...`` builds from a configuration.

    The public way that is missing: the class is known of a built model only, which has all its weights.

    Raises:
        KeyError: transformers has no model of this kind.
    """
    return cast(type[PreTrainedModel], auto._model_mapping[type(config)])


def knows_sdpa(model: type[PreTrainedModel]) -> bool:
    """Return whether a class of models can run torch's ``scaled_dot_product_attention``.

    The public way that is missing: whether it can is found out by building a model with it, which raises an error.
    """
    return model._supports_sdpa


def takes_any_attention(model: type[PreTrainedModel]) -> bool:
    """Return whether a class of models runs every function that is registered with ``AttentionInterface``.

    The public way that is missing: whether it does is found out by building a model with one, which raises an error.
    """
    return model._supports_attention_backend


def attention_of(config: PretrainedConfig) -> str | None:
    """Return the name of the attention function that a model runs; ``None`` where nothing has been chosen yet.

    The public way that is missing: ``attn_implementation`` can be given to a model and set, but not be read.
    """
    return config._attn_implementation


def set_attention(config: PretrainedConfig, name: str) -> None:
    """Set the attention function that the model with this configuration runs, whatever its family.

    The public way that is missing: ``set_attn_implementation`` leaves a model alone whose code looks its attention up in a
    way of its own, and only warns.
    """
    config._attn_implementation = name


def draw_as_new(parameter: nn.Parameter) -> None:
    """Mark a loaded weight as one that ``initialize`` draws.

    The public way that is missing: transformers marks what it has loaded, so that nothing draws it again, and has no method
    that takes the mark back.
    """
    parameter._is_hf_initialized = False  # type: ignore[attr-defined]


def initialize(model: PreTrainedModel, module: nn.Module) -> None:
    """Draw the weights that one part of a model has itself, as the model's family does; not those marked as loaded.

    The public way that is missing: ``init_weights`` goes through all parts of a model.
    """
    model._init_weights(module)


def forget_capturing(module: nn.Module) -> None:
    """Let transformers install its hooks again, which give a model's attentions and hidden states.

    For a copy of a model that has lost its hooks.

    The public way that is missing: the hooks are installed once, at a model's first pass that needs them, and nothing asks
    for it again.
    """
    vars(module).pop("_output_capturing_hooks_installed", None)
