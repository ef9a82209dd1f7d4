"""A data set of the Hugging Face hub, or a local folder of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import datasets
from datasets import ClassLabel, Dataset

from bert_ft.data.data_folder import CSV, FileSplit, modules, splits_of_files
from bert_ft.data.parquet_reader import plain_values
from bert_ft.data.raw_splits import (
    TEXTS,
    CacheDir,
    LoadedSplits,
    RawSplit,
    are_booleans,
    are_hidden,
    hidden_note,
    stored,
)
from bert_ft.data.row_validation import BATCH_ROWS, Columns
from bert_ft.data.targets import LabelReader, LabelTexts, first_label, label_names
from bert_ft.errors import DataError

_CACHED = "datasets.packaged_modules.cache.cache"  # a data set of the hub, without network
_AS_TEXTS = {"keep_default_na": False}  # of csv files


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
        of_files = {name: split for name, split in chosen.items() if isinstance(split, FileSplit)}
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
                found = self._loaded(self.dataset)
        except IndexError as error:  # of datasets, at a table of nothing
            raise DataError(f"data.dataset={self._title()}: there are no rows") from error
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
        label = label_names(self.label_column)
        wanted = [
            name for name in Columns(self.text_column or "", self.text_pair_column, label).names if name
        ]
        return splits_of_files(folder, builder, wanted, first_label(label)) or self._loaded(
            str(folder), modules(builder)
        )

    def _loaded(self, path: str, found: set[str] | None = None) -> Mapping[str, Dataset]:
        """Return what ``datasets`` loads; texts of csv files such as None, NA and null stay texts.

        ``found`` are the ``modules`` of its builder, if one has been loaded.
        """
        given: dict[str, Any] = {"path": path, "name": self.subset, "revision": self.revision}
        try:
            found = found or modules(datasets.load_dataset_builder(**given))
        except ValueError as error:
            if "find cache" not in str(error):
                raise
            found = {CSV}  # without network, and loaded as texts before
        if _CACHED in found:
            with suppress(ValueError):  # other formats don't have this setting
                return datasets.load_dataset(**given, **_AS_TEXTS)
        return datasets.load_dataset(**given, **(_AS_TEXTS if CSV in found else {}))

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
            # Some public sets have such pairs (QQP has 3), and their user can't correct them.
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
