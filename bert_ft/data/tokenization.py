"""Texts to token ids with a fast tokenizer, cached by content and memory-mapped."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import pyarrow as pa
from datasets import Dataset
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from bert_ft.atomic_file import replaced
from bert_ft.data.arrow_cache import cache_folder, check_writable, is_complete, write_stream
from bert_ft.data.cache_entries import hold
from bert_ft.data.git_lfs import refuse_pointers
from bert_ft.data.long_texts import LongTexts
from bert_ft.data.model_config import read_config
from bert_ft.data.row_encoder import Ids, RowEncoder, lengths_of
from bert_ft.data.texts import iterate_texts, text_columns, texts_digest
from bert_ft.errors import CheckpointError, DataError

FastTokenizer = PreTrainedTokenizerFast  # by this name for modules that are to import no transformers

_NOT_A_WORD = "\U0001f9ff\u16a0"  # in no vocabulary of words
_FORMAT = "1"  # part of the cache's key: raise it when the files' content changes
_BATCH_ROWS = 2000  # enough to keep the tokenizer's threads busy


def load_tokenizer(
    name_or_path: Path | str,
    revision: str | None = None,
    truncation_side: str | None = None,
    *,
    key: str = "encoder.name_or_path",
) -> FastTokenizer:
    """Return the fast tokenizer of an encoder, by hub name or folder.

    ``truncation_side`` says where texts that are too long lose tokens, ``left`` or ``right``; ``None``: as the folder sets it.
    ``key`` is the configuration key that messages name.

    Raises:
        CheckpointError: there is none, or it has no vocabulary.
    """
    where = f"{key}={name_or_path}"
    if Path(name_or_path).is_dir():
        refuse_pointers(where, Path(name_or_path))
    settings = {} if truncation_side is None else {"truncation_side": truncation_side}
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(name_or_path),
            config=_config_of(name_or_path),
            revision=revision,
            trust_remote_code=False,
            **settings,
        )
    except Exception as error:  # the tokenizers library raises nothing more special for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "tiktoken" in reason and find_spec("sentencepiece") is None:  # transformers tries that next
            reason = "it needs the package sentencepiece, which isn't installed: pip install sentencepiece."
        raise CheckpointError(
            f"{where}: no tokenizer can be loaded: {reason} Give a folder with tokenizer.json, or a name on "
            "the hub (with HF_HUB_OFFLINE=1 or without network: one that was downloaded before)"
        ) from error
    if not isinstance(tokenizer, FastTokenizer):
        raise CheckpointError(f"{where}: {type(tokenizer).__name__} has no fast version (tokenizer.json)")
    # Without vocabulary files transformers 5 makes a tokenizer of nothing but special tokens.
    if not tokenizer.get_vocab().keys() - {*tokenizer.all_special_tokens}:
        raise CheckpointError(
            f"{where}: its tokenizer has no vocabulary; tokenizer.json or vocab.txt is missing"
        )
    try:
        tokenizer.backend_tokenizer.encode(_NOT_A_WORD)
    except Exception as error:  # as above
        raise CheckpointError(
            f"{where}: its tokenizer can't read unknown words ({error}); its files lack the token for them, such as [UNK]"
        ) from error
    return tokenizer


def _config_of(folder: Path | str) -> PretrainedConfig | None:
    """Return the encoder's configuration, which selects the tokenizer of some families; ``None`` if unknown, or on the hub."""
    try:
        return read_config(folder) if Path(folder).is_dir() else None
    except (OSError, ValueError):  # transformers says later what is wrong
        return None


def length_limit(tokenizer: FastTokenizer, max_length: int | None) -> int:
    """Return ``max_length``, or if it is ``None`` the maximum number of tokens that the tokenizer's encoder takes.

    Raises:
        DataError: the tokenizer has no limit.
    """
    if max_length is not None:
        return max_length
    limit = known_limit(tokenizer)
    if limit is None:
        raise DataError(
            f"data.max_length=null: the tokenizer of {tokenizer.name_or_path} has no length limit; set "
            "data.max_length to a number of tokens"
        )
    return limit


def known_limit(tokenizer: FastTokenizer) -> int | None:
    """Return the maximum number of tokens that the tokenizer's encoder takes; ``None`` if it doesn't say."""
    return None if tokenizer.model_max_length >= VERY_LARGE_INTEGER else int(tokenizer.model_max_length)


@dataclass(frozen=True)
class TokenizedColumns:
    """The ids of all rows, one after the other; sequence ``i`` is ``input_ids[offsets[i] : offsets[i + 1]]``.

    A row is one sequence, unless there are ``row_offsets``.

    Attributes:
        input_ids: ``(num_tokens,)`` int32, memory-mapped.
        offsets: ``(num_sequences + 1,)`` int64, memory-mapped.
        num_truncated: ``(num_rows,)`` int32, number of tokens that each row lost to ``max_length``.
        token_type_ids: ``(num_tokens,)`` int8, memory-mapped; for pairs, if the encoder takes them.
        row_offsets: ``(num_rows + 1,)`` int64: row ``i`` has the sequences from ``row_offsets[i]`` to before
            ``row_offsets[i + 1]``, its windows. ``None`` if no row has several.
        full_lengths_of_rows: ``(num_rows,)`` int64, tokens of each row in one sequence, where there are ``row_offsets``.
    """

    input_ids: np.ndarray
    offsets: np.ndarray
    num_truncated: np.ndarray
    token_type_ids: np.ndarray | None = None
    row_offsets: np.ndarray | None = None
    full_lengths_of_rows: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """``(num_rows,)`` tokens in each row, in all of its windows."""
        return np.diff(self.offsets if self.row_offsets is None else self.offsets[self.row_offsets])

    @property
    def full_lengths(self) -> np.ndarray:
        """``(num_rows,)`` tokens of each row in one sequence, before a cut."""
        if self.full_lengths_of_rows is not None:
            return self.full_lengths_of_rows
        return self.lengths + self.num_truncated


