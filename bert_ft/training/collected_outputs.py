"""Outputs of evaluation steps, joined: each row of a split once, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

Arrays = dict[str, np.ndarray]


class CollectedOutputs(Callback):
    """Keeps ``logits`` and ``rows`` that test steps return, so that they needn't be computed again."""

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batches.append({name: outputs[name].detach() for name in ("logits", "rows")})

    def joined(self, trainer: Trainer) -> Arrays:
        """Return the rows of all processes, sorted; empty if there are none."""
        parts = [part for part in everyones(trainer, on_host(self._batches)) if part]
        return in_order(parts) if parts else {}


def everyones(trainer: Trainer, own: Arrays) -> list[Arrays]:
    """Return the arrays of each process."""
    found = [own] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(found, own)
    return found


def joined_batches(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return batches as one."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def on_host(batches: list[dict[str, Tensor]]) -> Arrays:
    """Return batches as one, in arrays; empty without batches."""
    if not batches:
        return {}
    values = {name: value.cpu() for name, value in joined_batches(batches).items()}
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()  # numpy has no bfloat16
        for name, value in values.items()
    }


def in_order(parts: list[Arrays]) -> Arrays:
    """Sort by row; a row that several processes had, since samplers repeat some, counts once."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, order = np.unique(whole["rows"], return_index=True)
    return {name: value[order] for name, value in whole.items()}
