"""Turn a source and a tokenizer into splits ready for training, and the report on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from bert_ft.data.data_report import DataReport, make_report
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.long_texts import AUTO, WINDOWS, LongTexts, chosen
from bert_ft.data.sources import LoadedSplits, RawSplit
from bert_ft.data.splits import SPLIT_NAMES, first_occurrences, split
from bert_ft.data.targets import Targets
from bert_ft.data.texts import TextKeys
from bert_ft.data.tokenization import FastTokenizer, known_limit, length_limit, tokenize
from bert_ft.errors import ConfigError, DataError


@dataclass(frozen=True)
class PreparedData:
    """Splits and report, ready for training.

    Attributes:
        splits: ``train``, ``validation`` and ``test`` in this order; one may be missing if its ratio is 0.
        task: the task, fitted to the training rows (e.g. the names of the classes).
        report: the report on these splits.
        notes: sentences on what was done, e.g. which split was cut from the training rows.
        max_length: the length limit in tokens.
        text_column: the source's name of the text column.
        text_pair_column: the same for the second text of a pair.
        long_texts: what became of longer rows; never ``auto``.
    """

    splits: dict[str, TokenizedSplit]
    task: Targets
    report: DataReport
    notes: list[str]
    max_length: int
    text_column: str = "text"
    text_pair_column: str | None = None
    long_texts: LongTexts = LongTexts()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class _Part:
    """Rows and the keys of their texts."""

    rows: TokenizedSplit
    keys: TextKeys

    def select(self, positions: np.ndarray, name: str | None = None) -> _Part:
        return _Part(self.rows.select(positions, name), self.keys.select(positions))


def prepare(
    loaded: LoadedSplits,
    tokenizer: FastTokenizer,
    *,
    task: Targets,
    max_length: int | None = None,
    seed: int,
    validation_ratio: float = 0.1,
    test_ratio: float = 0.1,
    deduplicate: bool = False,
    cache_dir: Path | str | None = None,
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
) -> PreparedData:
    """Tokenize, split and check.

    The rows are tokenized as the source gives them, before they are split, so that all seeds share one
    cached file.

    Args:
        loaded: the rows, as a source gives them.
        tokenizer: the encoder's.
        task: turns labels into targets; not fitted yet.
        max_length: maximum number of tokens in a row; ``None`` takes the tokenizer's limit.
        seed: decides which rows are set aside.
        validation_ratio: share of the training rows to set aside if the source has no validation split.
        test_ratio: the same for the test split.
        deduplicate: drop exact copies within each split, keeping the first. Leaks between given splits are
            only reported, as it is unknown which split is wrong.
        cache_dir: see ``arrow_cache.cache_folder``.
        long_texts: what becomes of longer rows.

    Raises:
        DataError: the data can't be used.
        ConfigError: a ratio or length is invalid.
    """
    max_length = length_limit(tokenizer, max_length)
    for raw in loaded.splits.values():
        if not is_labelled(raw):
            raise DataError(
                f"{raw.origin}: has no labels, but fine-tuning and testing need them; in a txt file, put a "
                "label and a tab, or __label__name, in front of each text"
            )
    notes = list(loaded.notes)
    train = loaded.splits["train"]
    task = task.fitted(_label_column(train), train.origin)
    if long_texts.mode == AUTO:
        columns = tokenize(train.dataset, tokenizer, max_length, cache_dir, replace(long_texts, mode=WINDOWS))
        limit = known_limit(tokenizer)
        long_texts, reason = chosen(long_texts, columns.full_lengths, max_length, limit)
        notes.append(reason)
    parts = {}
    for name, raw in loaded.splits.items():
        labels = _label_column(raw)
        with _column_named(raw):
            targets = task.encode(labels, origin=raw.origin, rows=raw.rows)
        notes.extend(task.notes(labels, raw.origin))
        rows = tokenized(name, raw, tokenizer, max_length, cache_dir, targets, long_texts)
        parts[name] = _Part(rows, TextKeys.of(raw.dataset))
    if deduplicate:
        parts = {name: _without_copies(part, notes) for name, part in parts.items()}
    ratios = {"validation": validation_ratio, "test": test_ratio}
    missing = {name: ratio for name, ratio in ratios.items() if name not in parts}
    parts |= _set_aside(parts["train"], missing, task, seed, notes)
    splits = {name: parts[name].rows for name in SPLIT_NAMES if name in parts}
    report = make_report(
        splits,
        {name: parts[name].keys for name in splits},
        task,
        max_length,
        tokenizer=tokenizer,
        set_aside=missing,
        long_texts=long_texts,
    )
    columns_of_texts = loaded.text_column, loaded.text_pair_column
    return PreparedData(splits, task, report, notes, max_length, *columns_of_texts, long_texts)


def is_labelled(raw: RawSplit) -> bool:
    """Return whether the rows have labels."""
    return "label" in raw.dataset.column_names


def tokenized(
    name: str,
    raw: RawSplit,
    tokenizer: FastTokenizer,
    max_length: int,
    cache_dir: Path | str | None,
    labels: np.ndarray | None = None,
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
) -> TokenizedSplit:
    """Return rows as they were read, with their ids."""
    return TokenizedSplit(
        name=name,
        columns=tokenize(raw.dataset, tokenizer, max_length, cache_dir, long_texts),
        index=np.arange(len(raw.dataset)),
        texts=raw.dataset,
        rows=raw.rows,
        labels=labels,
        origin=raw.origin,
    )


@contextmanager
def _column_named(raw: RawSplit) -> Iterator[None]:
    """Add the column to messages of a task, which knows rows only."""
    try:
        yield
    except DataError as error:
        where, found, what = str(error).partition(": ")
        if not found or not isinstance(raw.label, str) or not re.search(r", row \d+$", where):
            raise
        raise DataError(f"{where}, column {raw.label!r}: {what}") from error


def _label_column(raw: RawSplit) -> pa.ChunkedArray:
    return raw.dataset.select_columns("label").with_format("arrow")[:]["label"]


def without_copies(split: TokenizedSplit) -> TokenizedSplit:
    """Return the rows whose text no earlier row has."""
    return split.select(first_occurrences(TextKeys.of(split.texts).exact))


def _without_copies(part: _Part, notes: list[str]) -> _Part:
    kept = first_occurrences(part.keys.exact)
    dropped = len(part.rows) - len(kept)
    if dropped == 0:
        return part
    notes.append(f"{part.rows.origin}: {dropped} rows that repeat the text of an earlier one were dropped")
    return part.select(kept)


def _set_aside(
    train: _Part, missing: dict[str, float], task: Targets, seed: int, notes: list[str]
) -> dict[str, _Part]:
    """Return the missing splits, and the rest of ``train``; near copies of a text stay in one split."""
    if not any(missing.values()):
        return {}
    strata = task.strata(train.rows.known_labels)
    try:
        pieces = split(
            strata,
            train.keys.near,
            validation_ratio=missing.get("validation", 0),
            test_ratio=missing.get("test", 0),
            seed=seed,
        )
    except ConfigError as error:
        num_strata = len(np.unique(strata))
        if num_strata < 5 or 2 * num_strata <= len(strata):
            raise
        causes = list(task.report_warnings({"train": task.summary(train.rows.known_labels)}, ()))[:2]
        raise DataError(f"{train.rows.origin}: {'; '.join(causes) or error}") from error
    how = "stratified, " if strata.any() else ""
    notes.extend(
        f"{name}: {len(pieces[name])} rows were set aside from {train.rows.origin}, {how}with seed {seed}"
        for name in missing
        if len(pieces[name])
    )
    return {name: train.select(rows, name) for name, rows in pieces.items() if len(rows)}
