"""A data set of the Hugging Face hub, or a local folder of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import datasets
from datasets import ClassLabel, Dataset

from bert_ft.data.parquet_reader import plain_values
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
from bert_ft.data.readers import SUFFIXES, Reader, open_reader
from bert_ft.data.row_validation import BATCH_ROWS, Columns
from bert_ft.data.targets import LabelReader, LabelTexts, first_label, label_names
from bert_ft.data.text_file import unpacked_suffix
from bert_ft.errors import DataError

# what datasets reads by pandas or Arrow, which take texts for numbers and missing values
_OF_TEXT = ("datasets.packaged_modules.csv.csv", "datasets.packaged_modules.json.json")


class _Split(Protocol):
    """One split of a data set."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def text_columns(self) -> list[str]: ...

    def class_names(self, column: str) -> list[str] | None: ...

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]: ...


@dataclass(frozen=True)
class _Stored:
    """A split loaded by ``datasets``."""

    dataset: Dataset
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return self.dataset.column_names

    def text_columns(self) -> list[str]:
        return [
            name
            for name, feature in self.dataset.features.items()
            if getattr(feature, "dtype", None) in ("string", "large_string")
        ]

    def class_names(self, column: str) -> list[str] | None:
        feature = self.dataset.features.get(column)
        feature = getattr(feature, "feature", feature)  # a list of classes
        return list(feature.names) if isinstance(feature, ClassLabel) else None

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        for table in self.dataset.select_columns(list(columns)).with_format("arrow").iter(BATCH_ROWS):
            yield {name: plain_values(table[name]) for name in columns}


