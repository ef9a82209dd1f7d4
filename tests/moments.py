"""Moments of values by numpy."""

import numpy as np
import torch


def moments(values: torch.Tensor, near_zero: float) -> dict[str, float]:
    """As ``bert_ft.nn.statistics`` names them, in float64; the kurtosis of equal values is NaN."""
    array = values.detach().double().numpy()
    centred = array - array.mean()
    variance = (centred**2).mean()
    return {
        "mean": array.mean(),
        "sd": np.sqrt(variance),
        "max_abs": np.abs(array).max(),
        "near_zero": (np.abs(array) <= near_zero).mean(),
        "kurtosis": (centred**4).mean() / variance**2 if np.ptp(array) else np.nan,
    }
