"""A pretrainer as a LightningModule: the step, and the metrics of held-out texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from bert_ft import layout
from bert_ft.compat.lightning import is_fitting
from bert_ft.data.pretraining_batches import PretrainingBatch
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.nn.contrastive import alignment, uniformity
from bert_ft.nn.precision import widest
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.tasks.task import Task
from bert_ft.training.encoder_module import EncoderModule, MultiplierSchedule
from bert_ft.training.pretraining_objective import MaskedTokens, PretrainingObjective, Views

# Uniformity is near 0 if all vectors are the same. This value corresponds to a mean cosine of 0.975.
COLLAPSED = -0.1
HELD_OUT_SEED = 0  # of the dropout in validations: always the same, so that they are comparable
# sums over the held-out texts
_SUMS = ("nats", "right", "targets", "contrastive", "alignment", "rows", "potential", "pairs")

log = logging.getLogger(__name__)


class PretrainingModule(EncoderModule):
    """Train a ``Pretrainer`` on ``PretrainingBatch``es.

    In an accumulation window a batch's weight is its number of masked tokens, so that the masked-token loss is the mean over
    all masked tokens of the window; without masking it is its number of texts. With a contrastive loss, a batch without masked
    tokens has weight one.

    Args:
        pretrainer: the model.
        objective: what training minimizes; its terms are also measured on held-out texts.
        optimizer: builds the optimizer over layer-wise groups.
        schedule: learning-rate multiplier over all optimizer steps.
        max_tokens: a batch of more tokens is computed in parts.
        head_is_fresh: whether the masked-LM head started at random; a pre-trained one gets the learning rate
            of a layer.
        task: says which labels are the same, if ``objective`` is supervised.
    """

    def __init__(
        self,
        pretrainer: Pretrainer,
        *,
        objective: PretrainingObjective,
        optimizer: LayerwiseOptimizer,
        schedule: MultiplierSchedule,
        max_tokens: int,
        head_is_fresh: bool = True,
        task: Task | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.pretrainer = pretrainer
        self.objective = objective
        self.max_tokens = max_tokens
        self.head_is_fresh = head_is_fresh
        self.task = task
        self._sums: Tensor | None = None
        self._has_collapsed = False

    @property
    def trained(self) -> Pretrainer:
        return self.pretrainer

    @property
    def trained_before(self) -> tuple[str, ...]:
        return () if self.head_is_fresh else ("head.mlm.",)

    def training_step(self, batch: PretrainingBatch, batch_index: int) -> Tensor:
        masked, views = self._masked_tokens(batch), self._views(batch)
        loss = self.objective.total(masked, views)
        weight: Tensor | int = len(batch)
        if masked is not None:
            weight = masked.num_targets
            if views is not None:
                weight = torch.where(weight > 0, weight, 1.0)
        seen = {layout.TRAIN_LOSS: loss.detach()}
        if masked is not None:
            seen |= {f"{layout.TRAIN_LOSS}_mlm": masked.loss.detach()}
            assert batch.masked is not None
            if num_targets := len(batch.masked.targets):  # of this process
                seen |= {f"{layout.TRAIN}{layout.MASKED_ACCURACY}": masked.num_correct / num_targets}
        if views is not None:
            first, second = views.first.detach(), views.second.detach()
            seen |= {f"{layout.TRAIN_LOSS}_contrastive": views.loss.detach()}
            seen |= {
                f"{layout.TRAIN}{layout.ALIGNMENT}": alignment(first, second),
                f"{layout.TRAIN}{layout.UNIFORMITY}": uniformity(first),
            }
        self.log(layout.TRAIN_LOSS, seen.pop(layout.TRAIN_LOSS), batch_size=len(batch), prog_bar=True)
        self.log_dict(seen, batch_size=len(batch))
        return self.weighted(loss, weight, len(batch), batch_index)

    def on_validation_epoch_start(self) -> None:
        self._sums = torch.zeros(len(_SUMS), dtype=widest(self.device), device=self.device)

    def validation_step(self, batch: PretrainingBatch, batch_index: int) -> None:
        """Add the batch's sums."""
        masked = self._masked_tokens(batch, alone=True)
        with self._dropout(batch_index):
            views = self._views(batch, alone=True)
        assert self._sums is not None
        self._sums += _sums(masked, views, len(batch), torch.zeros_like(self._sums[0]))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        assert self._sums is not None
        if self.trainer.world_size > 1:
            distributed.all_reduce(self._sums)
        found = held_out_metrics(dict(zip(_SUMS, self._sums.tolist(), strict=True)), self.objective)
        self.log_dict({f"{layout.VAL}{name}": value for name, value in found.items()}, sync_dist=True)
        is_training = is_fitting(self.trainer) and not self.trainer.sanity_checking
        is_over = is_training and found.get("uniformity", -1.0) > COLLAPSED
        if is_over and not self._has_collapsed:  # warn only once
            self._has_collapsed = True
            log.warning(
                "pretrain, step %d: the vectors of all texts have become nearly the same (uniformity %.2f; -2 to -4 is "
                "usual); lower pretrain.optimizer.lr or pretrain.temperature, or raise pretrain.batch_size",
                self.trainer.global_step,
                found["uniformity"],
            )

    def _masked_tokens(self, batch: PretrainingBatch, *, alone: bool = False) -> MaskedTokens | None:
        if batch.masked is None:
            return None
        return self.objective.masked_tokens(self.pretrainer, batch.masked, self.max_tokens, alone=alone)

    def _views(self, batch: PretrainingBatch, *, alone: bool = False) -> Views | None:
        if not self.objective.contrastive_weight:
            return None
        same_label = None if self.task is None else self.task.same_label
        return self.objective.views(
            self.pretrainer, batch, self.max_tokens, same_label=same_label, alone=alone
        )

    @contextmanager
    def _dropout(self, batch_index: int) -> Iterator[None]:
        """Enable dropout in a validation, so that two views differ, without changing training's random numbers."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(HELD_OUT_SEED + batch_index)
            self.pretrainer.train()
            try:
                yield
            finally:
                self.pretrainer.eval()


def held_out_metrics(sums: dict[str, float], objective: PretrainingObjective) -> dict[str, float]:
    """Return the metrics to log, from sums over all held-out texts; a term with weight 0 is left out."""
    found: dict[str, float] = {"loss": 0.0}
    if objective.mlm_weight:
        loss = _ratio(sums["nats"], sums["targets"])
        found |= {"loss_mlm": loss, "perplexity": _exp(loss)}
        found |= {"masked_accuracy": _ratio(sums["right"], sums["targets"])}
        found["loss"] += objective.mlm_weight * loss
    if objective.contrastive_weight:
        loss = _ratio(sums["contrastive"], sums["rows"])
        found |= {"loss_contrastive": loss, "alignment": _ratio(sums["alignment"], sums["rows"])}
        potential = _ratio(sums["potential"], sums["pairs"])
        if potential > 0:  # NaN if there is no pair
            found["uniformity"] = math.log(potential)
        found["loss"] += objective.contrastive_weight * loss
    return found


def _sums(masked: MaskedTokens | None, views: Views | None, num_rows: int, zero: Tensor) -> Tensor:
    """Return a batch's sums, ``(len(_SUMS),)``, with the dtype and device of ``zero``."""
    nats = right = targets = contrastive = aligned = potential = zero
    num_pairs = num_rows * (num_rows - 1) // 2
    if masked is not None:
        nats, right, targets = masked.loss * masked.num_targets, masked.num_correct, masked.num_targets
    if views is not None:
        contrastive, aligned = views.loss * num_rows, alignment(views.first, views.second) * num_rows
        if num_pairs:
            potential = uniformity(views.first).exp() * num_pairs
    values = (nats, right, targets, contrastive, aligned, zero + num_rows, potential, zero + num_pairs)
    return torch.stack([value.to(zero) for value in values])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
