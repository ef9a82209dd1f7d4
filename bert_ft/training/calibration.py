"""What a run takes from its validation rows with the kept weights: a temperature, and what the task chooses."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bert_ft.models.last_layer import divide_logits, ends_linear
from bert_ft.tasks.task import Task

if TYPE_CHECKING:
    from bert_ft.training.module import ClassificationModule

log = logging.getLogger(__name__)

LIMITS = (0.1, 10.0)  # of a temperature; at a limit the rows don't determine it, as if all of them are right
_CHANCE = 3.84  # 95% quantile of chi-square with one degree of freedom (Wilks 1938)


@dataclass(frozen=True)
class Temperature:
    """The divisor of the logits that gives validation rows the lowest mean loss (Guo et al. 2017, arXiv 1706.04599).

    Attributes:
        temperature: above 1 the model was too sure of itself, below 1 not sure enough.
        loss_before: mean loss of the validation rows without it, in nats.
        loss: their mean loss with it.
        is_used: whether it is within ``LIMITS`` and the loss is lower than chance explains.
    """

    temperature: float
    loss_before: float
    loss: float
    is_used: bool


def fit_temperature(task: Task, logits: np.ndarray, targets: np.ndarray) -> Temperature:
    """Return the temperature of ``(rows, outputs)`` logits; the loss is the task's plain loss in double precision."""
    from scipy.optimize import minimize_scalar  # takes a while to import

    scores, labels = torch.from_numpy(logits.astype(np.float64)), torch.from_numpy(targets)

    def loss(log_temperature: float) -> float:
        return float(task.plain_loss(scores / math.exp(log_temperature), labels))

    low, high = map(math.log, LIMITS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    before, after = loss(0.0), float(found.fun)
    inside = low + 1e-3 < found.x < high - 1e-3
    is_used = inside and 2 * len(scores) * (before - after) > _CHANCE
    return Temperature(math.exp(found.x), before, after, bool(is_used))


def calibrate(
    module: ClassificationModule, logits: np.ndarray, targets: np.ndarray, *, with_temperature: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """Divide the module's logits by a temperature if that helps, and let its task choose what it takes from the scores.

    Returns:
        The logits with the temperature, and the record for ``metrics.json``.
    """
    record: dict[str, Any] = {}
    if with_temperature and module.task.has_temperature and ends_linear(module.classifier):
        found = fit_temperature(module.task, logits, targets)
        record.update(asdict(found))
        if found.is_used:
            divide_logits(module.classifier, found.temperature)
            logits = (logits / found.temperature).astype(np.float32)
    if module.task.is_calibrated:
        task, chosen, notes = module.task.calibrated(logits, targets)
        for note in notes if module.trainer.is_global_zero else ():
            log.warning("%s", note)
        module.test_with(task)
        module.classifier.config.update(chosen)
        record |= chosen
    return logits, record
