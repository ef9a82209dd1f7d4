"""``encoder.insert``: the user's own modules within each layer of an encoder, behind its attention or its FFN.

Their input is the output of the last projection there, before dropout, residual and norm: the place of an
adapter (Houlsby et al. 2019, arXiv 1902.00751).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.errors import ConfigError
from bert_ft.models.custom_modules import build_part
from bert_ft.models.families import family_of
from bert_ft.models.sub_blocks import encoder_sub_blocks

PLACES = ("attention", "ffn")
_NAME = "inserted"  # of the module, as a part of the projection whose output it gets
_CHOICE = "bert_ft_inserted"  # the attribute of an encoder


def check_inserted(config: PretrainedConfig, parts: Mapping[str, Any], *, cache_frozen: bool) -> None:
    """Refuse a place that this encoder doesn't have.

    Raises:
        ConfigError: names the places that it has.
    """
    for place in parts:
        if place not in PLACES:
            raise ConfigError(f"encoder.insert.{place}: must be one of {', '.join(PLACES)}")
        if not getattr(family_of(config).sub_blocks, place):
            raise ConfigError(
                f"encoder.insert.{place}: no module is known for this place in a layer of "
                f"{config.model_type}; remove it"
            )
    if parts and cache_frozen:
        raise ConfigError(
            "encoder.insert: inserted modules are trained, also within frozen layers; set encoder.cache_frozen=false"
        )


def insert_parts(encoder: PreTrainedModel, parts: Mapping[str, Any], trust: Sequence[str]) -> None:
    """Build a module for each layer and place, and put it there, in place.

    Args:
        encoder: any whose ``sub_blocks`` are known.
        parts: a place → a class by ``_target_`` with its settings: called with ``hidden_size``, its module maps
            ``(..., hidden_size)`` to the same shape, each token by itself.
        trust: see ``build_part``.

    Raises:
        ConfigError: a class can't be built, or this encoder has no such place.
    """
    setattr(encoder, _CHOICE, {place: dict(description) for place, description in parts.items()})
    for place, description in parts.items():
        found = (block.module for block in encoder_sub_blocks(encoder) if block.kind == place)
        blocks = [module for module in found if isinstance(module, nn.Linear)]  # I-BERT's gives a pair
        if not blocks:
            raise ConfigError(
                f"encoder.insert.{place}: no layer of {encoder.config.model_type} has such a part"
            )
        for module in blocks:
            hidden_size = int(encoder.config.hidden_size)
            part = build_part(f"encoder.insert.{place}", description, trust, hidden_size=hidden_size)
            module.add_module(_NAME, part)
            module.register_forward_hook(_pass_on)


def inserted_in(encoder: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the ``parts`` that were inserted."""
    return getattr(encoder, _CHOICE, {})


def is_inserted(name: str) -> bool:
    """Return whether an encoder parameter with this name belongs to an inserted module."""
    return f".{_NAME}." in name


def _pass_on(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    # by its name, since a copy of the encoder has a module of its own
    return module.get_submodule(_NAME)(output)
