"""Whether a kernel still does what torch does: a tiny comparison, once in a process, before it is used.

Kernels call operators that torch doesn't promise to keep, on whatever processor there is. Processes forked for the
trials of a search take over what has passed in another one on the same machine. The tensors of a check are too small to
be split between threads, so their number doesn't matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of float32 sums of a few products of the order of 1; what is wrong is off by far more

Check = tuple[Callable[..., None], tuple[Hashable, ...]]  # a function and its arguments

_results: dict[Check, bool] = {}


class DeviationError(Exception):
    """A kernel gave other numbers than torch."""


def passes(
    kernel: str, check: Callable[..., None], *arguments: Hashable, instead: str = "torch's own"
) -> bool:
    """Return whether ``check(*arguments)`` raises nothing; what it raises is logged, once in a process.

    No random number is drawn from the run's generators.

    Args:
        kernel: what is checked, as the message names it.
        check: raises ``DeviationError``, or whatever torch does.
        arguments: of ``check``.
        instead: what the caller uses after a failure, as the message names it.
    """
    key = (check, arguments)
    if key not in _results:
        _results[key] = _is_passed(kernel, check, arguments, instead)
    return _results[key]


def passed() -> list[Check]:
    """Return the checks that have been passed in this process, or were taken over."""
    return [check for check, result in _results.items() if result]


def take_over(checks: Iterable[Check]) -> None:
    """Count checks as passed that were passed in another process on this machine, with the same libraries."""
    _results.update(dict.fromkeys(checks, True))


def forget() -> None:
    """Check everything once more."""
    _results.clear()


def _is_passed(
    kernel: str, check: Callable[..., None], arguments: tuple[Hashable, ...], instead: str
) -> bool:
    try:
        with _set_apart():
            check(*arguments)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        log.warning(
            "encoder.kernels=fast: the %s failed its self-check (%s); using %s", kernel, reason, instead
        )
        return False
    return True


def compare(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *tensors: Tensor) -> None:
    """Compare the values of two functions of ``tensors``, and the gradients that they give these.

    Raises:
        DeviationError: they differ.
    """
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
    """Check on the CPU in 32 bits with gradients, whatever surrounds it, and leave torch's generator as it was."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.device("cpu"),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        # not torch.manual_seed, which seeds GPUs too
        torch.default_generator.manual_seed(0)
        yield
