"""What flows through sub-blocks, by hooks of the tests' own."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import nn

from bert_ft.models.sub_blocks import SubBlock


def captured(blocks: Sequence[SubBlock], run: Callable[[], object]) -> dict[str, torch.Tensor]:
    """Name → output in one pass ``run()``.

    Of several calls by one name the last counts: transformers calls a pooler of its own on packed tokens first.
    """
    found: dict[str, torch.Tensor] = {}
    calls: Counter[SubBlock] = Counter()

    def hook(block: SubBlock) -> Callable[..., None]:
        def look(module: nn.Module, arguments: object, output: object) -> None:
            value = output[0] if isinstance(output, tuple) else output
            assert isinstance(value, torch.Tensor)
            found[block.names[calls[block] % len(block.names)]] = value.detach()
            calls[block] += 1

        return look

    handles = [block.module.register_forward_hook(hook(block)) for block in blocks]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found
