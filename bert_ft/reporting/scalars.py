"""The scalars that a run logged, from TensorBoard's files or, if there are none, from the csv."""

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

# Lightning logs these only in training, and stamps them with the number of steps before the one that they belong to;
# validations, our monitors and `metrics.json` count the steps done.
LIGHTNINGS = (layout.TRAIN, layout.LEARNING_RATE)
# keep all scalars, and as little as possible of everything else
SIZES = dict.fromkeys(event_accumulator.DEFAULT_SIZE_GUIDANCE, 1) | {event_accumulator.SCALARS: 0}

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
    """Return every tag of the run in ``folder``, in the order in which they were first logged.

    A resumed run has a file for each start. Values that the earlier start logged after the checkpoint from
    which the later one resumed belong to discarded weights, and are dropped.
    """
    logged: Logged = {}
    for later in _event_files(folder / layout.TENSORBOARD_FOLDER) or _csv_files(folder / layout.CSV_FOLDER):
        logged = merged(logged, later)
    return {tag: _series(points) for tag, points in logged.items() if points}


def merged(earlier: Logged, later: Logged) -> Logged:
    """Return both, without what ``earlier`` has from the first training step of ``later`` on; ``later`` wins ties."""
    starts = [min(points) for tag, points in later.items() if tag.startswith(LIGHTNINGS) and points]
    end = min(starts, default=None)
    kept = {
        tag: {step: value for step, value in points.items() if end is None or step < end}
        for tag, points in earlier.items()
    }
    return {tag: kept.get(tag, {}) | later.get(tag, {}) for tag in kept | later}


def smoothed(values: NDArray[np.float64], span: float | None = None) -> NDArray[np.float64]:
    """Return the bias-corrected exponential mean of the values so far, ``(n,)``; ignoring non-finite ones.

    Args:
        values: ``(n,)``.
        span: the weight falls by ``1 - 2 / (span + 1)`` a value; ``None`` = a fiftieth of the values, at least 5.
    """
    import pandas as pd  # slow to import, and not every report has a curve to smooth

    if span is None:
        span = max(5, len(values) / 50)
    finite = pd.Series(np.where(np.isfinite(values), values, np.nan), dtype=np.float64)
    return finite.ewm(span=span).mean().to_numpy()


def _series(points: Mapping[int, float]) -> Series:
    steps = sorted(points)
    return Series(
        np.array(steps, dtype=np.int64), np.array([points[step] for step in steps], dtype=np.float64)
    )


def _steps_done(tag: str, step: int) -> int:
    is_lightnings = tag.startswith(LIGHTNINGS) and tag != layout.TRAIN_LOSS_SMOOTHED  # which a monitor logs
    return step + 1 if is_lightnings else step


def _event_files(folder: Path) -> list[Logged]:
    """Return the content of each file, the oldest first; for a truncated file, its complete records."""
    # one by one: an accumulator of the folder would mix the steps of all starts
    found = []
    for path in sorted(folder.glob("*tfevents*")):
        accumulator = event_accumulator.EventAccumulator(str(path), size_guidance=SIZES)
        accumulator.Reload()
        points = {
            tag: {_steps_done(tag, event.step): event.value for event in accumulator.Scalars(tag)}
            for tag in accumulator.Tags()[event_accumulator.SCALARS]
        }
        if points:
            found.append((accumulator.FirstEventTimestamp(), path.name, points))
    return [points for *_, points in sorted(found, key=lambda entry: entry[:2])]


def _csv_files(folder: Path) -> list[Logged]:
    """Return the content of ``version_0/metrics.csv``, ``version_1/metrics.csv``, …."""
    found = []
    for path in sorted(
        folder.glob(layout.CSV_FILES), key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0)
    ):
        points: Logged = {}
        with path.open(encoding="utf-8", newline="") as file:
            for tag, step, value in _cells(csv.DictReader(file)):
                points.setdefault(tag, {})[_steps_done(tag, step)] = value
        if points:
            found.append(points)
    return found


def _cells(rows: Iterable[Mapping[str | None, str | None]]) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of each filled cell; skip a line that was cut off before its step."""
    for row in rows:
        with suppress(KeyError, ValueError):
            step = int(row["step"] or "")
            for tag, cell in row.items():
                if tag and tag != "step" and cell:
                    with suppress(ValueError):
                        yield tag, step, float(cell)
