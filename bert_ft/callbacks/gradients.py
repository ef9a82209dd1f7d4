"""Gradients of each layer, how often they are clipped, and where the first non-finite one is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from bert_ft import layout
from bert_ft.callbacks.monitor import Monitor
from bert_ft.callbacks.monitored import clipped_gradients, tells_clipping
from bert_ft.callbacks.noise_scale import NoiseScale
from bert_ft.limits import Count, within_limits
from bert_ft.models.parameter_layers import Layers
from bert_ft.nn.precision import widest
from bert_ft.training.clipping import ClippedGradients, clip_gradients, gradient_norms, parameters_of
from bert_ft.training.loss_scale import loss_scale, scaler_of, unscales_in_step

log = logging.getLogger(__name__)


class GradientMonitor(Monitor):
    """Each layer's gradient norm before and after clipping, the share of clipped steps, and non-finite steps.

    Every step that ``ClassificationModule`` clips is counted, since it then knows the norm of each parameter; without
    clipping, or with another module, only the monitored steps. A warning names the parameter nearest to the
    loss in the first non-finite step: the gradients of all below it follow from that one. With float16 there
    is no warning, since its loss scale is found by such steps.

    Args:
        histogram_every_n_steps: steps between histograms of the clipped gradients; see ``Monitor``.
        noise_scale: estimate the gradient noise scale (see ``NoiseScale``).
    """

    @within_limits("monitor.gradients")
    def __init__(
        self,
        *,
        every_n_steps: Count = 25,
        histogram_every_n_steps: Count | None = None,
        noise_scale: bool = False,
    ) -> None:
        super().__init__(every_n_steps=every_n_steps, histogram_every_n_steps=histogram_every_n_steps)
        self.noise_scale = noise_scale
        self._noise: NoiseScale | None = None
        self._layers: Layers | None = None
        self._numbers: tuple[list[int], Tensor] = ([], torch.zeros(0))
        self._before: ClippedGradients | None = None
        # steps, clipped ones, non-finite ones, the first of these, its parameter nearest to the loss
        self._judged: Tensor | None = None
        self._restored: dict[str, Any] = {}
        self._scales = False
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the counts that a resumed run continues."""
        if self._judged is None:
            return {}
        noise = None if self._noise is None else self._noise.averages.cpu()
        return {"judged": self._judged.cpu(), "noise": noise}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layers = Layers.of(pl_module)
        self._noise = NoiseScale(trainer, pl_module.device) if self.noise_scale else None
        self._scales = scaler_of(trainer) is not None
        judged = self._restored.get("judged", torch.tensor([0, 0, 0, -1, -1]))
        self._judged = judged.to(pl_module.device, widest(pl_module.device))
        noise = self._restored.get("noise")
        if self._noise is not None and noise is not None:
            self._noise.averages = noise.to(self._noise.averages)
        self._restored = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        if self._noise is not None:
            self._noise.begin_batch(batch)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._noise is not None:
            self._noise.after_backward(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Look at the gradients before clipping, if the module doesn't report its clipping."""
        if self._noise is not None:
            self._noise.before_step(trainer, pl_module, optimizer)
        self._before = None
        if not tells_clipping(pl_module) and self.looks_at(trainer.global_step + 1):
            self._before = _unclipped(optimizer, loss_scale(trainer) if unscales_in_step(optimizer) else 1.0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of non-finite gradients after the last monitored step."""
        if trainer.is_global_zero and self._judged is not None:
            self._warn(*self._judged[2:].tolist())

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        assert self._layers is not None
        names = self._layers.names
        steps, clipped, *first_bad = readings[0, :5].tolist()
        before, after = readings[0, 5 : 5 + 2 * len(names)].view(2, -1)
        self._warn(*first_bad)
        scalars = {
            f"{layout.GRADIENTS}{layout.NORM}": float(before.square().sum().sqrt()),
            f"{layout.GRADIENTS}{layout.NORM_CLIPPED}": float(after.square().sum().sqrt()),
            f"{layout.GRADIENTS}clipped_ratio": clipped / steps,
            f"{layout.GRADIENTS}nonfinite_steps": first_bad[0],
        }
        for name, norm, norm_clipped in zip(names, before.tolist(), after.tolist(), strict=True):
            scalars[layout.tag(layout.GRADIENTS, name, layout.NORM)] = norm
            scalars[layout.tag(layout.GRADIENTS, name, layout.NORM_CLIPPED)] = norm_clipped
        if self._noise is not None:
            noise, signal = readings[:, -2:].mean(dim=0).tolist()  # each process has its own first batch
            if signal > 0:
                scalars[f"{layout.GRADIENTS}noise_scale"] = noise / signal
        return scalars

    def _warn(self, num_bad: float, first_step: float, parameter: float) -> None:
        if num_bad and not self._scales and not self._warned:
            assert self._layers is not None
            self._warned = True
            name = list(self._layers.parameter_names.values())[int(parameter)]
            log.warning("step %d: non-finite gradient in %s, the one nearest to the loss", first_step, name)

    def after_batch(self, trainer: Trainer, module: LightningModule, outputs: Any, is_step: bool) -> None:
        """Look at the gradients of the step that is just done; Lightning clears them only in the next one."""
        if not is_step:
            return
        assert self._layers is not None
        assert self._judged is not None
        step = trainer.global_step
        seen = clipped_gradients(module) or self._before
        is_due = self.looks_at(step)
        if seen is None and is_due:  # our module, in a step in which it didn't need the norms
            seen = _unclipped(trainer.optimizers[0], 1.0)
        if seen is None or not seen.parameters:
            return
        gradients = {parameter: parameter.grad for parameter in seen.parameters if parameter.grad is not None}
        if len(gradients) < len(seen.parameters):
            return  # the module has already cleared them
        norms_after = gradient_norms(seen.parameters) if is_due else None
        after = seen.after if norms_after is None else torch.linalg.vector_norm(norms_after)
        self._judge(self._judged, seen, after, step)
        if norms_after is None:
            return
        self.reading = torch.cat(
            [
                self._judged,
                self._layers.norms(seen.parameters, seen.norms),
                self._layers.norms(seen.parameters, norms_after),
                *([] if self._noise is None else [self._noise.averages]),
            ]
        )
        if self.wants_histograms(step):
            self.keep_samples(trainer, layout.GRADIENTS, self._layers.samples(gradients))

    def _judge(self, judged: Tensor, seen: ClippedGradients, after: Tensor, step: int) -> None:
        """Count the step on the device, without waiting for it."""
        finite = seen.norms.isfinite()
        bad = ~finite.all()
        judged[0] += 1
        judged[1] += after < seen.before * (1 - 1e-4)  # norms that differ by rounding count as equal
        judged[2] += bad
        first = bad & (judged[3] < 0)
        judged[3] = torch.where(first, step, judged[3])
        # the backward pass goes from the last parameter to the first
        uppermost = torch.where(finite, -1, self._numbers_of(seen.parameters)).max()
        judged[4] = torch.where(first, uppermost, judged[4])

    def _numbers_of(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Return each parameter's index in the module; cached, since the same ones have gradients in most steps."""
        assert self._layers is not None
        ids, numbers = self._numbers
        if ids != (wanted := [id(parameter) for parameter in parameters]):
            order = {parameter: number for number, parameter in enumerate(self._layers.parameter_names)}
            found = [order[parameter] for parameter in parameters]
            numbers = torch.tensor(found, device=parameters[0].device)
            self._numbers = (wanted, numbers)
        return numbers


def _unclipped(optimizer: Optimizer, scale: float) -> ClippedGradients:
    seen = clip_gradients(parameters_of(optimizer), None, "norm")
    return replace(seen, norms=seen.norms / scale, before=seen.before / scale, after=seen.after / scale)
