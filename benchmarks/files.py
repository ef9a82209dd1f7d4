"""Corpora as the files that both sides of a comparison read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmarks.corpora import Rows


def write_split(rows: Rows, folder: Path, seed: int, shares: tuple[float, float] = (0.8, 0.9)) -> None:
    """``train.csv``, ``validation.csv`` and ``test.csv`` in ``folder``, cut at ``shares`` of a random order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    cuts = [round(share * len(rows)) for share in shares]
    for name, part in zip(("train", "validation", "test"), np.split(order, cuts), strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(rows[index] for index in part)
