"""Linear layers by oneDNN, on processors where torch's own matrix products are slow.

torch multiplies float32 matrices with Intel's MKL, which uses its AVX2 kernels on every processor that isn't Intel's;
oneDNN, which torch also includes, uses the instruction set that it finds. On an AMD processor with AVX-512, BERT's
products take half the time (measured: 210 against 400 to 480 GFLOP/s on two cores of Zen 5).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bert_ft.kernels.self_check import compare, passes


@cache
def onednn_is_faster() -> bool:
    """Return whether this is known to be an AMD processor with AVX-512, and torch has oneDNN's operator."""
    has_operator = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    cpuinfo = Path("/proc/cpuinfo")
    is_amd = cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text()
    return has_operator and is_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``left @ right.T + bias`` by the operator that torch.compile uses."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if needs_inputs else None,
            _product(gradient.t(), inputs.t()) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply ``torch.nn.functional.linear``, by oneDNN for float32 on a CPU, except to empty matrices."""
    is_float32 = inputs.dtype is weight.dtype is torch.float32 and inputs.device.type == "cpu"
    is_converted = torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()
    if not is_float32 or is_converted or inputs.numel() == 0:
        return F.linear(inputs, weight, bias)
    rows = inputs.reshape(-1, inputs.shape[-1])
    return _OneDnnLinear.apply(rows.contiguous(), weight, bias).view(*inputs.shape[:-1], -1)


class Linear(nn.Linear):
    """``torch.nn.Linear``, computed by oneDNN where possible."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def replace_linear(module: nn.Module) -> None:
    """Turn every ``torch.nn.Linear`` below ``module`` into ours, in place, if oneDNN is faster and correct."""
    if not onednn_is_faster() or not passes("oneDNN linear layer", check):
        return
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = Linear


def check() -> None:
    """Raise ``DeviationError`` unless ``linear`` agrees with torch's."""
    compare(linear, F.linear, torch.randn(6, 24), torch.randn(8, 24), torch.randn(8))
