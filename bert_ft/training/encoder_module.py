"""Training common to all encoders: exact accumulation, layer-wise learning rates and their schedules, clipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from bert_ft import layout
from bert_ft.compat.lightning import end_epoch, is_fitting
from bert_ft.kernels.used_embedding_rows import decay_unused_rows, pending_decay, restore_pending_decay
from bert_ft.models.encoding import num_encoder_layers
from bert_ft.models.layer_names import layer_names
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.weight_decay import Constant, WeightDecayScheduler
from bert_ft.training.accumulation import AccumulationWindow, ends_window
from bert_ft.training.clipping import ClippedGradients, clip_gradients, parameters_of
from bert_ft.training.loss_scale import scaler_of, unscales_in_step
from bert_ft.training.resume import PENDING_DECAY_KEY, VAL_METRICS_KEY, WEIGHTS_KEY, WINDOW_KEY


class MultiplierSchedule(Protocol):
    """A learning-rate or weight-decay schedule."""

    def multiplier(self, total_steps: float) -> Callable[[int], float]:
        """Return the function from an optimizer step, counted from 0, to the multiplier of the optimizer's own value."""


class EncoderModule(LightningModule):
    """Train ``trained``, whose parameters are named ``encoder.*``, ``pooling.*`` and ``head.*``.

    ``training_step`` of a subclass must return the result of ``weighted``.

    Args:
        optimizer: builds the optimizer over layer-wise groups.
        schedule: learning-rate multiplier over all optimizer steps.
        weight_decay_schedule: weight-decay multiplier over all optimizer steps; ``None`` = constant.

    Attributes:
        clipped_gradients: norms of the latest optimizer step, if they were needed.
        has_initial_weights: whether the module is built with the weights at which training starts (for a
            resumed run: started).
        batch_loss: mean over the latest training batch, before it is weighted for accumulation.
    """

    clipped_gradients: ClippedGradients | None = None
    batch_loss: Tensor | None = None

    def __init__(
        self,
        *,
        optimizer: LayerwiseOptimizer,
        schedule: MultiplierSchedule,
        weight_decay_schedule: MultiplierSchedule | None = None,
    ) -> None:
        super().__init__()
        self.has_initial_weights = True
        self.optimizer = optimizer
        self.schedule = schedule
        self.weight_decay_schedule = weight_decay_schedule or Constant()
        self._window = AccumulationWindow()
        self._window_ends = True
        self._window_to_restore: dict[str, Any] | None = None
        self._decay_to_restore: list[float] = []
        self._weight_decay: WeightDecayScheduler | None = None

    @property
    def trained(self) -> nn.Module:
        """The module whose parameters are optimized."""
        raise TypeError(f"{type(self).__name__} must define `trained`")

    @property
    def trained_before(self) -> tuple[str, ...]:
        """Prefixes of parameters above the encoder that come from its checkpoint."""
        return ()

    @property
    def weights_name(self) -> str:
        """Which weights are validated and saved: ``raw``, or the name of the averaging."""
        return "raw"

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Validate the last weights even if ``max_steps`` ends training within an epoch that has validations."""
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True  # makes Lightning validate first; at max_steps it would just end

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the validation metrics of the weights with them.

        Also save the gradients of an accumulation window that isn't full, which a resumed run needs. With several processes each
        has its own gradients, and none are saved.
        """
        if "optimizer_states" in checkpoint and self.trainer.world_size == 1:
            checkpoint[WINDOW_KEY] = self._window.state(self.trained.named_parameters())
        checkpoint[PENDING_DECAY_KEY] = pending_decay(self.trained)
        checkpoint[VAL_METRICS_KEY] = split_metrics(self.trainer.callback_metrics, layout.VAL)
        checkpoint[WEIGHTS_KEY] = self.weights_name

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._window_to_restore = checkpoint.get(WINDOW_KEY)
        self._decay_to_restore = checkpoint.get(PENDING_DECAY_KEY, [])
        if self.trainer.max_steps != -1:
            end_epoch(checkpoint)

    def on_train_start(self) -> None:
        if self._window_to_restore is not None:
            self._window.restore(self._window_to_restore, self.trained.named_parameters())
            self._window_to_restore = None
        if self._decay_to_restore:
            restore_pending_decay(self.trained, self._decay_to_restore)
            self._decay_to_restore = []

    def on_validation_epoch_end(self) -> None:
        """Log a validation at the number of steps done, even within an accumulation window."""
        if is_fitting(self.trainer):
            # Lightning's loggers use the value of this name as the step of everything logged with it
            self.log("step", float(self.trainer.global_step))

    def try_training_step(self, batch: Any) -> Any:
        """Return the loss of a batch before training, without side effects."""
        window, self._window = self._window, AccumulationWindow()
        try:
            return self.training_step(batch, 0)
        finally:
            self._window, self.batch_loss = window, None

    def weighted(self, loss: Tensor, weight: Tensor | int, num_rows: int, batch_index: int) -> Tensor:
        """Return the loss to give to Lightning; see ``AccumulationWindow.add``."""
        self.batch_loss = loss.detach()
        self._window_ends = ends_window(self.trainer, batch_index)
        return self._window.add(loss, weight, num_rows)

    @property
    def accumulated_share(self) -> float | Tensor:
        """Return the share of a full window's mean gradient that the batches so far make up; 1 after the last."""
        return self._window.share(self.trainer.accumulate_grad_batches)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        super().backward(loss, *args, **kwargs)
        if self._window_ends:  # here, so that every later hook sees the final gradients
            self._window.finish(self.trained.parameters(), self.trainer.accumulate_grad_batches)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer, layer by layer (see ``bert_ft.optim.groups``)."""
        encoder = cast(PreTrainedModel, self.trained.encoder)
        return self.optimizer.groups(
            self.trained.named_parameters(),
            num_encoder_layers(encoder),
            self.trained_before,
            layer_names(encoder),
        )

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer.build(self.parameter_groups())
        decay_unused_rows(self.trained, optimizer)
        total_steps = self.trainer.estimated_stepping_batches
        scheduler = LambdaLR(optimizer, self.schedule.multiplier(total_steps))
        self._weight_decay = WeightDecayScheduler(
            optimizer, self.weight_decay_schedule.multiplier(total_steps)
        )
        self._weight_decay.step(0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        super().lr_scheduler_step(scheduler, metric)
        assert self._weight_decay is not None
        # together with the lr, so that both are logged as used in the next step
        self._weight_decay.step(self.trainer.global_step)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and log the norm before and after.

        This also works for a fused optimizer under mixed precision. Lightning refuses it, since such an optimizer unscales
        gradients only in its step. Here they are unscaled before clipping, and torch's scaler doesn't unscale them again.
        Sharded strategies clip in their own way, and nothing is logged.
        """
        if not isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        scaler = scaler_of(self.trainer)
        if scaler is not None and unscales_in_step(optimizer):
            scaler.unscale_(optimizer)
        self.clipped_gradients = None
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning sets it late
        if not gradient_clip_val and (self.trainer.global_step + 1) % every:
            return  # nothing reads the norm
        clipped = clip_gradients(
            parameters_of(optimizer), gradient_clip_val, gradient_clip_algorithm or "norm"
        )
        self.log_dict({layout.GRAD_NORM: clipped.before, layout.GRAD_NORM_CLIPPED: clipped.after})
        self.clipped_gradients = clipped


def split_metrics(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Return the metrics of one split as plain floats, without the split's prefix."""
    return {
        name.removeprefix(prefix): float(value) for name, value in metrics.items() if name.startswith(prefix)
    }
