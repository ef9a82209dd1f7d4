"""The objective of a pre-training step: a weighted sum of masked-token and contrastive loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import TextBatch
from bert_ft.data.pretraining_batches import PretrainingBatch
from bert_ft.errors import ConfigError
from bert_ft.limits import NotNegative, Positive, check_limits
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.nn.contrastive import simcse_loss, supervised_loss
from bert_ft.nn.precision import at_least_float32

Piece = TypeVar("Piece")
Outputs = TypeVar("Outputs", bound=tuple[Tensor, ...])
SameLabel = Callable[[Tensor, Tensor], Tensor]  # of targets and other targets, (num, num_others)


@dataclass(frozen=True)
class MaskedTokens:
    """Result of predicting the masked tokens.

    Attributes:
        loss: scalar, the sum of their cross entropies in nats divided by ``num_targets``; 0 if there are none.
        num_correct: scalar, number of correct predictions.
        num_targets: scalar in the loss's dtype, number of masked tokens; the mean over the processes, so that the mean of the
            processes' losses is the mean over all tokens.
    """

    loss: Tensor
    num_correct: Tensor
    num_targets: Tensor


@dataclass(frozen=True)
class Views:
    """Two passes over the same texts with different dropout.

    Attributes:
        first: ``(num_sequences, hidden_size)``, the text vectors.
        second: ``(num_sequences, hidden_size)``, the text vectors of the second pass.
        loss: scalar, the contrastive loss of the projected vectors.
    """

    first: Tensor
    second: Tensor
    loss: Tensor


@dataclass(frozen=True)
class PretrainingObjective:
    """The loss of a batch.

    Attributes:
        mlm_weight: weight of the masked-token loss; 0 = no tokens are predicted.
        contrastive_weight: weight of the contrastive loss; 0 = no vectors are compared.
        supervised: whether all texts of a label are pulled together, not only two views of a text.
        temperature: divisor of the similarities.
    """

    mlm_weight: NotNegative = 1.0
    contrastive_weight: NotNegative = 0.0
    supervised: bool = False
    temperature: Positive = 0.05

    def __post_init__(self) -> None:
        check_limits("pretrain", self)
        if not self.mlm_weight and not self.contrastive_weight:
            raise ConfigError("mlm_weight=0: contrastive_weight is also 0, so nothing is trained")

    def masked_tokens(
        self, pretrainer: Pretrainer, batch: MaskedBatch, max_tokens: int, *, alone: bool = False
    ) -> MaskedTokens:
        """Predict all targets of the batch, in parts of ``max_tokens`` tokens (see ``bert_ft.training.objective``).

        ``alone``: ignore the batches of other processes.
        """

        def run(piece: MaskedBatch) -> tuple[Tensor, Tensor]:
            logits, targets = at_least_float32(pretrainer.token_logits(piece)), piece.targets
            return F.cross_entropy(logits, targets, reduction="sum"), (logits.argmax(-1) == targets).sum()

        losses, right = zip(*_each(run, batch.split(max_tokens)), strict=True)
        loss = torch.stack(losses).sum()
        num_targets = batch.is_target.sum().to(loss.dtype)
        if not alone and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(num_targets)
            num_targets = num_targets / distributed.get_world_size()
        tiny = torch.finfo(loss.dtype).tiny
        return MaskedTokens(loss / num_targets.clamp(min=tiny), torch.stack(right).sum(), num_targets)

    def views(
        self,
        pretrainer: Pretrainer,
        batch: PretrainingBatch,
        max_tokens: int,
        *,
        same_label: SameLabel | None = None,
        alone: bool = False,
    ) -> Views:
        """Return two passes of the encoder, which must be in training mode.

        ``same_label`` is the task's function, needed if ``supervised``; see ``simcse_loss`` for ``alone``.
        """

        def run(piece: TextBatch) -> tuple[Tensor]:
            return (pretrainer.features(piece),)

        pieces = batch.text.split(max_tokens)
        first, second = (torch.cat([vectors for (vectors,) in _each(run, pieces)]) for _ in range(2))
        projected = pretrainer.project(first), pretrainer.project(second)
        if self.supervised:
            assert batch.text.labels is not None
            assert same_label is not None
            groups = batch.text.labels, batch.text_keys
            loss = supervised_loss(*projected, *groups, self.temperature, same_label=same_label, alone=alone)
        else:
            loss = simcse_loss(*projected, batch.text_keys, self.temperature, alone=alone)
        return Views(first, second, loss)

    def total(self, masked: MaskedTokens | None, views: Views | None) -> Tensor:
        """Return the weighted sum of the computed losses."""
        terms = [] if masked is None else [self.mlm_weight * masked.loss]
        terms += [] if views is None else [self.contrastive_weight * views.loss]
        return torch.stack(terms).sum()


def _each(run: Callable[[Piece], Outputs], pieces: Sequence[Piece]) -> list[Outputs]:
    """Return ``run(part)`` for each part; several parts are recomputed in the backward pass to save memory."""
    if len(pieces) == 1:
        return [run(pieces[0])]
    return [checkpoint(run, piece, use_reentrant=False) for piece in pieces]
