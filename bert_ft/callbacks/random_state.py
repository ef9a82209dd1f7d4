"""Save the state of all random number generators in checkpoints, so that a resumed run draws the same numbers."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

log = logging.getLogger(__name__)


class RandomState(Callback):
    """Save Python's, numpy's and torch's states, and restore them just before a resumed training starts.

    Lightning 2.6 restores loops, optimizers and schedules, but no generator: dropout masks would differ after a resume.
    """

    def __init__(self) -> None:
        self._to_restore: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all processes by rank, since Lightning saves only what the first one returns."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return {"processes": [_state()]}
        states: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(states, _state())
        return {"processes": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._to_restore = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._to_restore is None:
            return
        states, self._to_restore = self._to_restore["processes"], None
        if len(states) != trainer.world_size:
            log.warning(
                "resume_from: %d processes wrote the checkpoint, but %d read it: random numbers will differ from those "
                "of an uninterrupted run",
                len(states),
                trainer.world_size,
            )
            return
        state = states[trainer.global_rank]
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        key = np.asarray(state["numpy"]["state"]["key"], dtype=np.uint32)
        np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], pl_module.device)


def _state() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    keys = np.random.get_state(legacy=False)
    return {
        "python": [version, list(internal), gauss],
        "numpy": {**keys, "state": {**keys["state"], "key": keys["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        # of the device in use; not asked for without one, since asking initializes CUDA
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }
