"""Gradient accumulation that gives the gradient of one batch of all rows, however the rows are divided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, distributed, nn

from bert_ft.compat.torch import multiply_in_place


def ends_window(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether the optimizer steps after this batch: the window is full, or the epoch ends."""
    return trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class AccumulationWindow:
    """The batches of one optimizer step.

    Lightning divides each batch's loss by ``accumulate_grad_batches``. This is the mean over all rows only if the batches
    have equal weights and the window is full. Here each loss is multiplied by its batch's weight, and at the end of the
    window the gradients are divided by the total weight of all batches on all processes.
    """

    def __init__(self) -> None:
        self._nominal: float = 0.0
        self._total: Tensor | float = 0.0

    def add(self, loss: Tensor, weight: Tensor | int, num_rows: int) -> Tensor:
        """Return the loss to give to Lightning.

        Args:
            loss: the mean over the batch.
            weight: denominator of that mean (rows, or the sum of class weights).
            num_rows: rows of the batch; those of a window's first batch set the scale of the accumulated gradients.
        """
        if not self._nominal:
            self._nominal = float(num_rows)
        self._total = self._total + weight
        return loss * (weight / self._nominal)

    def state(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> dict[str, Any]:
        """Return the state that a checkpoint within the window must keep; empty between two windows."""
        if not self._nominal:
            return {}
        gradients = {name: parameter.grad for name, parameter in parameters if parameter.grad is not None}
        return {"nominal": self._nominal, "total": self._total, "gradients": gradients}

    def restore(self, state: Mapping[str, Any], parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Continue the window saved as ``state``."""
        if not state:
            return
        by_name = dict(parameters)
        for name, gradient in state["gradients"].items():
            by_name[name].grad = gradient.to(by_name[name].device)
        self._nominal, self._total = state["nominal"], state["total"]
        if isinstance(self._total, Tensor):
            self._total = self._total.to(next(iter(by_name.values())).device)

    def share(self, accumulate_grad_batches: int) -> Tensor | float:
        """Return the number by which to divide the gradients so far for a mean over their rows."""
        return self._total / (self._nominal * accumulate_grad_batches) if self._nominal else 1.0

    def finish(self, parameters: Iterable[nn.Parameter], accumulate_grad_batches: int) -> None:
        """Turn the accumulated gradients into the gradients of the mean over the window, and start a new window."""
        total, nominal = self._total, self._nominal * accumulate_grad_batches
        self._total, self._nominal = 0.0, 0.0
        if isinstance(total, Tensor) and distributed.is_available() and distributed.is_initialized():
            # gradients are the mean over the processes, so the weight must be as well; counts of rows are equal on all
            distributed.all_reduce(total)
            total = total / distributed.get_world_size()
        elif not isinstance(total, Tensor) and total == nominal:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # in a window without any weight, for example without masked tokens, all gradients are 0 and stay 0
        factor = (
            torch.where(total > 0, nominal / total, 1.0) if isinstance(total, Tensor) else nominal / total
        )
        multiply_in_place(gradients, factor)
