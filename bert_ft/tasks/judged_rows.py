"""What pages show of rows that were judged: arrays for pictures and tables, and the rows with the highest loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bert_ft.tasks.confidence import JudgesConfidence, JudgesRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

MOST_ROWS = 10_000  # that are saved of a split
NUM_TOP_LOSSES = 20

Texts = Callable[["NDArray[np.int64]"], "Sequence[str | None] | None"]


def judged_arrays(
    task: JudgesRows,
    logits: NDArray[np.float32],
    labels: NDArray[Any],
    rows: NDArray[np.int64],
    max_rows: int = MOST_ROWS,
) -> dict[str, NDArray[Any]]:
    """Return what the report reads of a split.

    These are ``logits`` ``(rows, classes)``, ``labels``, ``rows`` and, of classes, ``predictions`` of at most ``max_rows``, evenly
    spaced, the outputs' ``names``, and of all rows with finite logits the task's ``arrays``, and ``num_rows``.
    """
    import numpy as np
    import torch

    finite = np.isfinite(logits).all(axis=1)
    of_all = task.arrays(torch.from_numpy(logits[finite]).double(), torch.from_numpy(labels[finite]))
    names, found = task.names, {"logits": logits, "labels": labels, "rows": rows}
    if isinstance(task, JudgesConfidence):
        names, given = task.class_names, torch.from_numpy(logits)
        found |= {"logits": task.class_logits(given).numpy(), "predictions": task.predicted(given).numpy()}
    num_rows = len(rows)
    kept = np.unique(np.linspace(0, num_rows - 1, min(num_rows, max_rows)).round().astype(int))
    return (
        {name: found[name][kept] for name in sorted(found)}
        | {"names": np.array(names), "num_rows": np.array(num_rows)}
        | of_all
    )


def top_losses(
    task: JudgesRows,
    logits: Tensor,
    labels: Tensor,
    rows: NDArray[np.int64],
    *,
    sources: Texts = lambda _: None,
    texts: Texts = lambda _: None,
    most: int = NUM_TOP_LOSSES,
) -> list[dict[str, Any]]:
    """Return the rows with the highest loss, the highest first.

    Args:
        task: the task.
        logits: ``(rows, outputs)``, finite.
        labels: the task's targets.
        rows: their numbers.
        sources: gives the places of some rows in their files, by number.
        texts: gives their texts.
        most: number of rows to return.
    """
    from bert_ft.nn.confidence import highest_losses

    positions, losses = highest_losses(task.row_losses(logits, labels), most)
    found = rows[positions.numpy()]
    nothing: list[str | None] = [None] * len(found)
    columns = zip(
        found,
        sources(found) or nothing,
        texts(found) or nothing,
        labels[positions].numpy(),
        predictions_as_text(task, logits[positions]),
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


def predictions_as_text(task: JudgesRows, logits: Tensor) -> list[str]:
    """Return what is predicted for each row, as a text."""
    values = next(iter(task.decode(task.outputs(logits).numpy()).values()))
    return [
        ", ".join(each) if isinstance(each, list) else f"{each:.6g}" if isinstance(each, float) else str(each)
        for each in (values.tolist() if hasattr(values, "tolist") else values)
    ]
