"""Attention over packed tokens, registered with transformers so that its own encoder code runs on them.

Sequences of equal length are adjacent in a batch (see ``bert_ft.data.packing``), so each run of them is one
``(count, heads, length, head_dim)`` view: no padding, no mask, no copy of the inputs. With dropout on a CPU,
``bert_ft.kernels.packed_attention`` does the same in fewer steps. A GPU takes all sequences at once: in 16
bits by Flash Attention 2, which supports packed sequences; in 32 bits they are padded, but only for this
product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from bert_ft.compat.torch import flash_attention
from bert_ft.data.packing import LengthGroup, length_groups
from bert_ft.kernels.packed_attention import BucketLayout, is_correct, packed_attention
from bert_ft.nn.precision import at_least_float32

PACKED_SDPA = "bert_ft_packed_sdpa"
PACKED_EAGER = "bert_ft_packed_eager"
FLASH = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
# transformers' own, which differ only in speed
STOCK = ("sdpa", "eager", *FLASH, "flex_attention")
_OURS = "bert_ft_"  # prefix of the names that this package registers
_PADDED_TO = 8  # torch's kernels take a mask of such a length without a copy

Kernel = Callable[..., Tensor]  # like torch's scaled_dot_product_attention


def takes_packed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark an attention function as one for packed tokens; without the mark it gets padded batches.

    It is called like transformers' attention functions, without a mask, on all texts of a batch end to end,
    ``(1, heads, num_tokens, head_dim)``. ``cu_seqlens``, ``(num_sequences + 1,)`` int32, has the ends of the texts, and
    ``layout`` is a ``SequenceLayout``.
    """
    function.takes_packed = True  # type: ignore[attr-defined]
    return function


def is_own(name: str | None) -> bool:
    """Return whether the attention function with this name is a user's."""
    return name is not None and name not in STOCK and not name.startswith(_OURS)


def names_of_registered() -> list[str]:
    """Return the names that can be chosen; ``paged`` ones need the cache of a text generator."""
    known = {*STOCK, *AttentionInterface()}
    return sorted(name for name in known if "." not in name and not name.startswith((_OURS, "paged|")))


def has_packed_form(name: str) -> bool:
    """Return whether the attention function with this name, or its equivalent in this module, takes packed tokens."""
    if is_own(name):
        return getattr(AttentionInterface().get(name), "takes_packed", False)
    return name != "flex_attention"


def register_own(name: str, function: Callable[..., Any] | None = None) -> None:
    """Register a function with transformers, and its mask; without ``function``, only the mask if it has none."""
    if function is not None:
        AttentionInterface.register(name, function)
    if function is not None or name not in AttentionMaskInterface():
        AttentionMaskInterface.register(name, _no_mask if has_packed_form(name) else _full_mask)


