"""A local data set folder of csv, JSON and text files, read as ``data=files`` reads them and as the folder's card says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel

from bert_ft.data.dialect import DialectSettings
from bert_ft.data.raw_splits import boolean_name
from bert_ft.data.readers import SUFFIXES, Reader, open_reader
from bert_ft.data.row_validation import BATCH_ROWS, shown_names
from bert_ft.data.targets import is_missing
from bert_ft.data.text_file import unpacked_suffix
from bert_ft.errors import DataError

CSV = "datasets.packaged_modules.csv.csv"
# what datasets reads by pandas or Arrow, which take texts for numbers, times and missing values
_OF_TEXT = {CSV, "datasets.packaged_modules.json.json"}
# settings of a card that our readers know, and those that don't change how a file is read
_KNOWN = {"features", "sep", "delimiter", "encoding", "names", "column_names"}
_KNOWN |= {field.name for field in fields(datasets.BuilderConfig)}
_OF_OTHER_SPLITS = re.compile(r"(?<![a-z])(test|val|valid|validation|dev|eval)(?![a-z])", re.IGNORECASE)
_OF_ROWS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class FileSplit:
    """The files of one split.

    Attributes:
        features: column → its feature in the card.
        boolean_column: a column whose ``True`` and ``False`` are named as by other sources.
        notes_on_folder: sentences on the folder that a user might not expect.
    """

    readers: tuple[Reader, ...]
    features: Mapping[str, Any] = field(default_factory=dict)
    boolean_column: str | None = None
    notes_on_folder: tuple[str, ...] = ()

    @property
    def columns(self) -> Sequence[str]:
        return self.readers[0].columns

    @property
    def notes(self) -> list[str]:
        return [*self.notes_on_folder, *(note for reader in self.readers for note in reader.notes)]

    def text_columns(self) -> list[str]:
        """Return the columns whose first values are texts and not numbers."""
        first = next(self.readers[0].batches(self.columns, BATCH_ROWS), {})
        return [name for name, values in first.items() if any(map(_is_text, values))]

    def class_names(self, column: str) -> list[str] | None:
        feature = self.features.get(column)
        return list(feature.names) if isinstance(feature, ClassLabel) else None

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        for reader in self.readers:
            if missing := [name for name in columns if name not in reader.columns]:
                raise DataError(
                    f"{reader.path}: no column {missing[0]!r}, which {self.readers[0].path.name} of the same split has; "
                    f"the columns are {shown_names(reader.columns)}"
                )
            for batch in reader.batches(columns, BATCH_ROWS):
                for name in columns:
                    if isinstance(feature := self.features.get(name), ClassLabel):
                        batch[name] = [_class_number(value, feature, reader.path) for value in batch[name]]
                    elif name == self.boolean_column:
                        batch[name] = list(map(boolean_name, batch[name]))
                yield batch


def splits_of_files(
    folder: Path, builder: datasets.DatasetBuilder, wanted: Sequence[str], label: str | None
) -> dict[str, FileSplit] | None:
    """Return the splits that ``builder`` found in the folder; ``None`` if our readers can't read them as its card says.

    Args:
        wanted: names of the columns to read.
        label: name of the label column.
    """
    config = builder.config
    files: dict[str, list[str]] = dict(config.data_files or {})
    are_ours = all(unpacked_suffix(file) in SUFFIXES for paths in files.values() for file in paths)
    if not files or not are_ours or not modules(builder) & _OF_TEXT or _has_other_settings(config):
        return None
    settings = _dialect(config)
    has_subsets = len(builder.builder_configs) > 1
    notes = () if has_subsets else tuple(_notes(folder, files))
    return {
        str(split): FileSplit(
            tuple(open_reader(file, settings, wanted=wanted, label=label) for file in paths),
            builder.info.features or {},
            notes_on_folder=notes if split == next(iter(files)) else (),
        )
        for split, paths in files.items()
    }


def modules(builder: datasets.DatasetBuilder) -> set[str]:
    """Return the modules of a builder's classes, which name the format that it reads."""
    return {base.__module__ for base in type(builder).__mro__}


def _notes(folder: Path, files: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield notes on files that a user takes for another split, or for rows that are read."""
    read = {Path(file).resolve() for paths in files.values() for file in paths}
    others = sorted(path.name for path in read if _OF_OTHER_SPLITS.search(path.stem))
    if len(files) == 1 and others:
        yield (
            f"{folder}: {', '.join(others)} {'is' if len(others) == 1 else 'are'} read as {next(iter(files))}; "
            "splits are recognized by names such as train.csv, validation.csv and test.csv, in lower case"
        )
    left = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if unpacked_suffix(path) in _OF_ROWS and path.is_file() and path.resolve() not in read
    )
    if left:
        yield f"{folder}: not read: {', '.join(left[:5])}{', …' if len(left) > 5 else ''}"


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def _class_number(value: Any, feature: ClassLabel, path: Path) -> int | None:
    """Return the number of a class that a file has by name or number."""
    try:
        return None if is_missing(value) else int(feature.encode_example(value))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: the label {value!r} is none of the card's: {', '.join(feature.names)}"
        ) from error


def _has_other_settings(config: datasets.BuilderConfig) -> bool:
    """Return whether a card says how to read the files in a way that our readers don't know."""
    default = type(config)()
    return any(
        getattr(config, each.name) != getattr(default, each.name)
        for each in fields(config)
        if each.name not in _KNOWN
    )


def _dialect(config: datasets.BuilderConfig) -> DialectSettings:
    """Return the card's settings; the defaults of ``datasets`` leave them to detection."""
    delimiter, names = getattr(config, "sep", ","), getattr(config, "names", None)
    return DialectSettings(
        None if delimiter == "," else delimiter,
        getattr(config, "encoding", None),
        columns=None if names is None else tuple(names),
    )
