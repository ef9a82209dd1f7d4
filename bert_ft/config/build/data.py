"""The length limit, and the data's splits, from the settings of a run."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from bert_ft.config.instantiate import build
from bert_ft.data.prepare import PreparedData, prepare
from bert_ft.errors import ConfigError


def length_limit_of(config: DictConfig, limit: int | None) -> int:
    """``data.max_length``, or where it is null the positions that the encoder has.

    Raises:
        ConfigError: the encoder has fewer, or no limit to take.
    """
    wanted = config.data.max_length
    if wanted is None:
        if limit is None:
            raise ConfigError(
                "data.max_length=null: this encoder has no limit of its own; give a length in tokens"
            )
        return limit
    if limit is not None and wanted > limit:
        raise ConfigError(
            f"data.max_length={wanted}: encoder.name_or_path={config.encoder.name_or_path} has positions for "
            f"{limit} tokens; lower it"
        )
    return int(wanted)


def prepared_data(config: DictConfig, tokenizer: Any, max_length: int) -> PreparedData:
    """The splits of ``data``."""
    loaded = build(config.data.source).load(config.data.cache_dir)
    return prepare(loaded, tokenizer, **preparation(config, max_length))


def preparation(config: DictConfig, max_length: int) -> dict[str, Any]:
    """How the splits are made: arguments of ``prepare``."""
    return {
        "max_length": max_length,
        "seed": config.seed,
        "validation_ratio": config.data.validation_ratio,
        "test_ratio": config.data.test_ratio,
        "deduplicate": config.data.deduplicate,
        "cache_dir": config.data.cache_dir,
    }
