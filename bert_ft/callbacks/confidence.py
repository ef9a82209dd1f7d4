"""How sure the classifier is on the validation split, how correct, and where it is most wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.monitor import log_scalars, writers
from bert_ft.callbacks.monitored import validation_sources, validation_texts
from bert_ft.callbacks.validation_outputs import Arrays, ValidationMonitor
from bert_ft.limits import Count, within_limits
from bert_ft.nn.confidence import finite_rows, right_and_wrong
from bert_ft.tasks.confidence import JudgesConfidence
from bert_ft.tasks.judged_rows import MOST_ROWS, NUM_TOP_LOSSES, judged_arrays, top_losses
from bert_ft.training.monitor_files import save_arrays, save_records

SHOWN_CHARACTERS = 200  # of a text, in TensorBoard
# TensorBoard's own bins grow by a tenth each: all values above 0.9 would be in one
HISTOGRAM_BINS = np.linspace(0, 1, 51)


class ConfidenceMonitor(ValidationMonitor):
    """Calibration, scores of each class, and the rows with the highest loss, at each validation.

    Rows with non-finite logits are only counted, in ``confidence/rows_not_finite`` if there are any. A score that is
    0 / 0, such as the recall of a class without rows, isn't logged.

    For each validation the folder gets ``validation_<step>.npz`` with ``judged_arrays``, sorted by row, and
    ``top_losses_<step>.json``.

    Args:
        num_top_losses: number of rows to list.
        max_rows: number of rows to save, evenly spaced in the split; scores use all rows.
        num_bins: number of bins of equal width, for the expected calibration error.
    """

    kinds: ClassVar[tuple[str, ...]] = (layout.VALIDATION_ROWS, layout.TOP_LOSSES)

    @within_limits("monitor.confidence")
    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        num_top_losses: Count = NUM_TOP_LOSSES,
        max_rows: Count = MOST_ROWS,
        num_bins: Count = 15,
    ) -> None:
        super().__init__(folder)
        self.num_top_losses = num_top_losses
        self.max_rows = max_rows
        self.num_bins = num_bins

    def look(self, trainer: Trainer, pl_module: LightningModule, seen: Arrays) -> None:
        step = trainer.global_step
        task = self.task(pl_module, seen)
        logits, labels = torch.from_numpy(seen["logits"]).double(), torch.from_numpy(seen["labels"])
        finite = finite_rows(logits)
        arrays = judged_arrays(task, seen["logits"], seen["labels"], seen["rows"], self.max_rows)
        save_arrays(self.folder / layout.monitor_file(layout.VALIDATION_ROWS, step), arrays)
        scalars = {} if finite.all() else {f"{layout.CONFIDENCE}rows_not_finite": float((~finite).sum())}
        logits, labels, rows = logits[finite], labels[finite], seen["rows"][finite.numpy()]
        if len(rows):
            scalars |= task.confidence(logits, labels, self.num_bins)
            if isinstance(task, JudgesConfidence):
                _write_histograms(trainer, task.probabilities(logits), task.predicted(logits), labels)
        if scalars:
            log_scalars(trainer, scalars)
        losses = top_losses(
            task,
            logits,
            labels,
            rows,
            sources=lambda found: validation_sources(trainer, found) if self.rows_known else None,
            texts=lambda found: validation_texts(trainer, found) if self.rows_known else None,
            most=self.num_top_losses,
        )
        save_records(self.folder / layout.monitor_file(layout.TOP_LOSSES, step), losses)
        for writer in writers(trainer):
            writer.add_text(f"{layout.CONFIDENCE}top_losses", markdown_table(losses), step)


def markdown_table(losses: list[dict[str, Any]]) -> str:
    """Return the records of ``top_losses_<step>.json`` as a table for TensorBoard."""
    lines = ["| row | text | label | prediction | probability |", "|---:|---|---|---|---:|"]
    for record in losses:
        row, text = record.get("source") or str(record["row"]), (record["text"] or "")[:SHOWN_CHARACTERS]
        cells = [_cell(value) for value in (row, text, record["label"], record["prediction"])]
        probability = record["probability"]
        lines.append(f"| {' | '.join(cells)} | {'' if probability is None else f'{probability:.4f}'} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    # an entity, since a text may end in a backslash
    lines = text.replace("&", "&amp;").replace("|", "&#124;").splitlines()
    return "\\n".join(lines)


def _write_histograms(trainer: Trainer, probabilities: Tensor, predictions: Tensor, labels: Tensor) -> None:
    parts = zip(("right", "wrong"), right_and_wrong(probabilities, predictions, labels), strict=True)
    for name, values in parts:
        for writer in writers(trainer) if len(values) else ():
            tag = f"{layout.CONFIDENCE}{name}"
            writer.add_histogram(tag, values, trainer.global_step, bins=HISTOGRAM_BINS)
