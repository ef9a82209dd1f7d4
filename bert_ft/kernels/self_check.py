"""Whether a kernel still agrees with torch: a tiny comparison, once per process, before it is used.

Kernels call operators that torch doesn't promise to keep, on any processor. Processes forked for the trials of a search
inherit the checks that passed in their parent. The number of threads doesn't matter, since the tensors are tiny.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # for float32 sums of a few products of the order of 1; an error is far larger

Check = tuple[Callable[..., None], tuple[Hashable, ...]]  # a function and its arguments

_results: dict[Check, bool] = {}


class DeviationError(Exception):
    """A kernel gave other numbers than torch."""


def passes(
    kernel: str, check: Callable[..., None], *arguments: Hashable, instead: str = "torch's own"
) -> bool:
    """Return whether ``check(*arguments)`` raises nothing; what it raises is logged once per process.

    No random number is drawn from the run's generators. ``kernel`` and ``instead``, which the caller uses after a
    failure, are names for the message.
    """
    key = (check, arguments)
    if key not in _results:
        try:
            with _set_apart():
                check(*arguments)
            _results[key] = True
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            message = "encoder.kernels=fast: the %s failed its self-check (%s); using %s"
            log.warning(message, kernel, reason, instead)
            _results[key] = False
    return _results[key]


def passed() -> list[Check]:
    """Return the checks that passed in this process, or were taken over."""
    return [check for check, result in _results.items() if result]


def take_over(checks: Iterable[Check]) -> None:
    """Count checks as passed that passed in another process on this machine, with the same libraries."""
    _results.update(dict.fromkeys(checks, True))


def forget() -> None:
    """Check everything again."""
    _results.clear()


def compare(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *tensors: Tensor) -> None:
    """Raise ``DeviationError`` unless two functions of ``tensors`` have the same values and gradients."""
    results = []
    for function in (ours, plain):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        output = function(*leaves)
        gradient = torch.linspace(-1, 1, output.numel()).view(output.shape)
        results.append([output.detach(), *torch.autograd.grad(output, leaves, gradient)])
    names = ["output", *(f"gradient {index}" for index in range(1, len(tensors) + 1))]
    for name, our, their in zip(names, *results, strict=True):
        require_close(name, our, their)


def require_close(name: str, ours: Tensor, plain: Tensor) -> None:
    """Raise ``DeviationError`` unless both are equal to ``TOLERANCE``."""
    if ours.shape != plain.shape:
        raise DeviationError(f"{name} of shape {tuple(ours.shape)} instead of {tuple(plain.shape)}")
    if not torch.allclose(ours, plain, rtol=TOLERANCE, atol=TOLERANCE):
        raise DeviationError(f"{name} is off by up to {(ours - plain).abs().max().item():.2g}")


@contextmanager
def _set_apart() -> Iterator[None]:
    """Run on the CPU in float32 with gradients, whatever the context, and restore torch's generator."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.device("cpu"),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        # torch.manual_seed would seed GPUs too
        torch.default_generator.manual_seed(0)
        yield
