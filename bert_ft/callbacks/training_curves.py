"""Progress and speed of training: smoothed loss, tokens per second, padding, memory, time for each phase."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.monitor import Monitor, log_scalars
from bert_ft.callbacks.monitored import batch_loss, max_tokens
from bert_ft.data.packing import TextBatch
from bert_ft.data.pretraining_batches import PretrainingBatch
from bert_ft.limits import BelowOne, Count, within_limits
from bert_ft.models.encoding import is_packed
from bert_ft.models.parameter_layers import encoder_of
from bert_ft.nn.precision import widest

# `data` is the time between two batches; after a validation, when checkpoints are saved, it counts as `validation`
PHASES = ("data", "forward", "backward", "optimizer", "validation")


class TrainingCurves(Monitor):
    """``train/loss_smoothed``, real tokens and sequences per second, padding, peak memory, and seconds for each phase.

    All values except the loss and the memory cover the time since the last reading; throughput leaves out validation. Phases
    are measured on the host: on a GPU a phase ends when its work is queued. When training ends, the time after the
    last reading is logged as ``seconds_after/<phase>``.

    Args:
        smoothing: weight of the past in the smoothed loss, at each batch.
    """

    @within_limits("monitor.curves")
    def __init__(self, *, every_n_steps: Count, smoothing: BelowOne = 0.95) -> None:
        super().__init__(every_n_steps=every_n_steps)
        self.smoothing = smoothing
        self._loss: Tensor | None = None  # weighted sum of the losses, and sum of the weights
        self._sizes: Any = 0  # tokens, places for tokens and sequences since the last reading
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._mark = 0.0
        self._is_packed = True
        self._between = "data"  # phase that the time until the next batch counts as

    def state_dict(self) -> dict[str, Any]:
        """Return the smoothed loss, which a resumed run continues."""
        return {} if self._loss is None else {"loss": self._loss.cpu()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loss = state_dict.get("loss")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before = torch.zeros(2) if self._loss is None else self._loss  # of the run that is resumed
        self._loss = before.to(pl_module.device, widest(pl_module.device))
        self._is_packed = is_packed(encoder_of(pl_module))
        self._between = "data"
        self._begin()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        self._end(self._between)
        self._between = "data"
        self._sizes = self._sizes + _sizes(batch, None if self._is_packed else max_tokens(pl_module))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._end("forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("backward")

    def after_batch(self, trainer: Trainer, module: LightningModule, outputs: Any, is_step: bool) -> None:
        self._end("optimizer")
        assert self._loss is not None
        loss = _batch_loss(trainer, module, outputs)
        if loss is not None:
            seen = torch.stack([loss, torch.ones_like(loss)]).to(self._loss)
            smoothed = self._loss * self.smoothing + seen * (1 - self.smoothing)
            self._loss = torch.where(loss.isfinite(), smoothed, self._loss)
        if is_step and self.looks_at(trainer.global_step):
            times = torch.tensor([*self._seconds.values(), _peak_memory_mb(module.device)])
            self.reading = torch.cat([self._loss, self._sizes.to(self._loss), times.to(self._loss)])
            self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("data")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end("validation")
        self._between = "validation"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(self._between)
        if trainer.is_global_zero:
            after = {f"{layout.SECONDS_AFTER}{phase}": value for phase, value in self._seconds.items()}
            log_scalars(trainer, after)

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        loss, weight = readings[:, :2].mean(dim=0).tolist()
        tokens, places, sequences = readings[:, 2:5].sum(dim=0).tolist()
        spent = dict(zip(PHASES, readings[0, 5:-1].tolist(), strict=True))
        training = sum(spent.values()) - spent["validation"]
        return {
            **({layout.TRAIN_LOSS_SMOOTHED: loss / weight} if weight else {}),
            **({layout.TOKENS_PER_SECOND: tokens / training} if places else {}),
            layout.SEQUENCES_PER_SECOND: sequences / training,
            **({layout.PADDING_RATIO: 1 - tokens / places} if places else {}),
            layout.PEAK_MEMORY: float(readings[:, -1].max()),
            **{f"{layout.SECONDS}{phase}": value for phase, value in spent.items()},
        }

    def _begin(self) -> None:
        self._sizes = 0
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._mark = time.perf_counter()

    def _end(self, phase: str) -> None:
        now = time.perf_counter()
        self._seconds[phase] += now - self._mark
        self._mark = now


def _batch_loss(trainer: Trainer, module: LightningModule, outputs: Any) -> Tensor | None:
    """Return the mean over the batch; ``None`` if the module skipped it."""
    if outputs is None or outputs.get("loss") is None:
        return None
    own = batch_loss(module)
    # Lightning has divided its loss by the number of batches in a window
    return outputs["loss"].detach() * trainer.accumulate_grad_batches if own is None else own


def _sizes(batch: Any, max_padded_tokens: int | None) -> Tensor:
    """Return ``(3,)``: real tokens, tokens with padding, sequences; the first two are 0 for a batch without a mask.

    Args:
        batch: our batch, or the batch of another module.
        max_padded_tokens: our batch is padded in pieces of at most this many tokens; ``None`` = it is packed.
    """
    if isinstance(batch, PretrainingBatch):  # whose texts pass up to three times
        batch = batch.text
    if isinstance(batch, TextBatch):
        places = batch.num_tokens
        if max_padded_tokens is not None:
            pieces = batch.split(max_padded_tokens)
            places = sum(piece.num_sequences * max(piece.lengths, default=0) for piece in pieces)
        return torch.tensor([batch.num_tokens, places, len(batch)])
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if mask is None:
        return torch.tensor([0, 0, extract_batch_size(batch)])
    tokens = mask.sum()
    return torch.stack([tokens, torch.full_like(tokens, mask.numel()), torch.full_like(tokens, len(mask))])


def _peak_memory_mb(device: torch.device) -> float:
    """Return the peak of the GPU's allocator, or of the process; NaN on Windows, which doesn't report it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
