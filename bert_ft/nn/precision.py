"""The precision in which losses and pooling compute, whatever the encoder runs in."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """``values`` in float32 if they came in 16 bits, else unchanged (float64 stays float64)."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def widest(device: torch.device) -> torch.dtype:
    """float64; float32 on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def autocast_off(values: Tensor) -> torch.autocast:
    """A context in which matrix products on the device of ``values`` keep the precision of their inputs."""
    return torch.autocast(values.device.type, enabled=False)
