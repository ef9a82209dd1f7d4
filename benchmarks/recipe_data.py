"""Corpora cut into small training sets, for ``benchmarks.recipes``."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpora import Rows

MAX_LENGTH = 64  # tokens
TRAIN_ROWS, VALIDATION_ROWS, MOST_TEST_ROWS = 1000, 200, 2000
# of corpora that have too few rows for that
TRAIN_SHARE, VALIDATION_SHARE = 0.65, 0.1
DEVELOPMENT_SHARE = 0.3


def bbc_news() -> Rows:
    """BBC News articles, as bert_ft reads them."""
    from bert_ft.data.sources import BbcNews

    dataset = BbcNews().load(None).splits["train"].dataset
    return [(row["text"], row["label"]) for row in dataset]


def for_development(rows: Rows, *, yes: bool) -> Rows:
    """The rows that settings are chosen on, or all others; a text is always on the same side."""
    return [row for row in rows if (zlib.crc32(row[0].encode()) % 100 < 100 * DEVELOPMENT_SHARE) == yes]


def cut(rows: Rows, folder: Path, seed: int) -> None:
    """``train.csv``, ``validation.csv`` and ``test.csv``: by label, a repeated text only once, others for each seed."""
    from sklearn.model_selection import train_test_split

    rows = list(dict(reversed(rows)).items())[::-1]  # the first of each text
    few = len(rows) < 2 * TRAIN_ROWS
    train_rows = round(TRAIN_SHARE * len(rows)) if few else TRAIN_ROWS
    validation_rows = round(VALIDATION_SHARE * len(rows)) if few else VALIDATION_ROWS

    def split(rows: Rows, size: int) -> tuple[Rows, Rows]:
        part, rest = train_test_split(
            rows, train_size=size, random_state=seed, stratify=[label for _, label in rows]
        )
        return part, rest

    train, rest = split(rows, train_rows)
    validation, test = split(rest, validation_rows)
    if len(test) > MOST_TEST_ROWS:
        test, _ = split(test, MOST_TEST_ROWS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("validation", validation), ("test", test)):
        write_rows(folder / f"{name}.csv", part)


def write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
