"""Attention of each head, in the same few texts throughout training."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bert_ft import layout
from bert_ft.callbacks.monitor import log_scalars
from bert_ft.callbacks.monitor_files import drop_later, save_arrays
from bert_ft.callbacks.monitored import tokenizer_of, validation_split
from bert_ft.callbacks.validation_outputs import in_training
from bert_ft.data.packing import TextBatch, pack
from bert_ft.errors import ConfigError
from bert_ft.limits import Count, CountOrZero, TwoOrMore, within_limits
from bert_ft.models.attention_maps import attention_maps, eager_twin
from bert_ft.models.parameter_layers import encoder_of
from bert_ft.nn.attention_statistics import attention_statistics
from bert_ft.nn.precision import at_least_float32

log = logging.getLogger(__name__)


class AttentionMonitor(Callback):
    """Statistics of all heads before training and at each validation, and the whole attention of a few texts.

    It looks at the validated weights, averaged or not, in the precision of the validation, and changes nothing. Each
    layer's ``attention/layer.<i>/<statistic>`` is the mean over its heads; see ``bert_ft.nn.attention_statistics``.

    The folder gets ``attention_<step>.npz`` with each statistic ``(layers, heads)``, averaged over the tokens of all
    texts, and for the ``k``-th pictured text, from 0, ``text_<k>_tokens`` ``(length,)`` and ``text_<k>_attention``
    float16 ``(layers, heads, length, length)``. Without a tokenizer the tokens are ids.

    The texts are the first ones of the validation split. If the data module isn't ours, they are taken from
    the first validation batch, a mapping with ``input_ids`` and ``attention_mask``, and nothing is computed
    before training.

    Args:
        num_texts: number of texts to look at.
        num_pictured: save the whole attention of this many of them.
        sentences: save the attention of these texts instead, which needs a ``tokenizer``.
        max_tokens: cut longer texts, but keep their last token (``[SEP]``).
    """

    @within_limits("monitor.attention")
    def __init__(
        self,
        folder: Path | str,
        *,
        num_texts: Count = 8,
        num_pictured: CountOrZero = 2,
        sentences: Sequence[str] | None = None,
        max_tokens: TwoOrMore = 48,
    ) -> None:
        self.folder = Path(folder)
        self.num_texts = num_texts
        self.num_pictured = num_pictured
        self.sentences = sentences
        self.max_tokens = max_tokens
        self._has_warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            drop_later(self.folder, layout.ATTENTION_MAPS, trainer.global_step)
        # a resumed run has already looked at this step, perhaps at an average that isn't in the module now
        if not self._file(trainer).exists():
            self._look(trainer, pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # not at the start or end of a validation, where other callbacks swap the weights
        if batch_idx == 0 and dataloader_idx == 0 and in_training(trainer):
            self._look(trainer, pl_module, batch)

    def _file(self, trainer: Trainer) -> Path:
        return self.folder / layout.monitor_file(layout.ATTENTION_MAPS, trainer.global_step)

    def _look(self, trainer: Trainer, pl_module: LightningModule, batch: Any = None) -> None:
        try:
            encoder = encoder_of(pl_module)
        except TypeError as error:
            raise ConfigError(
                f"monitor: attention: {type(pl_module).__name__} contains no transformers encoder; remove the monitor"
            ) from error
        split = validation_split(trainer)
        if split is not None:
            rows = np.arange(min(self.num_texts, len(split)))
            first = [np.zeros(1, np.int64)] * len(rows)  # of several windows of a text
            texts = self._cut(*split.sequences(rows, first))
        else:
            texts = self._cut(*_of_padded(batch, self.num_texts))
        if batch is not None and not texts:
            self._warn("validation batches have no input_ids")
        if not trainer.is_global_zero or not texts:
            return
        sentences = self._sentences(trainer, pl_module)
        twin = eager_twin(encoder)
        with trainer.precision_plugin.val_step_context():
            maps = [attention_maps(twin, text.to(pl_module.device)) for text in [*texts, *sentences]]
        found = [at_least_float32(one) for one in maps if one is not None]
        if len(found) < len(maps):
            self._warn(f"{encoder.config.model_type} has no token-to-token attention")
            return
        pictured = list(zip([*texts, *sentences], found, strict=True))
        pictured = pictured[len(texts) :] if sentences else pictured[: self.num_pictured]
        arrays = self._statistics(trainer, found[: len(texts)])
        for number, (text, attention) in enumerate(pictured):
            arrays[f"text_{number}_tokens"] = np.array(_tokens(trainer, pl_module, text))
            arrays[f"text_{number}_attention"] = attention.half().cpu().numpy()
        save_arrays(self._file(trainer), arrays)

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning("monitor: attention: %s; there is nothing to show", reason)

    def _sentences(self, trainer: Trainer, pl_module: LightningModule) -> list[TextBatch]:
        if not self.sentences:
            return []
        tokenizer = tokenizer_of(trainer, pl_module)
        if tokenizer is None:
            raise ConfigError(
                "monitor.attention.sentences: neither the data module nor the module has a `tokenizer`; add "
                "one, or set this key to null"
            )
        encoded = {name: list(map(np.array, rows)) for name, rows in tokenizer(list(self.sentences)).items()}
        return self._cut(encoded["input_ids"], encoded.get("token_type_ids"))

    def _cut(self, sequences: Sequence[np.ndarray], types: Sequence[np.ndarray] | None) -> list[TextBatch]:
        texts = []
        for row, ids in enumerate(sequences):
            kept = np.arange(len(ids))
            if len(ids) > self.max_tokens:
                kept = np.append(kept[: self.max_tokens - 1], kept[-1])
            if len(ids):
                types_of_row = None if types is None else [types[row][kept]]
                texts.append(pack([ids[kept]], [row], token_type_ids=types_of_row))
        return texts

    def _statistics(self, trainer: Trainer, maps: list[Tensor]) -> dict[str, np.ndarray]:
        """Return each statistic ``(layers, heads)`` over the tokens of all texts, and log the means of the layers."""
        of_texts = [attention_statistics(one) for one in maps]
        arrays = {
            name: torch.cat([one[name] for one in of_texts], dim=-1).mean(-1).cpu().numpy().astype(np.float32)
            for name in of_texts[0]
        }
        scalars = {
            layout.tag(layout.ATTENTION, f"layer.{layer}", name): float(heads.mean())
            for name, values in arrays.items()
            for layer, heads in enumerate(values)
        }
        log_scalars(trainer, {name: value for name, value in scalars.items() if math.isfinite(value)})
        return arrays


def _of_padded(batch: Any, num_texts: int) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Return ids and any token types of a batch's first texts, from a batch of transformers' collators."""
    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        return [], None
    ids = batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids))[:num_texts].bool().cpu().numpy()
    types = batch.get("token_type_ids")

    def rows(values: Tensor) -> list[np.ndarray]:
        return [row[kept] for row, kept in zip(values[:num_texts].cpu().numpy(), mask, strict=True)]

    return rows(ids), None if types is None else rows(types)


def _tokens(trainer: Trainer, pl_module: LightningModule, text: TextBatch) -> list[str]:
    ids = text.input_ids.tolist()
    tokenizer = tokenizer_of(trainer, pl_module)
    return [str(token) for token in ids] if tokenizer is None else tokenizer.convert_ids_to_tokens(ids)
