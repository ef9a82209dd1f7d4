"""Moments of activations that can be merged: over parts of a batch, and over processes."""

from __future__ import annotations

import torch
from torch import Tensor

# of one tensor, in this order; all are sums over its values but for the largest
RAW = ("count", "sum", "sum_2", "sum_3", "sum_4", "near_zero", "largest")
STATISTICS = ("mean", "sd", "max_abs", "near_zero", "kurtosis")


def raw_moments(values: Tensor, near_zero: float) -> Tensor:
    """``(7,)`` float64, as ``RAW`` names them; ``near_zero`` counts values of at most that size.

    The powers are of the distances from the mean, in float32, and made powers of the values themselves only as
    float64 scalars: sums of fourth powers of values far from 0 would leave nothing of their spread.
    """
    values = values.detach().float()
    if values.numel() == 0:
        return torch.zeros(len(RAW), dtype=torch.float64, device=values.device)
    mean = values.mean()
    centred = values - mean
    squares = centred.square()
    count = torch.full_like(mean, values.numel())
    sizes = values.abs()
    seen = torch.stack(
        [
            count,
            mean,
            squares.mean(),
            (squares * centred).mean(),
            squares.square().mean(),
            (sizes <= near_zero).float().mean(),
            sizes.amax(),
        ]
    ).double()
    n, m, m2, m3, m4, small, largest = seen.unbind()
    powers = torch.stack(
        [m, m2 + m**2, m3 + 3 * m * m2 + m**3, m4 + 4 * m * m3 + 6 * m**2 * m2 + m**4, small]
    )
    return torch.cat([n[None], n * powers, largest[None]])


def merged(raw: Tensor, dim: int = 0) -> Tensor:
    """The raw moments ``(..., 7)`` of several tensors as those of all their values, without ``dim``."""
    return torch.cat([raw[..., :-1].sum(dim), raw[..., -1:].amax(dim)], dim=-1)


def statistics(raw: Tensor) -> Tensor:
    """``(..., 5)``, as ``STATISTICS`` names them, from raw moments ``(..., 7)``; NaN of no values.

    ``sd`` is that of the values as a population, ``kurtosis`` 3 for normally distributed ones and NaN for equal ones.
    """
    count = raw[..., 0]
    m, p2, p3, p4, near_zero = (raw[..., 1:6] / count[..., None]).unbind(-1)
    # rounding can leave a little below 0
    variance = (p2 - m**2).clamp(min=0)
    fourth = p4 - 4 * m * p3 + 6 * m**2 * p2 - 3 * m**4
    largest = torch.where(count > 0, raw[..., 6], torch.nan)
    return torch.stack([m, variance.sqrt(), largest, near_zero, fourth / variance**2], dim=-1)
