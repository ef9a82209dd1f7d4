"""Copy a file of texts, with predictions added to each row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from bert_ft.data.dialect import DialectSettings
from bert_ft.data.targets import LabelNames
from bert_ft.data.text_file import PACKED, check_name, unpacked_suffix
from bert_ft.errors import DataError, UserError
from bert_ft.evaluation.conformal import EMPTY_REASON
from bert_ft.inference.abstaining import Abstaining
from bert_ft.inference.input_rows import InputRows
from bert_ft.inference.labeled import REASON, Labeled
from bert_ft.inference.output_file import SUFFIXES, unique_names, write_output
from bert_ft.inference.read_texts import check_source, open_texts, read_texts
from bert_ft.inference.scores import score
from bert_ft.models.bundle import Bundle
from bert_ft.models.outputs import compute_outputs_and_logits

UNSURE = "unsure"
PROBABILITY = "probability"
_DATA_KEYS = re.compile(
    r"\bdata\.(?=(text|text_pair|label)_column\b|(encoding|delimiter|quoting|header|columns)\b)"
)


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
    refusing: Abstaining | None = None,
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
        refusing: which rows are refused, with reason ``unsure``, and the sets of labels; see ``abstaining``.
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
        rows, texts, label = open_texts(source, settings, text_column, text_pair_column, label_column)
        read = read_texts(rows, texts, label, folder)
        usable = np.array([reason is None for reason in read.reasons])
        outputs, logits = compute_outputs_and_logits(
            bundle.classifier,
            bundle.task,
            read.tokenized(bundle, folder),
            batch_size=batch_size,
            max_tokens=max_tokens,
            device=device,
        )
        decoded: dict[str, Any] = dict(bundle.task.decode(outputs))
        if probabilities == "none":
            decoded.pop(PROBABILITY, None)
        if probabilities == "all":
            decoded |= bundle.task.probability_columns(outputs)
        reasons = np.array(read.reasons, object)
        answered, empty_sets = usable.copy(), np.zeros_like(usable)
        if refusing is not None:
            answered[usable] = refusing.answers(logits)
            reasons[usable & ~answered] = UNSURE
            empty_sets[usable] = refusing.has_empty_set(logits)
            empty_sets &= answered
            reasons[empty_sets] = EMPTY_REASON
            decoded |= refusing.columns(logits)
        first = bundle.task.prediction_columns[0]
        added = {
            name: _spread(values, usable, answered if name == first else usable)
            for name, values in decoded.items()
        }
        added[REASON] = pa.array(reasons, pa.string())
        added, notes = _without_clashes(added, rows)
        write_output(rows, added, target)
    return Labeled(
        len(reasons),
        Counter(reasons[~answered]),
        None if label is None else score(bundle.task, read.labels, logits, refusing),
        [*rows.notes, *notes],
        int(empty_sets.sum()),
        () if refusing is None else tuple(refusing.lines()),
    )


def check_target(source: Path, target: Path, *, overwrite: bool = False) -> None:
    """Refuse a missing ``source`` and a ``target`` that can't be written, before any work is done."""
    source, target = source.expanduser(), target.expanduser()
    check_source(source)
    check_name(target, "output=")
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


def _spread(values: Any, usable: np.ndarray, shown: np.ndarray) -> pa.Array:
    """Return one value per row from those of the usable rows, null for rows that aren't ``shown``."""
    positions = np.where(usable, np.cumsum(usable) - 1, 0)
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array.take(pa.array(positions, mask=~shown))


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
