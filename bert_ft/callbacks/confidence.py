"""How sure the classifier is on the validation split, how correct, and where it is most wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.monitor import log_scalars, writers
from bert_ft.callbacks.monitor_files import save_arrays, save_records
from bert_ft.callbacks.monitored import validation_sources, validation_texts
from bert_ft.callbacks.validation_outputs import Arrays, ValidationMonitor
from bert_ft.limits import Count, within_limits
from bert_ft.nn.confidence import finite_rows, highest_losses, right_and_wrong
from bert_ft.tasks.confidence import JudgesConfidence, JudgesRows

SHOWN_CHARACTERS = 200  # of a text, in TensorBoard
# TensorBoard's own bins grow by a tenth each: all values above 0.9 would be in one
HISTOGRAM_BINS = np.linspace(0, 1, 51)


class ConfidenceMonitor(ValidationMonitor):
    """Calibration, scores of each class, and the rows with the highest loss, at each validation.

    Rows with non-finite logits are only counted, in ``confidence/rows_not_finite`` if there are any. A score that is
    0 / 0, such as the recall of a class without rows, isn't logged.

    For each validation the folder gets ``validation_<step>.npz`` with ``logits`` ``(rows, classes)``, ``labels``,
    ``rows`` and, of classes, ``predictions``, sorted by row, the outputs' ``names``, and of all rows their number ``num_rows`` and the task's ``arrays``, for
    classes ``confusion`` ``(classes, classes)`` (label, prediction); and ``top_losses_<step>.json``.

    Args:
        num_top_losses: number of rows to list.
        max_rows: number of rows to save, evenly spaced in the split; scores use all rows.
        num_bins: number of bins of equal width, for the expected calibration error.
    """

    kinds: ClassVar[tuple[str, ...]] = (layout.VALIDATION_ROWS, layout.TOP_LOSSES)

    @within_limits("monitor.confidence")
    def __init__(
        self,
        folder: Path | str,
        *,
        num_top_losses: Count = 20,
        max_rows: Count = 10_000,
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
        of_all, names = task.arrays(logits[finite], labels[finite]), task.names
        if isinstance(task, JudgesConfidence):
            names = task.class_names
            of_classes = task.class_logits(torch.from_numpy(seen["logits"])).numpy()
            seen = {**seen, "logits": of_classes, "predictions": task.predicted(logits).numpy()}
        self._save(step, seen, names, of_all)
        scalars = {} if finite.all() else {f"{layout.CONFIDENCE}rows_not_finite": float((~finite).sum())}
        logits, labels, rows = logits[finite], labels[finite], seen["rows"][finite.numpy()]
        if len(rows):
            scalars |= task.confidence(logits, labels, self.num_bins)
            if isinstance(task, JudgesConfidence):
                _write_histograms(trainer, task.probabilities(logits), task.predicted(logits), labels)
        if scalars:
            log_scalars(trainer, scalars)
        losses = self._top_losses(trainer, logits, labels, rows, task)
        save_records(self.folder / layout.monitor_file(layout.TOP_LOSSES, step), losses)
        for writer in writers(trainer):
            writer.add_text(f"{layout.CONFIDENCE}top_losses", markdown_table(losses), step)

    def _save(self, step: int, seen: Arrays, names: Sequence[str], of_all: Arrays) -> None:
        num_rows = len(seen["rows"])
        kept = np.unique(np.linspace(0, num_rows - 1, min(num_rows, self.max_rows)).round().astype(int))
        names_of_rows = {"logits", "labels", "rows", "predictions"} & seen.keys()
        arrays = {name: seen[name][kept] for name in sorted(names_of_rows)}
        arrays |= {"names": np.array(names), "num_rows": np.array(num_rows), **of_all}
        save_arrays(self.folder / layout.monitor_file(layout.VALIDATION_ROWS, step), arrays)

    def _top_losses(
        self, trainer: Trainer, logits: Tensor, labels: Tensor, rows: np.ndarray, task: JudgesRows
    ) -> list[dict[str, Any]]:
        positions, losses = highest_losses(task.row_losses(logits, labels), self.num_top_losses)
        found = rows[positions.numpy()]
        nothing: list[str | None] = [None] * len(found)
        columns = zip(
            found,
            (validation_sources(trainer, found) if self.rows_known else None) or nothing,
            (validation_texts(trainer, found) if self.rows_known else None) or nothing,
            labels[positions].numpy(),
            _predictions(task, logits[positions]),
            losses.tolist(),
            strict=True,
        )
        return [
            {
                "row": int(row),
                "source": source,
                "text": text,
                "label": task.describe(label),
                "prediction": prediction,
                "probability": math.exp(-loss) if isinstance(task, JudgesConfidence) else None,
                "loss": loss,
            }
            for row, source, text, label, prediction, loss in columns
        ]


def _predictions(task: JudgesRows, logits: Tensor) -> list[str]:
    """Return what is predicted for each row, as a text."""
    values = next(iter(task.decode(task.outputs(logits).numpy()).values()))
    return [
        ", ".join(each) if isinstance(each, list) else f"{each:.6g}" if isinstance(each, float) else str(each)
        for each in (values.tolist() if hasattr(values, "tolist") else values)
    ]


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
