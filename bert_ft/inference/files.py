"""Copy a file of texts, with predictions added to each row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.row_validation import shown_names
from bert_ft.data.targets import LabelNames, first_label
from bert_ft.data.text_file import PACKED, check_is_file, check_name, unpacked_suffix
from bert_ft.data.tokenization import tokenize
from bert_ft.errors import DataError, UserError
from bert_ft.inference.input_rows import LABEL, PLAIN, TEXT, InputRows, open_rows
from bert_ft.inference.output_file import SUFFIXES, unique_names, write_output
from bert_ft.inference.scores import Scores, score
from bert_ft.layout import counted
from bert_ft.models.bundle import Bundle
from bert_ft.models.outputs import compute_outputs_and_logits

REASON = "reason"
EMPTY, MISSING, NO_TEXT, UNDECODABLE = "empty", "missing", "not a text", "undecodable"
PROBABILITY = "probability"
_DATA_KEYS = re.compile(
    r"\bdata\.(?=(text|text_pair|label)_column\b|(encoding|delimiter|quoting|header|columns)\b)"
)


@dataclass(frozen=True)
class Labeled:
    """The result of labeling a file.

    Attributes:
        num_rows: number of rows in the file.
        reasons: why rows have no prediction → number of rows.
        scores: scores on the file's labels, if it has any.
        notes: sentences on things that a user might not expect.
    """

    num_rows: int
    reasons: Counter[str]
    scores: Scores | None
    notes: list[str]

    def lines(self, target: Path | str) -> Iterator[str]:
        """Yield the lines to print about this result."""
        yield from self.notes
        num_without = self.reasons.total()
        if num_without:
            why = ", ".join(f"{reason}: {count}" for reason, count in self.reasons.most_common())
            has = "has" if num_without == 1 else "have"
            yield f"{counted(num_without, 'row')} {has} no prediction ({why}); the column {REASON!r} says which"
        if self.reasons[UNDECODABLE]:
            yield "undecodable: the file isn't in the encoding that it was read in; set encoding, e.g. encoding=cp1252"
        if self.scores is not None:
            yield str(self.scores)
        yield f"{counted(self.num_rows - num_without, 'row')} labeled: {target}"


def predict_file(
    bundle: Bundle,
    source: Path | str,
    target: Path | str,
    *,
    text_column: str,
    text_pair_column: str | None = None,
    label_column: LabelNames | None = None,
    settings: DialectSettings | None = None,
    probabilities: str = "top",
    overwrite: bool = False,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> Labeled:
    """Write ``source`` to ``target`` with added columns: predictions and ``reason``.

    The order of the rows is kept; if the format stays the same, unread columns are copied byte for byte. A row whose
    text can't be used gets empty predictions and the reason. ``target`` appears only when it is complete.

    Args:
        bundle: the model.
        source: csv, tsv, jsonl, json, txt or parquet, by suffix; all but parquet may be compressed.
        target: csv, tsv, jsonl, json or parquet, by suffix.
        text_column: column of the texts; ignored for plain lines.
        text_pair_column: column of the second texts of pairs.
        label_column: column of the labels, or several; if the file has them, the predictions are scored.
        settings: dialect of delimited files, if it shouldn't be detected.
        probabilities: ``all`` (of each label), ``top`` (of the prediction) or ``none``.
        overwrite: replace a ``target`` that exists.
        batch_size: maximum number of sequences in a batch.
        max_tokens: maximum number of tokens in a batch.
        device: device to compute on.

    Raises:
        DataError: a file or column can't be used, or ``target`` exists.
        ConfigError: the task has no probabilities.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    check_target(source, target, overwrite=overwrite)
    with (
        own_keys(),
        TemporaryDirectory(prefix="bert_ft_") as folder,
    ):  # what is labelled once needs no lasting cache
        rows = open_rows(
            source,
            settings or DialectSettings(prefix=""),
            text_column=text_column,
            text_pair_column=text_pair_column,
            label_column=first_label(label_column),
        )
        texts, label = _columns(rows, text_column, text_pair_column, label_column)
        read = _read(rows, texts, label, folder)
        if not read.reasons:
            raise DataError(f"{source}: there are no rows")
        usable = np.array([reason is None for reason in read.reasons])
        columns = tokenize(read.texts, bundle.tokenizer, bundle.max_length, folder, bundle.long_texts)
        split = TokenizedSplit.from_columns("input", columns, read.texts)
        outputs, logits = compute_outputs_and_logits(
            bundle.classifier, bundle.task, split, batch_size=batch_size, max_tokens=max_tokens, device=device
        )
        decoded: dict[str, Any] = dict(bundle.task.decode(outputs))
        if probabilities == "none":
            decoded.pop(PROBABILITY, None)
        if probabilities == "all":
            decoded |= bundle.task.probability_columns(outputs)
        added = {name: _spread(values, usable) for name, values in decoded.items()}
        added[REASON] = pa.array(read.reasons, pa.string())
        added, notes = _without_clashes(added, rows)
        write_output(rows, added, target)
    return Labeled(
        len(read.reasons),
        Counter(reason for reason in read.reasons if reason is not None),
        None if label is None else score(bundle.task, read.labels, logits),
        [*rows.notes, *notes],
    )


