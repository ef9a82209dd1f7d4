"""The state of every random number generator travels with the checkpoint, so that a resumed run repeats."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class RandomState(Callback):
    """Saves Python's, numpy's and torch's states, and restores them just before training goes on.

    Lightning 2.6 restores loops, optimizers and schedules, but no generator, so that dropout masks
    would differ after a resume.
    """

    def __init__(self) -> None:
        self._to_restore: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        version, internal, gauss = random.getstate()
        keys = np.random.get_state(legacy=False)
        return {
            "python": [version, list(internal), gauss],
            "numpy": {**keys, "state": {**keys["state"], "key": keys["state"]["key"].tolist()}},
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._to_restore = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._to_restore is None:
            return
        state, self._to_restore = self._to_restore, None
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        key = np.asarray(state["numpy"]["state"]["key"], dtype=np.uint32)
        np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": key}})
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
