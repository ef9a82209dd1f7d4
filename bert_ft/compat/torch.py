"""Uses of torch (2.13) that have no public API, outside of the kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn


def is_in_backward() -> bool:
    """Return whether a backward pass is running, in which checkpointed layers are recomputed."""
    # no public API: ``torch.utils.checkpoint`` doesn't say when it recomputes.
    return torch._C._current_graph_task_id() != -1


def differences(values: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """Return ``values`` minus ``others``, tensor by tensor."""
    # no public API: documented operations take one tensor each, so each is a kernel of its own on a GPU.
    return cast(list[Tensor], list(torch._foreach_sub(list(values), list(others))))


def multiply_in_place(values: Sequence[Tensor], factor: Tensor | float) -> None:
    """Multiply all of ``values`` by one number."""
    # no public API: see ``differences``.
    torch._foreach_mul_(list(values), factor)


def l2_norms(values: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the L2 norm of each of ``values``, computed in ``dtype``."""
    # no public API: see ``differences``; ``torch.nn.utils.get_total_norm`` returns one norm of all.
    return cast(list[Tensor], list(torch._foreach_norm(list(values), dtype=dtype)))


def interpolate_in_place(values: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Replace each of ``values`` by ``(1 - weight) * value + weight * end``; all are floating-point."""
    # no public API: see ``differences``; ``get_ema_multi_avg_fn`` and similar fix the weight in advance.
    torch._foreach_lerp_(list(values), list(ends), weight)


def flash_attention(
    states: tuple[Tensor, Tensor, Tensor],
    ends: Tensor,
    longest: int,
    *,
    dropout: float,
    scaling: float,
    reach: int,
) -> Tensor:
    """Return the attention of packed sequences by Flash Attention 2, with dropout.

    Args:
        states: query, key and value, ``(num_tokens, heads, head_dim)`` each, in 16 bits on a GPU.
        ends: cumulative lengths, starting with 0, int32.
        longest: length of the longest sequence.
        dropout: rate on the attention weights.
        scaling: factor of the products of queries and keys.
        reach: number of tokens on either side that a token attends to; -1 = all.
    """
    # no public API: ``torch.nn.attention.varlen.varlen_attn`` calls this kernel without dropout.
    is_causal, returns_mask = False, False
    lengths = (ends, ends, longest, longest)
    window = {"window_size_left": reach, "window_size_right": reach}
    output, *_ = torch.ops.aten._flash_attention_forward(
        *states, *lengths, dropout, is_causal, returns_mask, scale=scaling, **window
    )
    return cast(Tensor, output)


def hooks_of(module: nn.Module) -> Iterator[OrderedDict[int, Any]]:
    """Yield the tables of all hooks registered on a module itself."""
    # no public API: a hook is removed by the handle from its registration, but a module doesn't list its hooks.
    for name, value in vars(module).items():
        if name.endswith("_hooks") and isinstance(value, OrderedDict):
            yield value


class KeepsFloat32(nn.Module):
    """A module with buffers that stay as they are when it is converted to 16 bits."""

    # no public API: ``to``, ``half`` and ``bfloat16`` convert all floats of a module and its children, and call no hook
    in_float32: ClassVar[tuple[str, ...]] = ()  # names of buffers; each may be None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = {name: getattr(self, name) for name in self.in_float32}
        super()._apply(fn, recurse)
        for name, value in before.items():
            now = getattr(self, name)
            if value is not None and now is not None and now.itemsize < 4:
                setattr(self, name, value.to(now.device))
        return self
