"""The precision of losses and pooling, whatever the encoder runs in."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Return ``values`` in float32 if they have 16 bits, else unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on Apple's GPUs, which lack float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def autocast_off(values: Tensor) -> torch.autocast:
    """Return a context in which matrix products keep the precision of their inputs."""
    return torch.autocast(values.device.type, enabled=False)
