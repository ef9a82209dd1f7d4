"""Attention over packed tokens, registered with transformers so that its own encoder code runs on them.

Sequences of equal length lie side by side in a batch (see ``bert_ft.data.packing``), so each run of
them is one plain ``(count, heads, length, head_dim)`` view: no padding, no mask, no copy on the way in.
With dropout, on a CPU, ``bert_ft.kernels.packed_attention`` does the same in fewer steps. A GPU takes all sequences at
once: in 16 bits by Flash Attention 2, which knows packed sequences, in 32 bits padded for this one product.
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
# transformers' own, which differ in speed alone
STOCK = ("sdpa", "eager", *FLASH, "flex_attention")
_OURS = "bert_ft_"  # the names of what this package registers

_PADDED_TO = 8  # what torch's kernels take a mask of as it lies

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None, float, float], Tensor]


def takes_packed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark an attention function as one for packed tokens; without the mark it is given padded batches.

    It is called as transformers' attention functions are, with all texts of a batch as one, end to end:
    ``(1, heads, num_tokens, head_dim)`` each. ``cu_seqlens``, ``(num_sequences + 1,)`` int32, says where each text begins
    and ends, and ``layout`` is a ``SequenceLayout``. There is no mask.
    """
    function.takes_packed = True  # type: ignore[attr-defined]
    return function


def is_own(name: str | None) -> bool:
    """Whether the attention function of that name computes something of the user's."""
    return name is not None and name not in STOCK and not name.startswith(_OURS)


def names_of_registered() -> list[str]:
    """The names that can be chosen; ``paged`` ones need the cache of a text generator."""
    known = {*STOCK, *AttentionInterface()}
    return sorted(name for name in known if "." not in name and not name.startswith((_OURS, "paged|")))


def has_packed_form(name: str) -> bool:
    """Whether the attention function of that name takes packed tokens, or one here does the same on them."""
    if is_own(name):
        return getattr(AttentionInterface().get(name), "takes_packed", False)
    return name != "flex_attention"


def register_own(name: str, function: Callable[..., Any] | None = None) -> None:
    """Make a function known to transformers; without one, give that of the name its mask where it has none.

    A function for padded batches gets a mask to add to its scores.
    """
    if function is not None:
        AttentionInterface.register(name, function)
    if function is not None or name not in AttentionMaskInterface():
        AttentionMaskInterface.register(name, _no_mask if has_packed_form(name) else _full_mask)


