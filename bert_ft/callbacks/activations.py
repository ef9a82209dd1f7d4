"""Activations of each layer: spread, size, dead values; and a warning about a layer that isn't healthy."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bert_ft import layout
from bert_ft.callbacks.health import sick_blocks
from bert_ft.callbacks.monitor import Monitor
from bert_ft.callbacks.monitored import caches_frozen_states
from bert_ft.compat.torch import is_in_backward
from bert_ft.limits import Count, NotNegative, within_limits
from bert_ft.models.parameter_layers import encoder_of
from bert_ft.models.sub_blocks import SubBlock, encoder_sub_blocks, head_sub_blocks
from bert_ft.nn.statistics import RAW, STATISTICS, merged, raw_moments, sampled, statistics
from bert_ft.training.accumulation import ends_window

log = logging.getLogger(__name__)


class ActivationMonitor(Monitor):
    """Mean, sd, max |x|, share near zero and kurtosis of each layer's sub-blocks and of the head, over real tokens.

    ``ClsPooling`` reads only [CLS] from the last layer, which is then computed, and monitored, for these
    tokens only. Hooks are on the modules only during the forward pass of a monitored step.

    Args:
        near_zero: values of at most this size count as near zero.
    """

    @within_limits("monitor.activations")
    def __init__(
        self,
        *,
        every_n_steps: Count = 25,
        histogram_every_n_steps: Count | None = None,
        near_zero: NotNegative = 1e-3,
    ) -> None:
        super().__init__(every_n_steps=every_n_steps, histogram_every_n_steps=histogram_every_n_steps)
        self.near_zero = near_zero
        self._blocks: list[SubBlock] = []
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, list[Tensor]] = {}
        self._samples: dict[str, Tensor] = {}
        self._calls: Counter[int] = Counter()
        self._shape: torch.Size | None = None  # (batch, longest) of a padded pass
        self._places = torch.zeros(0, dtype=torch.int64)  # of its real tokens, row after row
        self._in_packed_pass = False
        self._has_cache = False
        self._kinds: dict[str, str] = {}  # of the blocks in the reading, in its order
        self._warned: set[str] = set()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not (ends_window(trainer, batch_idx) and self.looks_at(trainer.global_step + 1)):
            return
        encoder = encoder_of(pl_module)
        self._blocks = encoder_sub_blocks(encoder) + head_sub_blocks(pl_module, encoder)
        self._has_cache = caches_frozen_states(pl_module)
        wants_histograms = self.wants_histograms(trainer.global_step + 1)
        self._handles = [
            encoder.register_forward_pre_hook(self._begin_pass, with_kwargs=True),
            encoder.register_forward_hook(self._end_pass),
        ]
        for block in self._blocks:
            hook = self._hook(block, wants_histograms)
            self._handles.append(block.module.register_forward_hook(hook))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not self._handles:
            return
        self._kinds = {
            name: block.kind for block in self._blocks for name in block.names if name in self._seen
        }
        if self._kinds:
            self.reading = torch.cat([merged(torch.stack(self._seen[name])) for name in self._kinds])
        elif not self._warned:
            self._warned.add("")
            log.warning("monitor: no activation was seen; torch.compile may have skipped the hooks")
        self.keep_samples(trainer, layout.ACTIVATIONS, self._samples.items())
        self._stop()

    def after_batch(self, trainer: Trainer, module: LightningModule, outputs: Any, is_step: bool) -> None:
        self._stop()  # a batch that the module skipped had no backward pass

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        self._stop()

    def scalars(self, readings: Tensor, step: int) -> dict[str, float]:
        found = statistics(merged(readings.view(len(readings), -1, len(RAW))))
        blocks = dict(zip(self._kinds, found.tolist(), strict=True))
        for name, complaint in sick_blocks(blocks, self._kinds).items():
            if name not in self._warned:  # once is enough
                self._warned.add(name)
                log.warning("step %d: %s %s", step, name, complaint)
        return {
            layout.tag(layout.ACTIVATIONS, name, statistic): value
            for name, values in blocks.items()
            for statistic, value in zip(STATISTICS, values, strict=True)
        }

    def _begin_pass(self, module: nn.Module, arguments: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        given = dict(zip(inspect.signature(module.forward).parameters, arguments, strict=False)) | inputs
        mask = given.get("attention_mask")
        self._shape = None
        if isinstance(mask, Tensor) and mask.ndim == 2:
            # once for all blocks: `nonzero` waits for a GPU
            self._shape, self._places = mask.shape, mask.flatten().nonzero().flatten()
        self._in_packed_pass = "layout" in given or "cu_seq_lens_q" in given

    def _end_pass(self, *_: Any) -> None:
        self._in_packed_pass = False

    def _hook(self, block: SubBlock, wants_histograms: bool) -> Any:
        def look(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            # a checkpointed layer is computed a second time in the backward pass
            if is_in_backward():
                return
            # the frozen part is computed once for each text, and not by all processes at the same time
            if self._has_cache and not torch.is_grad_enabled():
                return
            # transformers calls its pooler on the packed tokens as if they were one text; ours runs after the encoder
            if self._in_packed_pass and not block.names[0].startswith("layer."):
                return
            name = block.names[self._calls[id(block)] % len(block.names)]
            self._calls[id(block)] += 1
            # detached first: a checkpoint's recomputation would miss what autograd kept of the next lines
            values = (output[0] if isinstance(output, tuple) else output).detach()
            if self._shape is not None and values.ndim == 3 and values.shape[:2] == self._shape:
                values = values.flatten(0, 1).index_select(0, self._places)
            self._seen.setdefault(name, []).append(raw_moments(values, self.near_zero))
            if wants_histograms and name not in self._samples:
                self._samples[name] = sampled([values])

        return look

    def _stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._blocks, self._handles, self._seen, self._samples, self._shape = [], [], {}, {}, None
        self._in_packed_pass = False
        self._calls.clear()
