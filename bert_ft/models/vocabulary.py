"""Whether a tokenizer and an encoder belong together, and how many rows its token embedding lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.data.tokenizer import TokenizerSpec, lowercases
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.grown_embedding import check_growth

_KEY = "data.tokenizer"
_ROLES = ("cls_token", "sep_token", "mask_token", "unk_token", "bos_token", "eos_token")


@dataclass(frozen=True)
class Fit:
    """How a tokenizer fits an encoder.

    Attributes:
        num_embeddings: rows that the token embedding has to have; ``None`` = it has enough.
        notes: notes for the run to print.
        warnings: warnings of likely mistakes.
    """

    num_embeddings: int | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def fit_tokenizer(
    spec: TokenizerSpec, tokenizer: FastTokenizer, encoder: EncoderSpec, config: PretrainedConfig
) -> Fit:
    """Return how the tokenizer that ``spec`` loaded fits the encoder.

    Args:
        spec: the configured tokenizer.
        tokenizer: the tokenizer that it loaded.
        encoder: the encoder; its weights aren't needed.
        config: the encoder's configuration.

    Raises:
        ConfigError: the encoder pads with another id, or its embedding can't grow.
    """
    num_rows = int(config.get_text_config().vocab_size)
    bare = tokenizer.num_special_tokens_to_add() == 0
    if spec.is_own and len(tokenizer) <= num_rows and not bare:
        return Fit()
    vocabulary = tokenizer.get_vocab()
    num_tokens = max(vocabulary.values()) + 1
    if spec.name_or_path is not None:
        _check_padding(spec.name_or_path, tokenizer, encoder, config)
    warnings = tuple(_warnings(spec, tokenizer, vocabulary, encoder, num_rows))
    if num_tokens > num_rows:
        check_growth(config, num_tokens)
        frozen = "" if encoder.freeze_layers is None else ", where encoder.freeze_layers freezes them"
        note = (
            f"{_cause(spec)}: the token embedding grows from {num_rows:,} to {num_tokens:,} rows; the new "
            f"ones start at the mean of the others{frozen}"
        )
        return Fit(num_tokens, (note,), warnings)
    if spec.added_tokens:
        note = f"{_KEY}.added_tokens: {num_tokens:,} tokens fit in the token embedding's {num_rows:,} rows"
        return Fit(None, (note,), warnings)
    return Fit(None, (), warnings)


def _cause(spec: TokenizerSpec) -> str:
    if spec.name_or_path is not None:
        return f"{_KEY}.name_or_path={spec.name_or_path}"
    return (
        f"{_KEY}.added_tokens"
        if spec.added_tokens
        else "encoder.name_or_path: its tokenizer has more tokens than the encoder"
    )


def _check_padding(name: str, tokenizer: FastTokenizer, encoder: EncoderSpec, config: Any) -> None:
    of_encoder = config.get_text_config().pad_token_id
    if tokenizer.pad_token_id is None or of_encoder is None or tokenizer.pad_token_id == of_encoder:
        return
    raise ConfigError(
        f"{_KEY}.name_or_path={name}: its padding {tokenizer.pad_token} has the id {tokenizer.pad_token_id}, and "
        f"encoder.name_or_path={encoder.name_or_path} pads with {of_encoder}; give a tokenizer that was made for this "
        "encoder"
    )


def _warnings(
    spec: TokenizerSpec,
    tokenizer: FastTokenizer,
    vocabulary: dict[str, int],
    encoder: EncoderSpec,
    num_rows: int,
) -> Iterable[str]:
    if spec.lowercase is False and tokenizer.tokenize("A") == [tokenizer.unk_token]:
        yield (
            f"{_KEY}.lowercase=false: the vocabulary has no capital letters, so words that have one become "
            f"{tokenizer.unk_token}; leave it null"
        )
    if spec.name_or_path is None:
        if tokenizer.num_special_tokens_to_add() == 0:
            yield (
                f"encoder.name_or_path={encoder.name_or_path}: its tokenizer puts no special tokens around a text, so an empty "
                "text has no token, and the first token of any other is a word, which model.pooling=cls then reads. If the "
                "encoder was trained with such tokens, give its tokenizer as data.tokenizer.name_or_path"
            )
        return
    where = f"{_KEY}.name_or_path={spec.name_or_path}"
    try:
        own = load_tokenizer(encoder.resolve(), encoder.revision)
    except CheckpointError:
        yield (
            f"{where}: encoder.name_or_path={encoder.name_or_path} has no tokenizer, so it can't be checked whether "
            "these ids are the ones it was trained with"
        )
        return
    learnt = {index: token for token, index in own.get_vocab().items()}
    moved = sum(learnt.get(index, token) != token for token, index in vocabulary.items() if index < num_rows)
    roles = [role for role in _ROLES if _id(own, role) != _id(tokenizer, role)]
    if own.num_special_tokens_to_add() != tokenizer.num_special_tokens_to_add():
        roles.append("the number of special tokens around a text")
    if moved or roles:
        apart = f"; these also differ from the encoder's own tokenizer: {', '.join(roles)}" if roles else ""
        yield (
            f"{where}: {moved:,} of its {len(vocabulary):,} tokens have ids that are other tokens for "
            f"encoder.name_or_path={encoder.name_or_path}, so that what the encoder learned about them is lost"
            f"{apart}. Use its own tokenizer with {_KEY}.added_tokens, or adapt the encoder first with pretrain=mlm"
        )
    if lowercases(own) is not lowercases(tokenizer) and spec.lowercase is None:
        yield (
            f"{where}: {'lower-cases' if lowercases(tokenizer) else 'keeps capital letters'}, unlike the tokenizer of "
            f"encoder.name_or_path={encoder.name_or_path}; set {_KEY}.lowercase={str(lowercases(own)).lower()} to match it"
        )


def _id(tokenizer: FastTokenizer, role: str) -> Any:
    return getattr(tokenizer, f"{role}_id")