def check_target(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Refuse a missing ``source`` and a ``target`` that can't be written, before any work is done."""
    source, target = source.expanduser(), target.expanduser()
    check_is_file(source, "input=")
    check_name(target, "output=")
    if source.is_dir():
        raise DataError(f"input={source}: is a folder; give a file")
    suffix, is_packed = unpacked_suffix(target), target.suffix.lower() in PACKED
    if suffix not in SUFFIXES or (suffix == ".parquet" and is_packed):
        allowed = ", ".join(SUFFIXES)
        raise DataError(
            f"output={target}: unknown suffix {target.suffix!r}; choose one of {allowed}; all but the last may be "
            f"followed by {', '.join(PACKED)}"
        )
    if target.exists() and source.samefile(target):
        raise DataError(f"output={target}: is the input itself; give another file")
    if not target.absolute().parent.is_dir():
        raise DataError(f"output={target}: there is no folder {target.parent}")
    if target.is_dir():
        raise DataError(f"output={target}: is a folder; give a file")
    if target.exists() and not overwrite:
        raise DataError(
            f"output={target}: exists already; give another file, or overwrite=true to replace it"
        )


@contextmanager
def own_keys() -> Iterator[None]:
    """Within the block, messages name the keys of files without ``data.``, as this command has them."""
    try:
        yield
    except UserError as error:
        text = _DATA_KEYS.sub("", str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error


@dataclass(frozen=True)
class _Read:
    """The texts and labels of a file.

    Attributes:
        texts: the usable texts.
        reasons: for each row why it isn't usable, or ``None``.
        labels: labels of the usable rows.
    """

    texts: Dataset
    reasons: list[str | None]
    labels: list[Any]


def _columns(
    rows: InputRows, text_column: str, pair_column: str | None, label_column: LabelNames | None
) -> tuple[list[str], LabelNames | None]:
    """Return the text columns, and the label columns if there are any."""
    if rows.kind == PLAIN:
        return [TEXT], LABEL if label_column is not None and LABEL in rows.columns else None
    texts = [text_column] if pair_column is None else [text_column, pair_column]
    for key, name in zip(("text_column", "text_pair_column"), texts, strict=False):
        if name not in rows.columns:
            shown = shown_names(rows.columns)
            advice = f"set {key} to the column of the texts" if key == "text_column" else f"set {key}"
            raise DataError(f"{rows.path}: no column {name!r} ({key}); the columns are {shown}; {advice}")
    if len(set(texts)) < len(texts):
        raise DataError(f"{rows.path}: text_column and text_pair_column are the same column {text_column!r}")
    if label_column is None or isinstance(label_column, str):
        return texts, label_column if label_column in rows.columns else None
    missing = [name for name in label_column if name not in rows.columns]
    if missing and len(missing) < len(label_column):
        rows.notes.append(f"{rows.path}: not scored, since there is no column {shown_names(missing)}")
    return texts, None if missing else label_column


def _read(rows: InputRows, texts: Sequence[str], label: LabelNames | None, folder: str) -> _Read:
    reasons: list[str | None] = []
    labels: list[Any] = []
    names = ["text", "text_pair"][: len(texts)]
    schema = pa.schema([(name, pa.string()) for name in names])
    of_label = [] if label is None else [label] if isinstance(label, str) else list(label)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows.batches([*texts, *of_label]):
            usable: list[list[str]] = []
            for cells, fault in batch:
                found = [_as_text(cell) for cell in cells[: len(texts)]]
                reason = fault or _reason(found)
                reasons.append(reason)
                if reason is None:
                    usable.append([text or "" for text in found])
                    if label is not None:
                        values = dict(zip(of_label, cells[len(texts) :], strict=True))
                        labels.append(values[label] if isinstance(label, str) else values)
            yield pa.RecordBatch.from_pydict(
                {name: [row[index] for row in usable] for index, name in enumerate(names)}, schema=schema
            )

    return _Read(stored_dataset(schema, batches(), folder), reasons, labels)


def _as_text(cell: Any) -> Any:
    """Return a value with bytes decoded as text, since some writers store texts as bytes."""
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell


def _reason(texts: Sequence[Any]) -> str | None:
    """Return why a row's texts can't be used, or ``None``; one text of a pair may be empty."""
    if any(text is not None and not isinstance(text, str) for text in texts):
        return NO_TEXT
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            return UNDECODABLE
    if any(text and text.strip() for text in texts):
        return None
    return MISSING if all(text is None for text in texts) else EMPTY


def _spread(values: Any, usable: np.ndarray) -> pa.Array:
    """Return one value per row, null for unusable rows."""
    positions = np.where(usable, np.cumsum(usable) - 1, 0)
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.take(pa.array(positions, mask=~usable))


def _without_clashes(added: dict[str, pa.Array], rows: InputRows) -> tuple[dict[str, pa.Array], list[str]]:
    """Return the new columns; if the file already has one of their names, all get a number appended."""
    taken = [name for name in added if name in rows.columns]
    if not taken:
        return added, []
    number = 2
    others = {*rows.columns, *unique_names(rows.columns), *added}  # other formats number equal columns
    while any(f"{name}_{number}" in others for name in added):
        number += 1
    note = f"{rows.path}: has a column {taken[0]!r} already; the new columns are " + ", ".join(
        f"{name}_{number}" for name in added
    )
    return {f"{name}_{number}": values for name, values in added.items()}, [note]
