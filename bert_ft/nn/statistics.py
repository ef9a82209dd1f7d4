"""Moments of activations that can be merged over parts of a batch and over processes, and samples."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bert_ft.nn.precision import widest

# of one tensor, in this order; all but the last are sums over its values
RAW = ("count", "sum", "sum_2", "sum_3", "sum_4", "near_zero", "largest")
STATISTICS = ("mean", "sd", "max_abs", "near_zero", "kurtosis")
HISTOGRAM_VALUES = 16_384  # more would change no visible bin
# relative to the mean: a smaller spread is the rounding of float32, whose relative step is 1.2e-7
_NO_SPREAD = 1e-6


def raw_moments(values: Tensor, near_zero: float) -> Tensor:
    """Return the moments ``RAW``, ``(7,)``, in the widest precision; ``near_zero`` counts values of at most that size.

    Central moments are computed in float32 and converted to raw ones as scalars, since float32 sums of fourth powers
    of values far from 0 would lose their spread.
    """
    values = values.detach().float()
    if values.numel() == 0:
        return torch.zeros(len(RAW), dtype=widest(values.device), device=values.device)
    mean = values.mean()
    centered = values - mean
    squares = centered.square()
    count = torch.full_like(mean, values.numel())
    sizes = values.abs()
    seen = torch.stack(
        [
            count,
            mean,
            squares.mean(),
            (squares * centered).mean(),
            squares.square().mean(),
            (sizes <= near_zero).float().mean(),
            sizes.amax(),
        ]
    ).to(widest(values.device))
    n, m, m2, m3, m4, small, largest = seen.unbind()
    powers = torch.stack(
        [m, m2 + m**2, m3 + 3 * m * m2 + m**3, m4 + 4 * m * m3 + 6 * m**2 * m2 + m**4, small]
    )
    return torch.cat([n[None], n * powers, largest[None]])


def merged(raw: Tensor, dim: int = 0) -> Tensor:
    """Merge the raw moments ``(..., 7)`` of several tensors over ``dim``."""
    return torch.cat([raw[..., :-1].sum(dim), raw[..., -1:].amax(dim)], dim=-1)


def statistics(raw: Tensor) -> Tensor:
    """Return ``STATISTICS``, ``(..., 5)``, from raw moments ``(..., 7)``; NaN for no values.

    ``sd`` is the population's; ``kurtosis`` is 3 for normally distributed values and NaN for equal ones.
    """
    count = raw[..., 0]
    m, p2, p3, p4, near_zero = (raw[..., 1:6] / count[..., None]).unbind(-1)
    variance = p2 - m**2
    variance = torch.where(variance <= (_NO_SPREAD * m) ** 2, 0.0, variance)
    fourth = p4 - 4 * m * p3 + 6 * m**2 * p2 - 3 * m**4
    kurtosis = torch.where(variance == 0, torch.nan, fourth / variance**2)
    largest = torch.where(count > 0, raw[..., 6], torch.nan)
    return torch.stack([m, variance.sqrt(), largest, near_zero, kurtosis], dim=-1)


def sampled(parts: Sequence[Tensor], num_values: int = HISTOGRAM_VALUES) -> Tensor:
    """Return all values of the parts, or about ``num_values`` evenly spaced ones, ``(n,)`` float32."""
    stride = max(1, sum(part.numel() for part in parts) // num_values)
    return torch.cat([part.detach().flatten()[:: _coprime(stride, part)].float() for part in parts])


def _coprime(stride: int, part: Tensor) -> int:
    """Increase ``stride`` until it shares no factor with the row width; otherwise it would miss columns."""
    while part.ndim > 1 and math.gcd(stride, part.shape[-1]) > 1:
        stride += 1
    return stride