@dataclass(frozen=True)
class _OfFiles:
    """A split of a local folder of files of text, read as ``data=files`` reads them."""

    readers: tuple[Reader, ...]
    boolean_column: str | None = None

    @property
    def columns(self) -> Sequence[str]:
        return self.readers[0].columns

    @property
    def notes(self) -> list[str]:
        return [note for reader in self.readers for note in reader.notes]

    def text_columns(self) -> list[str]:
        """The columns whose first values are texts other than numbers."""
        first = next(self.readers[0].batches(self.columns, BATCH_ROWS), {})
        return [name for name, values in first.items() if any(map(_is_text, values))]

    def class_names(self, column: str) -> list[str] | None:
        return None

    def batches(self, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        for reader in self.readers:
            for batch in reader.batches(columns, BATCH_ROWS):
                name = self.boolean_column
                yield batch if name not in batch else batch | {name: list(map(boolean_name, batch[name]))}


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub, or a local folder: one from ``save_to_disk`` or one of data files.

    Attributes:
        text_column: ``None`` takes ``text``, or else the only string column that has no other role.
        label_column: one name, or several of columns that have the label together; ``None`` for texts without labels.
        validation_split: its name in the data set; a missing ``validation`` or ``test`` is not an error.
    """

    dataset: str
    subset: str | None = None
    revision: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | Sequence[str] | None = "label"
    train_split: str = "train"
    validation_split: str | None = "validation"
    test_split: str | None = "test"

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """Return the named splits; a test split with hidden labels is left out with a note.

        Raises:
            DataError: the data set can't be found, or a split, column or row can't be used.
        """
        found = self._open()
        splits: dict[str, RawSplit] = {}
        notes: list[str] = []
        chosen = self._with_boolean_names(self._chosen(found), labels)
        for name, split in chosen.items():
            origin = f"{self._title()} {name}"
            columns = self._columns(split, origin, labels)
            notes += split.notes
            label = columns.label_names
            if name == "test" and are_hidden(split.batches(label), label, labels):
                notes.append(hidden_note(origin))
                continue
            splits[name] = stored(split.batches(columns.names), columns, origin, cache_dir, notes)
        text_column = self._columns(found[self.train_split], self._title(), labels).text
        return LoadedSplits(splits, notes, text_column, self.text_pair_column)

    def _with_boolean_names(self, chosen: dict[str, _Split], labels: LabelReader) -> dict[str, _Split]:
        """Return the splits; if all labels of files are ``True`` or ``False``, they are named as by other sources."""
        label = label_names(self.label_column)
        of_files = {name: split for name, split in chosen.items() if isinstance(split, _OfFiles)}
        if not (isinstance(label, str) and isinstance(labels, LabelTexts)) or len(of_files) < len(chosen):
            return chosen
        if any(label not in split.columns for split in chosen.values()):
            return chosen
        if not are_booleans(batch[label] for split in chosen.values() for batch in split.batches([label])):
            return chosen
        return {name: replace(split, boolean_column=label) for name, split in of_files.items()}

    def _title(self) -> str:
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset

    def _open(self) -> Mapping[str, _Split]:
        folder = Path(self.dataset).expanduser()
        saved = folder / self.subset if self.subset else folder
        try:
            if (saved / "dataset_dict.json").exists() or (saved / "state.json").exists():
                found = datasets.load_from_disk(str(saved))
            elif folder.is_dir():
                found = self._of_folder(folder)
            else:
                found = datasets.load_dataset(self.dataset, self.subset, revision=self.revision)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise DataError(
                f"data.dataset={self._title()}: can't be loaded: {error}; give a name on the hub (with "
                "HF_HUB_OFFLINE=1 or without network: one that was downloaded before) or a local folder"
            ) from error
        if isinstance(found, Dataset):
            return {self.train_split: _Stored(found)}
        return {name: _Stored(each) if isinstance(each, Dataset) else each for name, each in found.items()}

    def _of_folder(self, folder: Path) -> Mapping[str, Dataset | _Split]:
        """Return the splits of a folder as ``datasets`` finds them; text files are read by our own readers."""
        builder = datasets.load_dataset_builder(str(folder), self.subset, revision=self.revision)
        files = builder.config.data_files or {}
        modules = {base.__module__ for base in type(builder).__mro__}
        are_ours = all(unpacked_suffix(file) in SUFFIXES for paths in files.values() for file in paths)
        if not files or not modules.intersection(_OF_TEXT) or not are_ours or builder.info.features:
            return datasets.load_dataset(str(folder), self.subset, revision=self.revision)
        label = label_names(self.label_column)
        wanted = [
            name for name in Columns(self.text_column or "", self.text_pair_column, label).names if name
        ]
        return {
            str(split): _OfFiles(
                tuple(open_reader(file, wanted=wanted, label=first_label(label)) for file in paths)
            )
            for split, paths in files.items()
        }

    def _chosen(self, found: Mapping[str, _Split]) -> dict[str, _Split]:
        names = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        chosen = {}
        for ours, theirs in names.items():
            if theirs is not None and theirs in found:
                chosen[ours] = found[theirs]
            elif ours == "train" or theirs not in (ours, None):
                raise DataError(
                    f"data.{ours}_split={theirs}: {self._title()} has no such split; it has: {', '.join(found)}"
                )
        return chosen

    def _columns(self, split: _Split, origin: str, labels: LabelReader) -> Columns:
        label = label_names(self.label_column)
        columns = Columns(
            self.text_column or self._only_text(split, origin),
            self.text_pair_column,
            label,
            labels,
            class_names=split.class_names(label) if isinstance(label, str) else None,
            # Some public sets have such pairs (QQP has 3), and their user can't mend them.
            allow_half_pairs=True,
        )
        columns.check_present(split.columns, origin)
        return columns

    def _only_text(self, split: _Split, origin: str) -> str:
        if "text" in split.columns:
            return "text"
        taken = Columns("", self.text_pair_column, label_names(self.label_column)).names
        strings = [name for name in split.text_columns() if name not in taken]
        if len(strings) != 1:
            raise DataError(
                f"{origin}: which column is the text? Set data.text_column to one of "
                f"{', '.join(strings or split.columns)}"
            )
        return strings[0]
