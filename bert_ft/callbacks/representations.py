"""How well the input vectors of the head separate the classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer

from bert_ft import layout
from bert_ft.callbacks.monitor import log_scalars, writers
from bert_ft.callbacks.monitored import validation_texts
from bert_ft.callbacks.validation_outputs import Arrays, ValidationMonitor
from bert_ft.limits import Count, within_limits
from bert_ft.nn.representations import centroid_distance, effective_rank, silhouette
from bert_ft.training.monitor_files import save_arrays

SHOWN_CHARACTERS = 80  # of a text, in the projector


class RepresentationMonitor(ValidationMonitor):
    """The vectors of rows from all over the validation split, and how well they separate the classes.

    Undefined values, as with equal rows or a single class, aren't logged. Non-finite rows are only saved.

    For each validation the folder gets ``representations_<step>.npz`` with ``vectors`` ``(rows, hidden)``, ``labels``,
    ``predictions`` and ``rows``, sorted by row, and the classes' ``names``.

    Args:
        num_texts: number of rows to look at.
        projector: at the end of training, show the last vectors in TensorBoard's Embedding Projector.
    """

    reads: ClassVar[tuple[str, ...]] = ("features", "logits", "labels")
    kinds: ClassVar[tuple[str, ...]] = (layout.VECTORS,)

    @within_limits("monitor.representations")
    def __init__(
        self, folder: Path | str | None = None, *, num_texts: Count = 500, projector: bool = True
    ) -> None:
        super().__init__(folder, max_rows=num_texts)
        self.projector = projector
        self._last: tuple[int, Arrays] | None = None

    def look(self, trainer: Trainer, pl_module: LightningModule, seen: Arrays) -> None:
        step = trainer.global_step
        task = self.class_task(pl_module, seen)
        arrays = {
            "vectors": seen["features"],
            "labels": seen["labels"],
            "predictions": task.predicted(seen["logits"]),
            "rows": seen["rows"],
            "names": np.array(task.names),
        }
        save_arrays(self.folder / layout.monitor_file(layout.VECTORS, step), arrays)
        self._last = step, arrays
        finite = np.isfinite(arrays["vectors"]).all(1)
        scalars = _scalars(arrays["vectors"][finite], arrays["labels"][finite])
        if scalars:
            log_scalars(trainer, scalars)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        last, self._last = self._last, None
        if last is not None and self.projector:
            self._project(trainer, *last)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._last = None

    def _project(self, trainer: Trainer, step: int, arrays: Arrays) -> None:
        shown = np.isfinite(arrays["vectors"]).all(1)
        if not shown.any():
            return
        columns = {
            "label": arrays["names"][arrays["labels"][shown]].tolist(),
            "prediction": arrays["names"][arrays["predictions"][shown]].tolist(),
        }
        texts = validation_texts(trainer, arrays["rows"][shown]) if self.rows_known else None
        if texts is not None:
            columns["text"] = [text[:SHOWN_CHARACTERS] for text in texts]
        # on one line without tabs, which the projector's files can't quote
        metadata = [[" ".join(value.split()) for value in row] for row in zip(*columns.values(), strict=True)]
        for writer in writers(trainer):
            writer.add_embedding(
                arrays["vectors"][shown],
                metadata=metadata,
                metadata_header=list(columns),
                tag=layout.VECTORS,
                global_step=step,
            )


def _scalars(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if not len(vectors):
        return {}
    points, classes = torch.from_numpy(vectors).double(), torch.from_numpy(labels)
    scalars = {
        f"{layout.REPRESENTATIONS}{layout.SILHOUETTE}": silhouette(points, classes),
        f"{layout.REPRESENTATIONS}{layout.CENTROID_DISTANCE}": centroid_distance(points, classes),
        f"{layout.REPRESENTATIONS}{layout.EFFECTIVE_RANK}": effective_rank(points),
    }
    return {name: value for name, value in scalars.items() if math.isfinite(value)}
