"""Contrastive losses over pairs of views, and what tells whether the vectors have collapsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn

from bert_ft.nn.precision import at_least_float32, autocast_off

# The length below which a vector has no direction, the same as in torch.nn.functional.normalize
_SHORTEST = 1e-12


def on_unit_sphere(vectors: Tensor) -> Tensor:
    """Return ``(..., hidden_size)`` scaled to length 1, in float32 at least.

    A vector shorter than 1e-12 has no direction: it becomes zeros, with a gradient of zero. torch's ``normalize`` would
    multiply its gradient by 1e12, and leaves the derivative at that length to ``clamp`` at its bound.
    """
    vectors = at_least_float32(vectors)
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / lengths.masked_fill(lengths < _SHORTEST, torch.inf)


def contrastive_loss(
    anchors: Tensor, candidates: Tensor, positive: Tensor, ignored: Tensor, temperature: float
) -> Tensor:
    """Minus the mean log-probability of an anchor's positives among its candidates, by cosine similarity.

    The mean is first over an anchor's positives, then over the anchors that have any; 0, with a gradient of zero, if
    none has. With a single positive each it is InfoNCE, with several the supervised contrastive loss.

    Sources: van den Oord et al. 2018, arXiv 1807.03748; Khosla et al. 2020, arXiv 2004.11362, equation 2 (L_out),
    without the factor ``temperature / 0.07`` of their code.

    Args:
        anchors: ``(num_anchors, hidden_size)``.
        candidates: ``(num_candidates, hidden_size)``.
        positive: ``(num_anchors, num_candidates)`` bool.
        ignored: likewise, those that aren't even negatives.
        temperature: that similarities are divided by.
    """
    anchors, candidates = on_unit_sphere(anchors), on_unit_sphere(candidates)
    with autocast_off(anchors):
        similarity = anchors @ candidates.T / temperature
    # with -inf the only row of a batch would pass through NaN, which detect_anomaly stops at
    log_probs = similarity.masked_fill(ignored, torch.finfo(similarity.dtype).min).log_softmax(-1)
    positive = positive & ~ignored
    num_positives = positive.sum(-1)
    per_anchor = -log_probs.masked_fill(~positive, 0).sum(-1) / num_positives.clamp(min=1)
    return per_anchor.sum() / (num_positives > 0).sum().clamp(min=1)


def simcse_loss(
    first: Tensor, second: Tensor, texts: Tensor, temperature: float, *, alone: bool = False
) -> Tensor:
    """Each text's first view finds its second among those of all texts, of all processes.

    Copies of a text are no negatives of each other.

    Source: Gao et al. 2021, arXiv 2104.08821, equation 4.

    Args:
        first: ``(batch, hidden_size)``, vectors of the texts.
        second: ``(batch, hidden_size)``, of the same texts under other dropout.
        texts: ``(batch,)`` int64, equal for copies of a text.
        temperature: see ``contrastive_loss``.
        alone: only among those of this process.
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
    """Views of the same label find each other among both views of all texts, of all processes.

    Copies of a text that have different labels are no negatives of each other.

    Source: Khosla et al. 2020, arXiv 2004.11362.

    Args:
        first: ``(batch, hidden_size)``.
        second: ``(batch, hidden_size)``.
        labels: ``(batch, ...)``, the texts' targets.
        texts: ``(batch,)`` int64, equal for copies of a text.
        temperature: see ``contrastive_loss``.
        same_label: of ``num`` and ``num_others`` targets, ``(num, num_others)`` bool: which are drawn together.
        alone: only among those of this process.
    """
    views, labels, texts = torch.cat([first, second]), torch.cat([labels, labels]), texts.repeat(2)
    candidates, all_labels, all_texts = (
        values if alone else gathered(values) for values in (views, labels, texts)
    )
    itself = _own_rows(len(views), len(all_labels), views.device)
    positive = same_label(labels, all_labels)
    is_copy = (texts[:, None] == all_texts) & ~positive
    return contrastive_loss(views, candidates, positive, itself | is_copy, temperature)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of two views of a text on the unit sphere: 0 where they are the same.

    Source: Wang and Isola 2020, arXiv 2005.10242.
    """
    return (on_unit_sphere(first) - on_unit_sphere(second)).square().sum(-1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """Log of the mean of ``exp(-2 d²)`` over pairs of texts: 0 where all vectors are one, near -4 where they spread.

    NaN for fewer than two. Source: Wang and Isola 2020, arXiv 2005.10242.
    """
    vectors = on_unit_sphere(vectors)
    if len(vectors) < 2:
        return vectors.new_tensor(float("nan"))
    return torch.pdist(vectors).square().mul(-2).exp().mean().log()


class Projection(nn.Sequential):
    """What stands between the pooled vector and a contrastive loss, and is dropped afterwards.

    A linear layer and tanh for each size, as in SimCSE (arXiv 2104.08821, section 6.3); the vector itself without any.

    Args:
        hidden_size: of the encoder.
        sizes: widths of the layers.
    """

    def __init__(self, hidden_size: int, sizes: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise([hidden_size, *sizes]):
            layers += [nn.Linear(width_in, width_out), nn.Tanh()]
        super().__init__(*layers)


def gathered(values: Tensor) -> Tensor:
    """``(num_processes * batch, ...)``, those of all processes in their order; the gradient comes back to each.

    All processes need equally many.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    return _Gather.apply(values)


class _Gather(torch.autograd.Function):
    """torch's own differentiable gathering is on its way out (its names are deprecated or private)."""

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
    """``(num_rows, num_all)`` bool, which of all processes' rows is the one itself."""
    start = 0
    if num_all > num_rows:
        start = distributed.get_rank() * num_rows
    return torch.arange(num_all, device=device) == start + torch.arange(num_rows, device=device)[:, None]
