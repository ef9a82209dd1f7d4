"""Contrastive losses over pairs of views, and measures of collapse."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn

from bert_ft.nn.precision import at_least_float32, autocast_off

# shorter vectors have no direction, as in torch.nn.functional.normalize
_SHORTEST = 1e-12


def on_unit_sphere(vectors: Tensor) -> Tensor:
    """Return ``(..., hidden_size)`` scaled to length 1, in float32 at least.

    A vector shorter than 1e-12 becomes zeros, with a gradient of zero. torch's ``normalize`` would multiply its gradient
    by 1e12, and its derivative at that length is that of ``clamp`` at its bound.
    """
    vectors = at_least_float32(vectors)
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / lengths.masked_fill(lengths < _SHORTEST, torch.inf)


def contrastive_loss(
    anchors: Tensor, candidates: Tensor, positive: Tensor, ignored: Tensor, temperature: float
) -> Tensor:
    """Return minus the mean log-probability of an anchor's positives among its candidates, by cosine similarity.

    The mean is first over an anchor's positives, then over the anchors that have any; 0, with a gradient of zero, if
    none has. It is InfoNCE with one positive each, the supervised contrastive loss with several.

    Sources: van den Oord et al. 2018, arXiv 1807.03748; Khosla et al. 2020, arXiv 2004.11362, equation 2 (L_out),
    without the factor ``temperature / 0.07`` of their code.

    Args:
        anchors: ``(num_anchors, hidden_size)``.
        candidates: ``(num_candidates, hidden_size)``.
        positive: ``(num_anchors, num_candidates)`` bool, or their weights in the mean over an anchor's positives, 0 for negatives.
        ignored: ``(num_anchors, num_candidates)`` bool, neither positive nor negative.
        temperature: divisor of the similarities.
    """
    anchors, candidates = on_unit_sphere(anchors), on_unit_sphere(candidates)
    with autocast_off(anchors):
        similarity = anchors @ candidates.T / temperature
    # with -inf, a batch of one row would compute a NaN, at which detect_anomaly stops
    log_probs = similarity.masked_fill(ignored, torch.finfo(similarity.dtype).min).log_softmax(-1)
    weights = positive.masked_fill(ignored, 0)
    log_probs = log_probs.masked_fill(weights == 0, 0)
    total = weights.sum(-1)
    if positive.is_floating_point():
        per_anchor = -(log_probs * weights).sum(-1) / total.clamp(min=torch.finfo(weights.dtype).tiny)
    else:
        per_anchor = -log_probs.sum(-1) / total.clamp(min=1)
    return per_anchor.sum() / (total > 0).sum().clamp(min=1)


def simcse_loss(
    first: Tensor, second: Tensor, texts: Tensor, temperature: float, *, alone: bool = False
) -> Tensor:
    """Match each text's first view with its second, among the second views of all processes.

    Copies of a text aren't negatives of each other.

    Source: Gao et al. 2021, arXiv 2104.08821, equation 4.

    Args:
        first: ``(batch, hidden_size)``, vectors of the texts.
        second: ``(batch, hidden_size)``, of the same texts with different dropout.
        texts: ``(batch,)`` int64, equal for copies of a text.
        temperature: see ``contrastive_loss``.
        alone: use this process's texts only.
    """
    all_texts, candidates = (texts, second) if alone else (gathered(texts), gathered(second))
    own = _own_rows(len(first), len(all_texts), first.device)
    is_copy = (texts[:, None] == all_texts) & ~own
    return contrastive_loss(first, candidates, own, is_copy, temperature)


def supervised_loss(
    first: Tensor,
    second: Tensor,
    labels: Tensor,
    texts: Tensor,
    temperature: float,
    *,
    same_label: Callable[[Tensor, Tensor], Tensor],
    alone: bool = False,
) -> Tensor:
    """Match views of the same label with each other, among both views of the texts of all processes.

    Copies of a text that have different labels aren't negatives of each other. Arguments are those of ``simcse_loss``,
    and:

    Source: Khosla et al. 2020, arXiv 2004.11362.

    Args:
        labels: ``(batch, ...)``, the texts' targets.
        same_label: maps ``num`` and ``num_others`` targets to ``(num, num_others)``: which pairs are positives, or their weights.
    """
    views, labels, texts = torch.cat([first, second]), torch.cat([labels, labels]), texts.repeat(2)
    candidates, all_labels, all_texts = (
        values if alone else gathered(values) for values in (views, labels, texts)
    )
    itself = _own_rows(len(views), len(all_labels), views.device)
    positive = same_label(labels, all_labels)
    is_copy = (texts[:, None] == all_texts) & (positive == 0)
    return contrastive_loss(views, candidates, positive, itself | is_copy, temperature)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared distance of two views of a text on the unit sphere; 0 if they are equal.

    Source: Wang and Isola 2020, arXiv 2005.10242.
    """
    return (on_unit_sphere(first) - on_unit_sphere(second)).square().sum(-1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """Return the log of the mean of ``exp(-2 d²)`` over pairs of texts: 0 if all are equal, near -4 if spread.

    NaN for fewer than two texts. Source: Wang and Isola 2020, arXiv 2005.10242.
    """
    vectors = on_unit_sphere(vectors)
    if len(vectors) < 2:
        return vectors.new_tensor(float("nan"))
    return torch.pdist(vectors).square().mul(-2).exp().mean().log()


class Projection(nn.Sequential):
    """A linear layer and tanh for each size, between the pooled vector and a contrastive loss.

    It is dropped after pre-training, as in SimCSE (arXiv 2104.08821, section 6.3). Without sizes it is the identity.
    """

    def __init__(self, hidden_size: int, sizes: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise([hidden_size, *sizes]):
            layers += [nn.Linear(width_in, width_out), nn.Tanh()]
        super().__init__(*layers)


def gathered(values: Tensor) -> Tensor:
    """Return all processes' values in their order, ``(num_processes * batch, ...)``; differentiable.

    All processes need the same number of rows.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    return _Gather.apply(values)


class _Gather(torch.autograd.Function):
    """A differentiable gather; torch's own is deprecated or private."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def _own_rows(num_rows: int, num_all: int, device: torch.device) -> Tensor:
    """Return where this process's rows are among those of all, ``(num_rows, num_all)`` bool."""
    start = distributed.get_rank() * num_rows if num_all > num_rows else 0
    return torch.arange(num_all, device=device) == start + torch.arange(num_rows, device=device)[:, None]
