"""The scalars that a run logged, from TensorBoard's files or, without them, from the csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorboard.backend.event_processing import event_accumulator

from bert_ft import layout

# Lightning stamps these with the steps before the one that they belong to; validations, our monitors and `metrics.json`
# have the steps done.
FROM_ZERO = (layout.TRAIN, layout.LEARNING_RATE)
OF_MONITORS = {layout.TRAIN_LOSS_SMOOTHED}  # all the same
# logged in training only: a file that has them belongs to a start, or a resume, of it
OF_TRAINING = (layout.TRAIN, layout.LEARNING_RATE)
# all scalars; of what else is in a file no more than must be
SIZES = {
    event_accumulator.SCALARS: 0,
    event_accumulator.TENSORS: 1,
    event_accumulator.IMAGES: 1,
    event_accumulator.AUDIO: 1,
    event_accumulator.HISTOGRAMS: 1,
    event_accumulator.COMPRESSED_HISTOGRAMS: 1,
}

Logged = dict[str, dict[int, float]]


class Series(NamedTuple):
    """One tag's values in the order of their steps.

    Attributes:
        steps: ``(n,)``, optimizer steps done, rising.
        values: ``(n,)``; NaN and infinity as they were logged.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def read_scalars(folder: Path) -> dict[str, Series]:
    """Every tag of the run in ``folder``, in the order in which they were first logged; empty where none was.

    A run that was resumed has a file for each start. Steps that the earlier one did after the checkpoint that the later
    one goes on from belong to no weights that are left: they are dropped, in all tags.
    """
    logged: Logged = {}
    for later in _event_files(folder / layout.TENSORBOARD_FOLDER) or _csv_files(folder / layout.CSV_FOLDER):
        logged = merged(logged, later)
    return {tag: _series(points) for tag, points in logged.items() if points}


def merged(earlier: Logged, later: Logged) -> Logged:
    """Both, without what ``earlier`` has from the first training step of ``later`` on; at an equal step the later."""
    starts = [min(points) for tag, points in later.items() if tag.startswith(OF_TRAINING) and points]
    end = min(starts, default=None)
    kept = {
        tag: {step: value for step, value in points.items() if end is None or step < end}
        for tag, points in earlier.items()
    }
    return {tag: kept.get(tag, {}) | later.get(tag, {}) for tag in kept | later}


def _series(points: Mapping[int, float]) -> Series:
    steps = sorted(points)
    return Series(
        np.array(steps, dtype=np.int64), np.array([points[step] for step in steps], dtype=np.float64)
    )


def _steps_done(tag: str, step: int) -> int:
    return step + 1 if tag.startswith(FROM_ZERO) and tag not in OF_MONITORS else step


def _event_files(folder: Path) -> list[Logged]:
    """What each file holds, the oldest first; of a truncated one what was written in full."""
    # one by one: an accumulator of the folder would take the steps of all files for those of one run
    accumulators = []
    for path in sorted(folder.glob("*tfevents*")):
        accumulator = event_accumulator.EventAccumulator(str(path), size_guidance=SIZES)
        accumulator.Reload()
        with suppress(ValueError):  # an empty file: it has no first event
            accumulators.append((accumulator.FirstEventTimestamp(), path.name, accumulator))
    found = []
    for _, _, accumulator in sorted(accumulators, key=lambda entry: entry[:2]):
        tags = accumulator.Tags()[event_accumulator.SCALARS]
        points = {
            tag: {_steps_done(tag, event.step): event.value for event in accumulator.Scalars(tag)}
            for tag in tags
        }
        if points:
            found.append(points)
    return found


def _csv_files(folder: Path) -> list[Logged]:
    """The same from ``version_0/metrics.csv``, ``version_1/metrics.csv``, …"""
    paths = sorted(folder.glob(layout.CSV_FILES), key=_version)
    found = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            found.append(_from_rows(csv.DictReader(file)))
    return [points for points in found if points]


def _version(path: Path) -> int:
    return int(re.sub(r"\D", "", path.parent.name) or 0)


def _from_rows(rows: Iterable[Mapping[str | None, str | None]]) -> Logged:
    logged: Logged = {}
    for row in rows:
        for tag, step, value in _cells(row):
            logged.setdefault(tag, {})[_steps_done(tag, step)] = value
    return logged


def _cells(row: Mapping[str | None, str | None]) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of each filled cell; none of a line that was cut off before its step."""
    try:
        step = int(row["step"] or "")
    except (KeyError, ValueError):
        return
    for tag, cell in row.items():
        if tag and tag != "step" and cell:
            with suppress(ValueError):
                yield tag, step, float(cell)
