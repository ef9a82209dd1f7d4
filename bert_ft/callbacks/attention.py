"""What each attention head looks at, on the same few texts throughout training."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from bert_ft.callbacks.monitor import log_scalars
from bert_ft.callbacks.monitor_files import save_arrays
from bert_ft.callbacks.validation_outputs import in_training
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.packing import TextBatch, pack
from bert_ft.errors import ConfigError
from bert_ft.models.anatomy import encoder_of
from bert_ft.models.attention_maps import attention_maps, eager_twin
from bert_ft.nn.attention_statistics import attention_statistics
from bert_ft.nn.precision import at_least_float32

log = logging.getLogger(__name__)


class AttentionMonitor(Callback):
    """Statistics of all heads before training and at each validation, and the whole attention of a few texts.

    It looks at the weights that are validated, averaged ones included, in the precision of the validation, and changes
    nothing. Each layer's ``attention/layer.<i>/<statistic>`` is the mean over its heads; see
    ``bert_ft.nn.attention_statistics``.

    The folder gets ``attention_<step>.npz`` with each statistic ``(layers, heads)``, averaged over the tokens of all
    texts, and for the ``k``-th pictured text, from 0, ``text_<k>_tokens`` ``(length,)`` and ``text_<k>_attention``
    float16 ``(layers, heads, length, length)``. Tokens are ids where nobody has a tokenizer.

    Args:
        folder: where the files go.
        num_texts: how many rows of the validation split, from the first on, are looked at.
        num_pictured: of how many of these the attention itself is saved.
        max_tokens: a longer text is cut to so many, its last token (``[SEP]``) kept.
    """

    def __init__(
        self, folder: Path | str, *, num_texts: int = 8, num_pictured: int = 2, max_tokens: int = 48
    ) -> None:
        for name, value, least in (
            ("num_texts", num_texts, 1),
            ("num_pictured", num_pictured, 0),
            ("max_tokens", max_tokens, 2),
        ):
            if value < least:
                raise ConfigError(f"monitor: {name}={value} must be at least {least}")
        self.folder = Path(folder)
        self.num_texts = num_texts
        self.num_pictured = num_pictured
        self.max_tokens = max_tokens
        self._has_warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # not when the validation starts or ends: before or after us others swap the weights there
        if batch_idx == 0 and dataloader_idx == 0 and in_training(trainer):
            self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        encoder = _encoder(pl_module)
        texts = self._texts(trainer)
        if not trainer.is_global_zero or not texts:
            return
        twin = eager_twin(encoder)
        with trainer.precision_plugin.val_step_context():
            maps = [attention_maps(twin, text.to(pl_module.device)) for text in texts]
        found = [at_least_float32(one) for one in maps if one is not None]
        if len(found) == len(texts):
            self._report(trainer, found, [_tokens(trainer, pl_module, text) for text in texts])
        elif not self._has_warned:
            self._has_warned = True
            log.warning(
                "monitor: attention: %s gives no attention of tokens to tokens; there is nothing to show",
                encoder.config.model_type,
            )

    def _texts(self, trainer: Trainer) -> list[TextBatch]:
        split = _validation_split(trainer)
        sequences, types = split.sequences(range(min(self.num_texts, len(split))))
        texts = []
        for row, ids in enumerate(sequences):
            kept = np.arange(len(ids))
            if len(ids) > self.max_tokens:
                kept = np.append(kept[: self.max_tokens - 1], kept[-1])
            if len(ids):
                types_of_row = None if types is None else [types[row][kept]]
                texts.append(pack([ids[kept]], [row], token_type_ids=types_of_row))
        return texts

    def _report(self, trainer: Trainer, maps: list[Tensor], tokens: list[list[str]]) -> None:
        statistics = _means([attention_statistics(one) for one in maps])
        arrays = {name: values.cpu().numpy().astype(np.float32) for name, values in statistics.items()}
        scalars = {
            f"attention/layer.{layer}/{name}": float(heads.mean())
            for name, values in arrays.items()
            for layer, heads in enumerate(values)
        }
        log_scalars(trainer, {name: value for name, value in scalars.items() if math.isfinite(value)})
        for number in range(min(self.num_pictured, len(maps))):
            arrays[f"text_{number}_tokens"] = np.array(tokens[number])
            arrays[f"text_{number}_attention"] = maps[number].half().cpu().numpy()
        save_arrays(self.folder / f"attention_{trainer.global_step}.npz", arrays)


def _encoder(pl_module: LightningModule) -> Any:
    try:
        return encoder_of(pl_module)
    except TypeError as error:
        raise ConfigError(
            f"monitor: attention: {type(pl_module).__name__} has no encoder of transformers in it; leave the "
            "monitor out"
        ) from error


def _validation_split(trainer: Trainer) -> TokenizedSplit:
    data = getattr(trainer.datamodule, "data", None)  # type: ignore[attr-defined]  # Lightning sets it late
    split = getattr(data, "splits", {}).get("validation")
    if split is None:
        raise ConfigError(
            "monitor: attention: its texts come from trainer.datamodule.data.splits['validation'], which there isn't; "
            "give one, or leave the monitor out"
        )
    return split


def _tokens(trainer: Trainer, pl_module: LightningModule, text: TextBatch) -> list[str]:
    ids = text.input_ids.tolist()
    for owner in (trainer.datamodule, pl_module):  # type: ignore[attr-defined]  # Lightning sets it late
        tokenizer = getattr(owner, "tokenizer", None)
        if tokenizer is not None:
            return tokenizer.convert_ids_to_tokens(ids)
    return [str(token) for token in ids]


def _means(statistics: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """``(layers, heads)`` of each, over the tokens of all texts."""
    return {name: torch.cat([one[name] for one in statistics], dim=-1).mean(-1) for name in statistics[0]}
