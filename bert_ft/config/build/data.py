"""What a stage reads: encoder, tokenizer, length limit, and the data's splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig

from bert_ft.config.build.task import build_task
from bert_ft.config.build.trainer import quieten
from bert_ft.config.instantiate import build, trusting
from bert_ft.data.prepare import PreparedData, prepare
from bert_ft.data.sources import LoadedSplits, load_splits
from bert_ft.data.targets import Targets
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.data.tokenizer import TokenizerSpec
from bert_ft.errors import ConfigError
from bert_ft.kernels.split_embedding import is_correct as embedding_is_right
from bert_ft.kernels.switch import is_fast
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoder_config import max_positions
from bert_ft.models.first_token import prepare_first_tokens
from bert_ft.models.vocabulary import fit_tokenizer


@dataclass(frozen=True)
class TextInputs:
    """What texts are read by.

    Attributes:
        encoder: that reads them; its weights aren't loaded yet.
        encoder_config: of it, read once.
        tokenizer: the encoder's, or what ``data.tokenizer`` makes of it.
        max_length: of a text, in tokens.
        notes: what the run says of them.
        warnings: what is likely to be a mistake.
    """

    encoder: EncoderSpec
    encoder_config: Any  # transformers' PretrainedConfig
    tokenizer: FastTokenizer
    max_length: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def text_inputs(config: DictConfig) -> TextInputs:
    """Return the encoder of the configuration with its tokenizer, and the length of the longest text.

    Raises:
        UserError: they can't be used.
    """
    encoder: EncoderSpec = build(config.encoder, trust=tuple(config.trust))
    encoder_config = encoder.load_config()
    max_length = length_limit_of(config, max_positions(encoder_config))
    node = config.data.get("tokenizer")
    spec: TokenizerSpec = build(node) if node else TokenizerSpec()
    tokenizer = spec.load(encoder.resolve(), encoder.revision, config.data.truncation_side)
    fit = fit_tokenizer(spec, tokenizer, encoder, encoder_config)
    encoder = replace(encoder, num_embeddings=fit.num_embeddings)
    return TextInputs(encoder, encoder_config, tokenizer, max_length, fit.notes, fit.warnings)


def read_inputs(config: DictConfig) -> None:
    """Read the encoder and the data of the main job once: it leaves tokenized data in the cache and kernels checked.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        inputs = text_inputs(config)
        encoder = inputs.encoder.load(inputs.encoder_config)
        if is_fast(encoder):  # the checks of those kernels that a run only chooses later
            prepare_first_tokens(encoder)
            embedding_is_right()
        prepared_data(config, build_task(config), inputs.tokenizer, inputs.max_length)


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


def prepared_data(
    config: DictConfig, task: Targets, tokenizer: FastTokenizer, max_length: int
) -> PreparedData:
    """Return the splits of ``data``, with the task's targets."""
    return prepare(loaded_splits(config, task), tokenizer, **preparation(config, task, max_length))


def loaded_splits(config: DictConfig, task: Targets) -> LoadedSplits:
    """Return what the source gives, its labels read as the task reads them."""
    return load_splits(build(config.data.source), config.data.cache_dir, task.reader)


def preparation(config: DictConfig, task: Targets, max_length: int) -> dict[str, Any]:
    """Return how the splits are made: arguments of ``prepare``."""
    return {
        "task": task,
        "max_length": max_length,
        "seed": config.seed,
        "validation_ratio": config.data.validation_ratio,
        "test_ratio": config.data.test_ratio,
        "deduplicate": config.data.deduplicate,
        "cache_dir": config.data.cache_dir,
    }
