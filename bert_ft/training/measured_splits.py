"""How sure a run's scores are: intervals of its splits' metrics and what guessing gives, from outputs that exist anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bert_ft import layout
from bert_ft.evaluation.evaluation import intervals_of
from bert_ft.evaluation.resampling import RESAMPLES
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import baseline_of
from bert_ft.tasks.confidence import JudgesRows
from bert_ft.tasks.judged_rows import judged_arrays, top_losses
from bert_ft.tasks.task import Task
from bert_ft.training.monitor_files import drop_later, save_arrays, save_records

# rows drawn for an interval: of more rows there are fewer resamples, so that intervals take seconds at most
MOST_DRAWN = 2_000_000
LEAST_RESAMPLES = 200

FromRows = Callable[[str, Sequence[int]], Sequence[str]]


@dataclass
class MeasuredSplits:
    """What is known of the splits so far.

    Attributes:
        training: ``training_labels`` of the training rows.
        guess: what is guessed, in words; empty if it isn't known.
        baseline: split → metrics of guessing.
        intervals: split → metric → ends of its 95% interval.
    """

    training: dict[str, Any]
    guess: str = ""
    baseline: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def guess_for(self, split: str, task: Task, targets: np.ndarray) -> None:
        """Note what guessing gives for the rows of a split, ``val`` or ``test``."""
        nothing = np.zeros((len(targets), len(task.names)), np.float32)
        if guessed := baseline_of(Scored(task, nothing, targets), self.training):
            self.guess, self.baseline[split] = guessed.guess, dict(guessed.values)
        elif values := task.baseline(targets):
            self.baseline[split] = values

    def add(self, split: str, scored: Scored) -> None:
        """Note the intervals of a split; outputs that aren't finite have none, nor metrics of a user's own task."""
        if not len(scored) or not np.isfinite(scored.logits).all() or not scored.metrics:
            return
        num_resamples = int(np.clip(MOST_DRAWN // len(scored), LEAST_RESAMPLES, RESAMPLES))
        self.intervals[split] = {
            name: [each.low, each.high]
            for name, each in intervals_of(scored, num_resamples=num_resamples).items()
            if each.low is not None and each.high is not None
        }

    def record(self) -> dict[str, Any]:
        """Return what ``metrics.json`` has of it."""
        found = {"baseline": self.baseline, "guess": self.guess, "intervals": self.intervals}
        return {name: value for name, value in found.items() if value}


def save_judged_rows(
    folder: Path, step: int, scored: Scored, rows: np.ndarray, *, texts: FromRows, sources: FromRows
) -> None:
    """Write what the report shows of the test split.

    Args:
        folder: folder of the files.
        step: optimizer steps done by the kept weights.
        scored: the rows.
        rows: ``(rows,)`` their numbers in the split.
        texts: gives the texts of rows of a split.
        sources: gives their places in their files.
    """
    scored, positions, labels = scored.with_class()  # votes without a majority can't be right or wrong
    rows = rows[positions]
    finite = np.isfinite(scored.logits).all(axis=1)
    if not isinstance(scored.task, JudgesRows) or not finite.any():
        return
    for kind in (layout.TEST_ROWS, layout.TEST_LOSSES):
        drop_later(folder, kind, -1)  # of a run that is trained further
    save_arrays(
        folder / layout.monitor_file(layout.TEST_ROWS, step),
        judged_arrays(scored.task, scored.logits, labels, rows),
    )
    losses = top_losses(
        scored.task,
        torch.from_numpy(scored.logits[finite]).double(),
        torch.from_numpy(labels[finite]),
        rows[finite],
        sources=lambda found: sources("test", found.tolist()),
        texts=lambda found: texts("test", found.tolist()),
    )
    save_records(folder / layout.monitor_file(layout.TEST_LOSSES, step), losses)