class SequenceLayout:
    """How the sequences of one batch lie in it; made once, asked by every layer.

    ``is_fast``: whether ``bert_ft.kernels.packed_attention`` may be used.
    """

    def __init__(self, lengths: Sequence[int], num_heads: int, *, is_fast: bool = True) -> None:
        self.lengths = [length for length in lengths if length]
        self.num_heads = num_heads
        self.is_fast = is_fast
        self._cu_seqlens: Tensor | None = None
        self._padding: tuple[Tensor, Tensor] | None = None

    def cu_seqlens(self, device: torch.device) -> Tensor:
        """``(num_sequences + 1,)`` int32, the cumulated lengths."""
        if self._cu_seqlens is None or self._cu_seqlens.device != device:
            ends = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32)
            self._cu_seqlens = ends.to(device, non_blocking=True)
        return self._cu_seqlens

    def padding(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """For sequences padded to the longest: each token's place, ``(num_tokens,)`` int64, and where there are tokens,
        ``(num_sequences, 1, 1, longest)`` bool.
        """
        if self._padding is None or self._padding[0].device != device:
            longest = -(-max(self.lengths) // _PADDED_TO) * _PADDED_TO
            starts = range(0, longest * len(self.lengths), longest)
            places = [range(start, start + n) for start, n in zip(starts, self.lengths, strict=True)]
            mask = torch.arange(longest) < torch.tensor(self.lengths)[:, None, None, None]
            self._padding = (
                torch.tensor(list(chain(*places))).to(device, non_blocking=True),
                mask.to(device, non_blocking=True),
            )
        return self._padding

    @cached_property
    def groups(self) -> list[LengthGroup]:
        """The runs of equal length."""
        return length_groups(self.lengths)

    @cached_property
    def buckets(self) -> BucketLayout:
        """The runs of similar length."""
        return BucketLayout.of(self.lengths, self.num_heads)


def _sdpa(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float
) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, scale=scaling)


def _eager(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float
) -> Tensor:
    scores = query @ key.transpose(-1, -2) * scaling
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = at_least_float32(scores).softmax(dim=-1).to(query.dtype)
    return F.dropout(weights, dropout) @ value


def _by_group(
    kernel: Kernel,
    states: tuple[Tensor, Tensor, Tensor],
    layout: SequenceLayout,
    dropout: float,
    scaling: float,
    sliding_window: int | None,
) -> Tensor:
    """``kernel`` on each run of equal length; states and result are ``(num_tokens, heads, head_dim)``."""
    sizes = [group.count * group.length for group in layout.groups]
    outputs = []
    # split, not slices: the gradient of a slice is as large as what it was cut from
    for group, *parts in zip(layout.groups, *(state.split(sizes) for state in states), strict=True):
        query, key, value = (
            part.unflatten(0, (group.count, group.length)).transpose(1, 2) for part in parts
        )  # (count, heads, length, head_dim)
        mask = _window_mask(group.length, sliding_window, query.device)
        outputs.append(kernel(query, key, value, mask, dropout, scaling).transpose(1, 2).flatten(0, 1))
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
        """``(1, heads, num_tokens, head_dim)`` each, to ``(1, num_tokens, heads, head_dim)``."""
        assert attention_mask is None, "packed batches have no mask"
        states = (query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        if kernel is not _sdpa:
            output = _by_group(kernel, states, layout, dropout, scaling, sliding_window)
        elif _has_flash(query):
            output = _flash(states, layout, dropout, scaling, sliding_window)
        elif sliding_window is not None:
            output = _by_group(kernel, states, layout, dropout, scaling, sliding_window)
        elif query.device.type != "cpu":
            output = _padded(states, layout, dropout, scaling)
        elif dropout and layout.is_fast and is_correct():
            output = packed_attention(*states, layout.buckets, dropout=dropout, scaling=scaling)
        else:
            output = _by_group(kernel, states, layout, dropout, scaling, sliding_window)
        return output[None], None

    return attention


def _has_flash(states: Tensor) -> bool:
    """Whether torch's Flash Attention 2 takes these."""
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
    """All sequences in one kernel."""
    from torch.nn.attention import varlen

    ends, longest = layout.cu_seqlens(states[0].device), max(layout.lengths)
    reach = -1 if sliding_window is None else sliding_window - 1  # to either side
    if dropout:  # which the public function doesn't pass on
        return flash_attention(states, ends, longest, dropout=dropout, scaling=scaling, reach=reach)
    output = varlen.varlen_attn(
        *states, ends, ends, longest, longest, scale=scaling, window_size=(reach, reach)
    )
    assert isinstance(output, Tensor)
    return output


def _padded(
    states: tuple[Tensor, Tensor, Tensor], layout: SequenceLayout, dropout: float, scaling: float
) -> Tensor:
    """All sequences as long as the longest. (torch's memory-efficient kernel of packed ones drops other weights in its
    backward pass than in its forward pass: seen with torch 2.11.)
    """
    places, mask = layout.padding(states[0].device)
    shape = (3, mask.shape[0] * mask.shape[-1], *states[0].shape[1:])
    padded = states[0].new_zeros(shape).index_copy(1, places, torch.stack(states))
    query, key, value = padded.unflatten(1, (mask.shape[0], mask.shape[-1])).transpose(2, 3)
    output = _sdpa(query, key, value, mask, dropout, scaling)  # (num_sequences, heads, longest, head_dim)
    return output.transpose(1, 2).flatten(0, 1)[places]


def _window_mask(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """``(length, length)``, True where ``|i - j| < sliding_window``; None where that is everywhere."""
    if sliding_window is None or length <= sliding_window:
        return None
    positions = torch.arange(length, device=device)
    return (positions[:, None] - positions).abs() < sliding_window


def _full_mask(**arguments: Any) -> Tensor:
    """``(batch, 1, length, length)``, to be added to scores; also where no text of the batch is padded."""
    return AttentionMaskInterface()["eager"](**{**arguments, "allow_is_bidirectional_skip": False})


def _no_mask(**_: Any) -> None:
    """Packed tokens need no mask: who attends to whom follows from the layout."""


for _name, _kernel in ((PACKED_SDPA, _sdpa), (PACKED_EAGER, _eager)):
    AttentionInterface.register(_name, _packed_attention(_kernel))
    AttentionMaskInterface.register(_name, _no_mask)
