"""The objective of a training step: the loss of the labels, and terms added to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from bert_ft.data.packing import TextBatch
from bert_ft.limits import NotNegative, Positive, check_limits
from bert_ft.models.classifier import Classifier
from bert_ft.nn.adversarial import fgm_perturbation
from bert_ft.nn.losses import RowLoss, SupervisedContrastive
from bert_ft.nn.precision import at_least_float32
from bert_ft.tasks.task import Task

# float16 gradients of single values can underflow; the scale cancels in the perturbation
_GRADIENT_SCALE = 2.0**10


@dataclass(frozen=True)
class LossTerms:
    """Terms added to the loss of the labels; a weight of 0 disables a term.

    Attributes:
        contrastive_weight: weight of ``SupervisedContrastive`` on the head's input vectors.
        contrastive_temperature: its temperature.
        r_drop_weight: weight of the divergence of two passes with different dropout; the loss of the labels is then the
            mean over both passes.
        adversarial_epsilon: length of the perturbation of the word embeddings of each text, or of each window of one.
        adversarial_weight: weight of the loss of the perturbed texts.
    """

    contrastive_weight: NotNegative = 0.0
    contrastive_temperature: Positive = 0.1
    r_drop_weight: NotNegative = 0.0
    adversarial_epsilon: NotNegative = 0.0
    adversarial_weight: NotNegative = 1.0

    def __post_init__(self) -> None:
        check_limits("loss", self)


@dataclass(frozen=True)
class _Pass:
    """One pass over a batch: logits, the head's inputs, and the word embeddings of each part if requested."""

    logits: Tensor
    features: Tensor
    embeddings: list[Tensor]