class SequenceLayout:
    """Where the sequences of a batch are: computed once, used by every layer.

    ``is_fast`` allows ``bert_ft.kernels.packed_attention``.
    """

    def __init__(self, lengths: Sequence[int], num_heads: int, *, is_fast: bool = True) -> None:
        self.lengths = [length for length in lengths if length]
        self.num_heads = num_heads
        self.is_fast = is_fast
        self._cu_seqlens: Tensor | None = None
        self._padding: tuple[Tensor, Tensor] | None = None

    def cu_seqlens(self, device: torch.device) -> Tensor:
        """Return the cumulative lengths, ``(num_sequences + 1,)`` int32."""
        if self._cu_seqlens is None or self._cu_seqlens.device != device:
            ends = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32)
            self._cu_seqlens = ends.to(device, non_blocking=True)
        return self._cu_seqlens

    def padding(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return each token's index among padded ones, ``(num_tokens,)``, and the mask, ``(num_sequences, 1, 1, longest)``."""
        if self._padding is None or self._padding[0].device != device:
            longest = -(-max(self.lengths) // _PADDED_TO) * _PADDED_TO
            starts = range(0, longest * len(self.lengths), longest)
            places = [range(start, start + n) for start, n in zip(starts, self.lengths, strict=True)]
            mask = torch.arange(longest) < torch.tensor(self.lengths)[:, None, None, None]
            both = (torch.tensor(list(chain(*places))), mask)
            self._padding = (both[0].to(device, non_blocking=True), both[1].to(device, non_blocking=True))
        return self._padding

    @cached_property
    def groups(self) -> list[LengthGroup]:
        """Runs of equal length."""
        return length_groups(self.lengths)

    @cached_property
    def buckets(self) -> BucketLayout:
        """Runs of similar length."""
        return BucketLayout.of(self.lengths, self.num_heads)


_sdpa: Kernel = F.scaled_dot_product_attention


def _eager(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, *, dropout_p: float, scale: float
) -> Tensor:
    scores = query @ key.transpose(-1, -2) * scale
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    weights = at_least_float32(scores).softmax(dim=-1).to(query.dtype)
    return F.dropout(weights, dropout_p) @ value


def _by_group(
    kernel: Kernel,
    states: tuple[Tensor, Tensor, Tensor],
    layout: SequenceLayout,
    dropout: float,
    scaling: float,
    sliding_window: int | None,
) -> Tensor:
    """Apply ``kernel`` to each run of equally long sequences; all states are ``(num_tokens, heads, head_dim)``."""
    sizes = [group.count * group.length for group in layout.groups]
    outputs = []
    # split, not slices: the gradient of a slice is as large as the whole tensor
    for group, *parts in zip(layout.groups, *(state.split(sizes) for state in states), strict=True):
        query, key, value = (
            part.unflatten(0, (group.count, group.length)).transpose(1, 2) for part in parts
        )  # (count, heads, length, head_dim)
        mask = _window_mask(group.length, sliding_window, query.device)
        output = kernel(query, key, value, mask, dropout_p=dropout, scale=scaling)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _packed_attention(kernel: Kernel) -> Callable[..., tuple[Tensor, None]]:
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        layout: SequenceLayout,
        dropout: float = 0.0,
        scaling: float | None = None,
        sliding_window: int | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Return ``(1, num_tokens, heads, head_dim)`` from inputs of ``(1, heads, num_tokens, head_dim)``."""
        assert attention_mask is None, "packed batches have no mask"
        states = (query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        attends_to_all = kernel is _sdpa and sliding_window is None
        if kernel is _sdpa and _has_flash(query):
            output = _flash(states, layout, dropout, scaling, sliding_window)
        elif attends_to_all and query.device.type != "cpu":
            output = _padded(states, layout, dropout, scaling)
        elif attends_to_all and dropout and layout.is_fast and is_correct():
            output = packed_attention(*states, layout.buckets, dropout=dropout, scaling=scaling)
        else:
            output = _by_group(kernel, states, layout, dropout, scaling, sliding_window)
        return output[None], None

    return attention


def _has_flash(states: Tensor) -> bool:
    """Return whether torch's Flash Attention 2 supports these tensors on this GPU."""
    return (
        states.device.type == "cuda"
        and states.dtype in (torch.float16, torch.bfloat16)
        and states.shape[-1] % 8 == 0
        and states.shape[-1] <= 256
        and torch.cuda.get_device_capability(states.device) >= (8, 0)
    )


def _flash(
    states: tuple[Tensor, Tensor, Tensor],
    layout: SequenceLayout,
    dropout: float,
    scaling: float,
    sliding_window: int | None,
) -> Tensor:
    """Compute all sequences in one kernel."""
    from torch.nn.attention import varlen

    ends, longest = layout.cu_seqlens(states[0].device), max(layout.lengths)
    reach = -1 if sliding_window is None else sliding_window - 1  # to either side
    if dropout:  # the public function has none
        return flash_attention(states, ends, longest, dropout=dropout, scaling=scaling, reach=reach)
    window = (reach, reach)
    output = varlen.varlen_attn(*states, ends, ends, longest, longest, scale=scaling, window_size=window)
    assert isinstance(output, Tensor)
    return output


def _padded(
    states: tuple[Tensor, Tensor, Tensor], layout: SequenceLayout, dropout: float, scaling: float
) -> Tensor:
    """Compute all sequences padded to the longest.

    torch's memory-efficient kernel for packed sequences isn't used: in torch 2.11 its backward pass drops other weights
    than its forward pass.
    """
    places, mask = layout.padding(states[0].device)
    shape = (3, mask.shape[0] * mask.shape[-1], *states[0].shape[1:])
    padded = states[0].new_zeros(shape).index_copy(1, places, torch.stack(states))
    query, key, value = padded.unflatten(1, (mask.shape[0], mask.shape[-1])).transpose(2, 3)
    output = _sdpa(
        query, key, value, mask, dropout_p=dropout, scale=scaling
    )  # (num_sequences, heads, longest, head_dim)
    return output.transpose(1, 2).flatten(0, 1)[places]


def _window_mask(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Return ``(length, length)``, True where ``|i - j| < sliding_window``; ``None`` if that is everywhere."""
    if sliding_window is None or length <= sliding_window:
        return None
    positions = torch.arange(length, device=device)
    return (positions[:, None] - positions).abs() < sliding_window


def _full_mask(**arguments: Any) -> Tensor:
    """Return ``(batch, 1, length, length)`` to add to scores, even if no text of the batch is padded."""
    return AttentionMaskInterface()["eager"](**{**arguments, "allow_is_bidirectional_skip": False})


def _no_mask(**_: Any) -> None:
    """Return no mask: the layout of packed tokens says which attend to which."""


for _name, _kernel in ((PACKED_SDPA, _sdpa), (PACKED_EAGER, _eager)):
    AttentionInterface.register(_name, _packed_attention(_kernel))
    AttentionMaskInterface.register(_name, _no_mask)
