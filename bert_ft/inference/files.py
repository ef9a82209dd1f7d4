"""A file of texts in, the same file with labels out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset

from bert_ft.atomic_file import replaced
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.sources import read_rows
from bert_ft.data.tokenization import tokenize
from bert_ft.errors import DataError
from bert_ft.inference.outputs import compute_outputs
from bert_ft.models.bundle import Bundle


# Not by pandas, as datasets' own to_csv and to_json are: it rounds fractions to ten places, times to milliseconds, and
# shortens long lists.
def _write_csv(rows: Dataset, path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        # a line end of two characters: else a lone carriage return within a text would go without quotes
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
        writer.writerow(rows.column_names)
        for row in rows:
            writer.writerow(
                [_json(value) if isinstance(value, list | dict) else value for value in row.values()]
            )


def _write_jsonl(rows: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{_json(row)}\n" for row in rows)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # times and the like as they are written


WRITERS: dict[str, Callable[[Dataset, Path], object]] = {
    ".csv": _write_csv,
    ".tsv": partial(_write_csv, delimiter="\t"),
    ".jsonl": _write_jsonl,
    ".parquet": lambda rows, path: rows.to_parquet(path),
}


def predict_file(
    bundle: Bundle,
    source: Path | str,
    target: Path | str,
    *,
    text_column: str,
    text_pair_column: str | None = None,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> int:
    """Write ``source`` with the columns of its task's predictions to ``target``, and return the number of rows.

    The order of the rows is kept. ``target`` appears only when it is complete.

    Raises:
        DataError: a file or column can't be used, or ``target`` would overwrite ``source``.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    check_target(source, target)
    with TemporaryDirectory(prefix="bert_ft_") as folder:  # what is labelled once needs no lasting cache
        rows = read_rows(source, text_column, text_pair_column, folder)
        taken = sorted(set(bundle.task.prediction_columns) & set(rows.column_names))
        if taken:
            raise DataError(
                f"{source}: has a column {taken[0]!r} already, which the output would add; rename it"
            )
        split = _tokenized(bundle, rows, text_column, text_pair_column, folder)
        outputs = compute_outputs(
            bundle.classifier, bundle.task, split, batch_size=batch_size, max_tokens=max_tokens, device=device
        )
        for name, values in bundle.task.decode(outputs).items():
            rows = rows.add_column(name, values)
        write_rows(rows, target)
    return len(outputs)


def check_target(source: Path, target: Path) -> None:
    """Refuse a ``target`` that can't be written, before any work is done."""
    if target.suffix.lower() not in WRITERS:
        allowed = ", ".join(WRITERS)
        raise DataError(f"output={target}: unknown kind of file {target.suffix!r}; choose one of {allowed}")
    if source.exists() and target.exists() and source.samefile(target):
        raise DataError(f"output={target}: is the input itself; give another file")
    if not target.absolute().parent.is_dir():
        raise DataError(f"output={target}: there is no folder {target.parent}")


def write_rows(rows: Dataset, target: Path) -> None:
    """Write a table by the suffix of ``target``, which is replaced at once when all is written."""
    with replaced(target) as unfinished:
        WRITERS[target.suffix.lower()](rows, unfinished)


def _tokenized(
    bundle: Bundle, rows: Dataset, text_column: str, pair_column: str | None, folder: str
) -> TokenizedSplit:
    names = {text_column: "text"} | ({pair_column: "text_pair"} if pair_column else {})
    texts = rows.select_columns(list(names)).rename_columns(names)
    columns = tokenize(texts, bundle.tokenizer, bundle.max_length, folder)
    return TokenizedSplit.from_columns("input", columns, texts)