class Objective(nn.Module):
    """The loss of a batch, with its terms by name.

    Args:
        loss: maps ``(logits, labels)`` to a scalar.
        terms: the added terms.
        task: says which labels are equal and how far apart two passes are; needed only by the contrastive term and R-Drop.
    """

    def __init__(self, loss: nn.Module, terms: LossTerms | None = None, task: Task | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.terms = terms or LossTerms()
        if task is None and (self.terms.contrastive_weight or self.terms.r_drop_weight):
            raise ValueError("the contrastive term and R-Drop need a task")
        self.task = task
        self.is_plain = bool(getattr(loss, "is_plain", False))
        self.contrastive = SupervisedContrastive(self.terms.contrastive_temperature)

    # of the latest batch, where it isn't what is minimized; the floor of a smoothed loss is above 0, and says little
    plain_loss: Tensor | None = None

    def forward(
        self, classifier: Classifier, batch: TextBatch, max_tokens: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar to minimize, and all terms (detached, unweighted); no terms if there is only the loss.

        A batch of more than ``max_tokens`` tokens is computed in parts, which are recomputed in the backward
        pass. This gives the result of the whole batch with the memory of one part.
        """
        labels = batch.labels
        assert labels is not None
        pieces = batch.split(max_tokens)
        terms = self.terms
        parts: dict[str, Tensor] = {}
        adversarial = terms.adversarial_epsilon > 0 and terms.adversarial_weight > 0
        first = _run(classifier, batch, pieces, wants_embeddings=adversarial)
        total = parts["labels"] = self.loss(first.logits, labels)
        if self.task is not None and not self.is_plain:
            with torch.no_grad():
                self.plain_loss = self.task.plain_loss(at_least_float32(first.logits.detach()), labels)
        if terms.contrastive_weight:
            assert self.task is not None
            parts["contrastive"] = self.contrastive(first.features, self.task.same_label(labels, labels))
        if terms.r_drop_weight:
            assert self.task is not None
            second = _run(classifier, batch, pieces)
            total = parts["labels"] = (total + self.loss(second.logits, labels)) / 2
            parts["r_drop"] = self._mean(
                self.task.divergence(at_least_float32(first.logits), at_least_float32(second.logits)), labels
            )
            total = total + terms.r_drop_weight * parts["r_drop"]
        if terms.contrastive_weight:
            total = total + terms.contrastive_weight * parts["contrastive"]
        if adversarial:
            perturbations = self._perturbations(parts["labels"], first.embeddings, pieces)
            perturbed = _run(classifier, batch, pieces, perturbations)
            parts["adversarial"] = self.loss(perturbed.logits, labels)
            total = total + terms.adversarial_weight * parts["adversarial"]
        return total, {name: value.detach() for name, value in parts.items()} if len(parts) > 1 else {}

    def weight(self, labels: Tensor) -> Tensor | int:
        """Return the denominator of the mean over a batch: its rows, or the sum of their weights."""
        return self.loss.total_weight(labels) if isinstance(self.loss, RowLoss) else len(labels)

    def _mean(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of ``(batch,)`` values, weighted as the loss weights its rows; ``weight`` is its denominator."""
        return self.loss.weighted_mean(values, labels) if isinstance(self.loss, RowLoss) else values.mean()

    def _perturbations(
        self, loss: Tensor, embeddings: list[Tensor], pieces: list[TextBatch]
    ) -> list[Tensor | None]:
        gradients = torch.autograd.grad(loss * _GRADIENT_SCALE, embeddings, retain_graph=True)
        return [
            _perturbation(gradient, self.terms.adversarial_epsilon, piece)
            for gradient, piece in zip(gradients, pieces, strict=True)
        ]


def _perturbation(gradient: Tensor, epsilon: float, piece: TextBatch) -> Tensor:
    """Do what ``fgm_perturbation`` does, for packed ``(1, num_tokens, dim)`` or padded ``(batch, longest, dim)``."""
    num_sequences, length, dim = gradient.shape
    if num_sequences == 1:
        cu_seqlens = piece.cu_seqlens
    else:
        cu_seqlens = length * torch.arange(num_sequences + 1, dtype=torch.int32, device=gradient.device)
    return fgm_perturbation(gradient.reshape(-1, dim), epsilon, cu_seqlens).view_as(gradient)


def _run(
    classifier: Classifier,
    batch: TextBatch,
    pieces: list[TextBatch],
    perturbations: list[Tensor | None] | None = None,
    *,
    wants_embeddings: bool = False,
) -> _Pass:
    def run(piece: TextBatch, perturbation: Tensor | None) -> tuple[Tensor, ...]:
        if perturbation is None and not wants_embeddings:
            return of_piece(classifier.vectors(piece))
        with _word_embeddings(classifier.encoder, perturbation) as seen:
            vectors = classifier.vectors(piece)
        return *of_piece(vectors), *(seen if wants_embeddings else ())

    def of_piece(vectors: Tensor) -> tuple[Tensor, ...]:
        # of windows only the vectors: a text may have windows in several pieces
        return (vectors,) if batch.cu_windows is not None else (classifier.logits(vectors), vectors)

    added = perturbations or [None] * len(pieces)
    if len(pieces) == 1:
        outputs = [run(pieces[0], added[0])]
    else:
        outputs = [
            checkpoint(run, piece, perturbation, use_reentrant=False)
            for piece, perturbation in zip(pieces, added, strict=True)
        ]
    if batch.cu_windows is not None:
        vectors, *embeddings = zip(*outputs, strict=True)
        features = classifier.of_windows(torch.cat(vectors), batch)
        logits = classifier.logits(features)
    else:
        of_pieces, *others = zip(*outputs, strict=True)
        logits, features, embeddings = torch.cat(of_pieces), torch.cat(others[0]), others[1:]
    return _Pass(logits, features, list(embeddings[0]) if embeddings else [])


@contextmanager
def _word_embeddings(encoder: PreTrainedModel, perturbation: Tensor | None) -> Iterator[list[Tensor]]:
    """Yield the word embeddings of the pass inside the context, after adding ``perturbation``."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if perturbation is not None:
            output = output + perturbation.to(output.dtype)
        elif not output.requires_grad and torch.is_grad_enabled():  # frozen
            output = output.detach().requires_grad_()
        seen.append(output)
        return output

    handle = encoder.get_input_embeddings().register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
