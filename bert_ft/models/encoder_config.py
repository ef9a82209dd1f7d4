"""Facts from the configuration of a transformers encoder: how it runs, its limits, its dropout."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from bert_ft.compat.transformers import class_of, knows_sdpa
from bert_ft.errors import ConfigError
from bert_ft.models.attention import FLASH, PACKED_EAGER, PACKED_SDPA, has_packed_form
from bert_ft.models.families import UNKNOWN, family_of

PACKED_IMPLEMENTATIONS = {
    "sdpa": PACKED_SDPA,
    "eager": PACKED_EAGER,
    **{name: name for name in FLASH},  # transformers' own, which take cu_seqlens
}


def attention_name(config: PretrainedConfig, implementation: str) -> str:
    """Return transformers' name of the attention function that will run; a padded family without ``sdpa`` runs ``eager``."""
    if family_of(config).packed:
        return PACKED_IMPLEMENTATIONS.get(implementation, implementation)
    if implementation == "sdpa" and not knows_sdpa(type_of_model(config)):
        return "eager"
    return implementation


def runs_packed(config: PretrainedConfig, implementation: str | None) -> bool:
    """Return whether an encoder of this family runs on packed tokens with this attention function."""
    return family_of(config).packed and (implementation is None or has_packed_form(implementation))


def without_pooler(config: PretrainedConfig) -> dict[str, Any]:
    """Return the argument that leaves out BERT's pooler, if the family has one: nothing would train it."""
    has_pooler = "add_pooling_layer" in inspect.signature(type_of_model(config).__init__).parameters
    return {"add_pooling_layer": False} if has_pooler else {}


def max_positions(config: PretrainedConfig) -> int | None:
    """Return how many tokens the encoder has positions for; ``None`` if there is no limit."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or limit <= 0:
        return None
    return limit - config.pad_token_id - 1 if counts_from_padding(config) else limit


def counts_from_padding(config: PretrainedConfig) -> bool:
    """Return whether positions begin after the padding id; for an unknown family, whether its code can do that."""
    family = family_of(config)
    if family is not UNKNOWN:
        return family.counts_from_padding
    module = sys.modules[type_of_model(config).__module__]
    return "create_position_ids_from_input_ids" in inspect.getsource(module)


def set_dropout(config: PretrainedConfig, hidden: float | None, attention: float | None) -> None:
    """Set the rates under the family's names; ``None`` keeps the checkpoint's.

    Raises:
        ConfigError: the family has no such rate.
    """
    for key, rate in {"hidden_dropout": hidden, "attention_dropout": attention}.items():
        if rate is None:
            continue
        known = [name for name in getattr(family_of(config), key) if hasattr(config, name)]
        if not known:
            raise ConfigError(f"encoder.{key}={rate}: {config.model_type} has no such rate; leave it null")
        setattr(config, known[0], rate)


def has_dropout(config: PretrainedConfig) -> bool:
    """Return whether two passes of an encoder in training mode differ."""
    family = family_of(config)
    names = (*family.hidden_dropout, *family.attention_dropout)
    return any((getattr(config, name, None) or 0) > 0 for name in names)


def type_of_model(config: PretrainedConfig) -> type[PreTrainedModel]:
    """Return the class of the bare encoder; raise ``ConfigError`` if transformers has none."""
    try:
        return class_of(AutoModel, config)
    except KeyError:
        message = f"encoder: model type {config.model_type!r} has no encoder in transformers"
        raise ConfigError(message) from None
