"""Where rows come from: the built-in corpus, files, or a data set of the hub; all end as Arrow files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from datasets import Dataset

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.bbc_news import BbcNews
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.hub import Hub
from bert_ft.data.raw_splits import (
    TEXTS,
    CacheDir,
    LoadedSplits,
    RawSplit,
    are_booleans,
    are_hidden,
    boolean_name,
    hidden_note,
    stored,
)
from bert_ft.data.readers import LABEL, TEXT, Reader, has_only_texts, missing_column_hint, open_reader
from bert_ft.data.row_validation import BATCH_ROWS, Columns, check_texts
from bert_ft.data.targets import LabelReader, LabelTexts, first_label, label_names
from bert_ft.errors import DataError

__all__ = [
    "BbcNews",
    "Files",
    "Hub",
    "LoadedSplits",
    "RawSplit",
    "Source",
    "load_splits",
    "read_rows",
    "read_unlabelled",
]


class Source(Protocol):
    """Anything that provides labeled splits."""

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """Return the splits, their labels read by ``labels``; a user-defined source may omit that argument."""


def load_splits(source: Any, cache_dir: CacheDir, labels: LabelReader) -> LoadedSplits:
    """Return the splits of a source; labels are read by ``labels`` if its ``load`` takes that argument, else as texts."""
    takes_reader = "labels" in inspect.signature(source.load).parameters
    return source.load(cache_dir, labels=labels) if takes_reader else source.load(cache_dir)


@dataclass(frozen=True)
class Files:
    """Text files, read according to their suffix (``bert_ft.data.readers.SUFFIXES``).

    Attributes:
        label_column: one name, or several of columns that have the label together; ``None`` for texts without labels; a file of
            plain lines has none in any case.
        delimiter: delimiter of csv, tsv and txt files; this and the following as in ``DialectSettings``.
    """

    train_file: Path | str
    validation_file: Path | str | None = None
    test_file: Path | str | None = None
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str | Sequence[str] | None = "label"
    delimiter: str | None = None
    encoding: str | None = None
    quoting: str | None = None
    header: bool | None = None
    columns: Sequence[str] | None = None

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """Return the splits of the given files.

        Raises:
            DataError: a file, column or row can't be used.
            ConfigError: a setting of delimited files is given for others.
        """
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        wanted = Columns(self.text_column, self.text_pair_column, label_names(self.label_column), labels)
        # All are opened before the first is read: a misspelled test file is reported at once.
        settings = DialectSettings.of(self)
        settings.check_used(Path(file) for file in files.values() if file is not None)
        readers = {
            name: open_reader(file, settings, wanted=wanted.names, label=first_label(wanted.label))
            for name, file in files.items()
            if file is not None
        }
        notes = [note for reader in readers.values() for note in reader.notes]
        checked = _checked(readers, wanted)
        with_names = _has_booleans(checked, labels)
        splits: dict[str, RawSplit] = {}
        for name, (reader, columns) in checked.items():
            origin = str(reader.path)
            if name == "test" and are_hidden(
                reader.batches(columns.label_names, BATCH_ROWS), columns.label_names, labels
            ):
                notes.append(hidden_note(origin))
                continue
            splits[name] = _read(reader, columns, cache_dir, notes, with_names)
        return LoadedSplits(splits, notes, self.text_column, self.text_pair_column)


def read_unlabelled(
    path: Path | str,
    text_column: str,
    text_pair_column: str | None = None,
    cache_dir: CacheDir = None,
    settings: DialectSettings | None = None,
) -> RawSplit:
    """Return only the texts of a file; plain lines ignore the column names.

    Raises:
        DataError: the file, a text column or a text can't be used.
    """
    wanted = Columns(text_column, text_pair_column)
    reader, columns = _checked({"train": open_reader(path, settings, wanted=wanted.names)}, wanted)["train"]
    return _read(reader, columns, cache_dir, [])


def _checked(readers: dict[str, Reader], wanted: Columns) -> dict[str, tuple[Reader, Columns]]:
    """Return each reader with the columns to read, after checking that they exist."""
    found = {}
    for name, reader in readers.items():
        columns = wanted
        if has_only_texts(reader):
            label = LABEL if LABEL in reader.columns and wanted.label is not None else None
            columns = Columns(TEXT, label=label, labels=wanted.labels)
        columns.check_present(reader.columns, str(reader.path), missing_column_hint(reader, columns.names))
        found[name] = (reader, columns)
    return found


def _has_booleans(checked: dict[str, tuple[Reader, Columns]], labels: LabelReader) -> bool:
    """Return whether all labels of all files are booleans, including the texts that pandas writes to csv."""
    return isinstance(labels, LabelTexts) and are_booleans(
        batch[columns.label]
        for reader, columns in checked.values()
        if isinstance(columns.label, str)
        for batch in reader.batches([columns.label], BATCH_ROWS)
    )


def _read(
    reader: Reader, columns: Columns, cache_dir: CacheDir, notes: list[str], with_names: bool = False
) -> RawSplit:
    batches = reader.batches(columns.names, BATCH_ROWS)
    if with_names and isinstance(columns.label, str):
        label = columns.label
        batches = (batch | {label: list(map(boolean_name, batch[label]))} for batch in batches)
    return stored(batches, columns, str(reader.path), cache_dir, notes)


def read_rows(
    path: Path | str,
    text_column: str,
    text_pair_column: str | None = None,
    cache_dir: CacheDir = None,
) -> Dataset:
    """Return all columns of a text file, labeled or not, with their own names and order.

    Raises:
        DataError: the file, a text column or a text can't be used.
    """
    columns = Columns(text_column, text_pair_column, allow_half_pairs=True)  # nothing is learned from them
    reader = open_reader(path, wanted=columns.names)
    columns.check_present(reader.columns, str(reader.path))
    schema = reader.schema()
    dataset = stored_dataset(schema, _whole_rows(reader, schema, columns), cache_dir)
    if len(dataset) == 0:
        raise DataError(f"{reader.path}: there are no rows")
    return dataset


def _whole_rows(reader: Reader, schema: pa.Schema, columns: Columns) -> Iterator[pa.RecordBatch]:
    first_row = 1
    for batch in reader.batches(schema.names, BATCH_ROWS):
        check_texts(batch, columns, str(reader.path), first_row)
        first_row += len(batch[columns.text])
        yield pa.RecordBatch.from_pydict(batch, schema=schema)