def tokenize(
    dataset: Dataset,
    tokenizer: FastTokenizer,
    max_length: int,
    cache_dir: Path | str | None = None,
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
) -> TokenizedColumns:
    """Return the ids that ``tokenizer(text, text_pair, truncation=True, max_length=max_length)`` gives for each row.

    They are written to the cache, under a hash of all texts, the tokenizer and these settings, and
    read from there the next time. The tokenizer's own settings stay as they are.

    Args:
        dataset: texts with the column ``text``, and ``text_pair`` for pairs.
        tokenizer: a fast one.
        max_length: maximum number of tokens in a row, including special tokens.
        cache_dir: see ``arrow_cache.cache_folder``.
        long_texts: what becomes of longer rows; not ``auto``.

    Raises:
        ConfigError: ``max_length`` leaves no room for text, or windows wouldn't advance.
    """
    columns = text_columns(dataset)
    is_pair = len(columns) == 2
    encoder = RowEncoder(tokenizer, max_length, is_pair, long_texts)
    key = sha256("\0".join([_FORMAT, encoder.identity, *columns, texts_digest(dataset)]).encode()).hexdigest()
    folder = cache_folder(cache_dir)
    path = folder / f"tokens-{key[:40]}.arrow"
    with ExitStack() as held:
        entry = hold(path) if is_complete(path) else None
        if entry is not None:
            held.enter_context(entry)
        else:
            check_writable(folder)
            with replaced(path) as unfinished:
                if (entry := hold(unfinished)) is not None:
                    held.enter_context(entry)
                _write_tokens(dataset, encoder, unfinished)
        tokens = _read_tokens(path)
        weakref.finalize(tokens, held.pop_all().close)
    return tokens


def _write_tokens(dataset: Dataset, encoder: RowEncoder, path: Path) -> None:
    """Write one record batch, so that the memory-mapped columns are flat.

    Its length is known only at the end: ids go to an unnamed file first, and only the lengths stay in memory.
    """
    lengths, num_windows, full_lengths, losses = ([np.empty(0, np.int64)] for _ in range(4))
    with TemporaryFile(dir=path.parent) as ids, TemporaryFile(dir=path.parent) as types:
        for texts in iterate_texts(dataset, _BATCH_ROWS):
            rows = encoder.encode(texts)
            lengths.append(lengths_of(rows.ids))
            num_windows.append(rows.num_windows)
            full_lengths.append(rows.full_lengths)
            losses.append(rows.num_truncated)
            num_tokens = int(lengths[-1].sum())
            ids.write(_flat(rows.ids, np.int32, num_tokens))
            if encoder.with_token_types:
                types.write(_flat(rows.type_ids, np.int8, num_tokens))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        row_offsets = np.concatenate([[0], np.cumsum(np.concatenate(num_windows))])
        sequences = {"input_ids": _list_array(offsets, _mapped(ids, np.int32))}
        if encoder.with_token_types:
            sequences["token_type_ids"] = _list_array(offsets, _mapped(types, np.int8))
        if len(row_offsets) < len(offsets):  # one more level of lists: a row is a list of windows
            sequences = {name: _list_array(row_offsets, values) for name, values in sequences.items()}
            sequences["full_lengths"] = pa.array(np.concatenate(full_lengths))
        columns = {**sequences, "num_truncated": pa.array(np.concatenate(losses).astype(np.int32))}
        batch = pa.RecordBatch.from_pydict(columns)
        write_stream(path, batch.schema, [batch])


def _flat(rows: Iterable[Ids], dtype: type[np.integer], count: int) -> memoryview:
    return np.fromiter(chain.from_iterable(rows), dtype=dtype, count=count).data


def _mapped(file: IO[bytes], dtype: type[np.integer]) -> np.ndarray:
    file.flush()
    # numpy can't map a file without content (a tokenizer without special tokens, on texts of none)
    return np.memmap(file, dtype=dtype, mode="r") if file.tell() else np.empty(0, dtype)


def _list_array(offsets: np.ndarray, values: np.ndarray) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _read_tokens(path: Path) -> TokenizedColumns:
    (batch,) = pa.ipc.open_stream(pa.memory_map(str(path)))
    names = batch.schema.names
    is_windowed = "full_lengths" in names
    rows = batch["input_ids"]
    sequences = rows.values if is_windowed else rows
    types = None
    if "token_type_ids" in names:
        types = batch["token_type_ids"].values
        types = (types.values if is_windowed else types).to_numpy()
    return TokenizedColumns(
        input_ids=sequences.values.to_numpy(),
        offsets=sequences.offsets.to_numpy(),
        num_truncated=batch["num_truncated"].to_numpy(),
        token_type_ids=types,
        row_offsets=rows.offsets.to_numpy() if is_windowed else None,
        full_lengths_of_rows=batch["full_lengths"].to_numpy() if is_windowed else None,
    )
