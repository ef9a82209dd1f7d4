"""Gradient accumulation whose result is that of one batch of all rows, however these are divided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, distributed, nn

from bert_ft.compat.torch import multiply_in_place


def ends_window(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the optimizer steps after this batch: the window is full, or the epoch ends."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class AccumulationWindow:
    """The batches of one optimizer step.

    Lightning divides each batch's loss by ``accumulate_grad_batches``, which is the mean over all rows only as long
    as the batches weigh alike and the window is full. Here each loss counts by its batch's weight, and at the end of
    the window the gradients are divided by the weight of them all, on all processes.
    """

    def __init__(self) -> None:
        self._nominal: float = 0.0
        self._total: Tensor | float = 0.0

    def add(self, loss: Tensor, weight: Tensor | int, num_rows: int) -> Tensor:
        """The loss to give to Lightning.

        Args:
            loss: the mean over the batch.
            weight: what that mean has divided by.
            num_rows: of the batch; a window's first sets the scale at which gradients are accumulated.
        """
        if not self._nominal:
            self._nominal = float(num_rows)
        self._total = self._total + weight
        return loss * (weight / self._nominal)

    def state(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Any]:
        """What a checkpoint within the window has to keep; nothing between two windows."""
        if not self._nominal:
            return {}
        gradients = {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}
        return {"nominal": self._nominal, "total": self._total, "gradients": gradients}

    def restore(self, state: Mapping[str, Any], parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Go on in the window of ``state``."""
        if not state:
            return
        by_name = dict(parameters)
        for name, gradient in state["gradients"].items():
            by_name[name].grad = gradient.to(by_name[name].device)
        self._nominal, self._total = state["nominal"], state["total"]
        if isinstance(self._total, Tensor):
            self._total = self._total.to(next(iter(by_name.values())).device)

    def share(self, accumulate_grad_batches: int) -> Tensor | float:
        """What the gradients so far are to be divided by to be the mean over their rows."""
        return self._total / (self._nominal * accumulate_grad_batches) if self._nominal else 1.0

    def finish(self, parameters: Iterable[nn.Parameter], accumulate_grad_batches: int) -> None:
        """Make the accumulated gradients those of the mean over the window, and begin a new one."""
        total, nominal = self._total, self._nominal * accumulate_grad_batches
        self._total, self._nominal = 0.0, 0.0
        if isinstance(total, Tensor) and distributed.is_available() and distributed.is_initialized():
            # gradients are the mean over the processes, so the weight is, too; counts of rows are alike on all
            distributed.all_reduce(total)
            total = total / distributed.get_world_size()
        elif not isinstance(total, Tensor) and total == nominal:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # without any weight, as of a window in which no token is masked, they are all 0, and stay so
        factor = (
            torch.where(total > 0, nominal / total, 1.0) if isinstance(total, Tensor) else nominal / total
        )
        multiply_in_place(gradients, factor)
