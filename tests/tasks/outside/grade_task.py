"""A task from outside of the package: grade a text from 0 up by a squared loss."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch.nn.functional import mse_loss
from torchmetrics import MeanAbsoluteError

from bert_ft.errors import DataError
from bert_ft.tasks.task import Task


@dataclass(frozen=True)
class Grade(Task):
    highest: int = 4

    name = "grade"
    objectives: ClassVar = {"mae": "min", "loss": "min"}
    problem_type = "regression"
    prediction_columns = ("grade", "score")
    supports = frozenset({"loss.contrastive_weight"})
    loss_unit = "grades²"

    def fitted(self, labels, origin="train"):
        return replace(self, names=("grade",))

    def encode(self, labels, *, origin="", rows=None):
        texts = labels.to_pylist()
        for index, text in enumerate(texts):
            if text not in map(str, range(self.highest + 1)):
                row = index + 1 if rows is None else rows[index]
                raise DataError(f"{origin}, row {row}: grade {text!r} isn't among 0 to {self.highest}")
        return np.array([float(text) for text in texts], dtype=np.float32)

    def strata(self, targets):
        return targets.astype(np.int64)

    def describe(self, target):
        return f"{target:g}"

    def summary(self, targets):
        return {
            "mean grade": float(targets.mean()),
            "lowest": int(targets.min()),
            "highest": int(targets.max()),
        }

    def summary_warnings(self, summary):
        if summary["lowest"] == summary["highest"]:
            yield f"all grades are {summary['lowest']}"

    def plain_loss(self, logits, targets):
        return mse_loss(logits.squeeze(1), targets)

    def metrics(self):
        return {"mae": MeanAbsoluteError()}

    def metric_inputs(self, logits, targets):
        return logits.squeeze(1), targets

    def same_label(self, targets, others):
        return targets[:, None] == others

    def outputs(self, logits):
        return logits.float().clamp(0, self.highest)

    def decode(self, outputs):
        scores = outputs[:, 0]
        return {"grade": [str(int(score)) for score in np.rint(scores)], "score": scores}


class SquaredLoss(torch.nn.Module):
    """What ``loss=plain`` gives, as a class of its own."""

    def forward(self, logits, targets):
        return (logits.squeeze(1) - targets).square().mean()
