"""Build the inputs of a stage: encoder, tokenizer, length limit and splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig

from bert_ft.config.build.task import build_task
from bert_ft.config.build.trainer import quieten
from bert_ft.config.instantiate import build, trusting
from bert_ft.data.long_texts import MIDDLE, LongTexts
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
from bert_ft.models.encoder_name import subfolder_of_encoder
from bert_ft.models.first_token import prepare_first_tokens
from bert_ft.models.vocabulary import fit_tokenizer


@dataclass(frozen=True)
class TextInputs:
    """Encoder and tokenizer of a run.

    Attributes:
        encoder: the encoder; its weights aren't loaded yet.
        encoder_config: the encoder's configuration, read once.
        tokenizer: the encoder's tokenizer, as changed by ``data.tokenizer``.
        max_length: limit of a text's length, in tokens.
        notes: remarks that the run prints.
        warnings: likely mistakes, printed as warnings.
    """

    encoder: EncoderSpec
    encoder_config: Any  # transformers' PretrainedConfig
    tokenizer: FastTokenizer
    max_length: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def text_inputs(config: DictConfig) -> TextInputs:
    """Return the configured encoder and tokenizer, and the length limit of a text.

    Raises:
        UserError: they can't be used.
    """
    encoder: EncoderSpec = build(config.encoder, trust=tuple(config.trust))
    encoder_config = encoder.load_config()
    max_length = length_limit_of(config, max_positions(encoder_config))
    node = config.data.get("tokenizer")
    spec: TokenizerSpec = build(node) if node else TokenizerSpec()
    side = config.data.truncation_side
    tokenizer = spec.load(encoder.resolve(), encoder.revision, None if side == MIDDLE else side)
    is_pair = config.data.get("text_pair_column") is not None
    num_special_tokens = tokenizer.num_special_tokens_to_add(pair=is_pair)
    long_texts_of(config, max_length).check(max_length, num_special_tokens, is_pair=is_pair)
    fit = fit_tokenizer(spec, tokenizer, encoder, encoder_config)
    notice = encoder.check_weights(encoder_config)
    encoder = replace(encoder, num_embeddings=fit.num_embeddings)
    notes, warnings = fit.notes, fit.warnings + ((notice,) if notice else ())
    if within := subfolder_of_encoder(encoder.name_or_path):
        notes += (f"encoder.name_or_path={encoder.name_or_path}: the encoder is in its subfolder {within}",)
    return TextInputs(encoder, encoder_config, tokenizer, max_length, notes, warnings)


def read_inputs(config: DictConfig) -> None:
    """Read the encoder and data of the main job once, to cache tokenized data and check kernels.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        inputs = text_inputs(config)
        encoder = inputs.encoder.load(inputs.encoder_config)
        if is_fast(encoder):  # check the kernels that a run chooses later
            prepare_first_tokens(encoder)
            embedding_is_right()
        prepared_data(config, build_task(config), inputs.tokenizer, inputs.max_length)


def length_limit_of(config: DictConfig, limit: int | None) -> int:
    """Return ``data.max_length``, or the encoder's number of positions if it is null.

    Raises:
        ConfigError: the encoder has fewer positions, or the value is null and the encoder has no limit.
    """
    wanted = config.data.max_length
    if wanted is None:
        if limit is None:
            raise ConfigError(
                "data.max_length=null: this encoder has no length limit; give a number of tokens"
            )
        return limit
    if limit is not None and wanted > limit:
        raise ConfigError(
            f"data.max_length={wanted}: encoder.name_or_path={config.encoder.name_or_path} has positions for "
            f"{limit} tokens; lower it"
        )
    return int(wanted)


def long_texts_of(config: DictConfig, max_length: int) -> LongTexts:
    """Return what becomes of longer texts; neighboring windows share an eighth of ``max_length`` by default."""
    data = config.data
    return LongTexts(
        mode=data.long_texts,
        stride=max_length // 8 if data.stride is None else data.stride,
        windowed_text=data.windowed_text,
        keeps_ends=data.truncation_side == MIDDLE,
    )


def prepared_data(
    config: DictConfig, task: Targets, tokenizer: FastTokenizer, max_length: int
) -> PreparedData:
    """Return the splits of the configured data, with the task's targets."""
    return prepare(loaded_splits(config, task), tokenizer, **preparation(config, task, max_length))


def loaded_splits(config: DictConfig, task: Targets) -> LoadedSplits:
    """Return the source's splits, with labels read by the task's reader."""
    return load_splits(build(config.data.source), config.data.cache_dir, task.reader)


def preparation(config: DictConfig, task: Targets, max_length: int) -> dict[str, Any]:
    """Return the arguments of ``prepare``, which makes the splits."""
    return {
        "task": task,
        "max_length": max_length,
        "seed": config.seed,
        "validation_ratio": config.data.validation_ratio,
        "test_ratio": config.data.test_ratio,
        "deduplicate": config.data.deduplicate,
        "cache_dir": config.data.cache_dir,
        "long_texts": long_texts_of(config, max_length),
    }
