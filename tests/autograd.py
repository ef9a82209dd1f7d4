"""What a forward pass keeps for the backward pass."""

from collections.abc import Callable

import torch
from torch import nn


def kept_bytes(forward: Callable[[], object]) -> int:
    """Bytes of the tensors that autograd saves in ``forward()``, parameters left out."""
    total = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += 0 if isinstance(tensor, nn.Parameter) else tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        forward()
    return total
