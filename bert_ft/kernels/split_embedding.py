"""A token embedding that trains only the rows that the training texts use.

A row that no text uses has zero gradient, yet costs the optimizer as much as any other. Of BERT's 30,522 rows, half of
MiniLM's weights, a corpus of 10,000 short texts uses 13,700. AdamW changes an unused row only by its weight decay,
``1 - lr * weight_decay`` a step, which is applied here when the row is next read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from bert_ft.kernels.self_check import passes, require_close


class SplitEmbedding(nn.Module):
    """``embedding`` in two parts; its state is saved and loaded as one, under the name ``weight``.

    Args:
        embedding: the one to split; its ``padding_idx`` is kept, if that row is used.
        used: ``(vocab_size,)`` bool, the rows to train.

    Attributes:
        weight: ``(num_used, dim)``, trainable.
        unused: ``(vocab_size - num_used, dim)``, frozen.
        row_of: ``(vocab_size,)`` int64, the row of each id in ``weight``, or ``num_used`` + that in ``unused``.
        pending_decay: the factor of the weight decay that isn't applied yet.
        saves_pending: whether the state is saved without applying that decay; code that sets this must save
            the factor as well.
    """

    row_of: Tensor

    def __init__(self, embedding: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        order = torch.argsort(~used, stable=True)
        self.num_used = int(used.sum())
        self.weight = nn.Parameter(embedding.weight.detach()[order[: self.num_used]])
        self.unused = nn.Parameter(embedding.weight.detach()[order[self.num_used :]], requires_grad=False)
        self.weight.requires_grad_(embedding.weight.requires_grad)
        row_of = torch.empty_like(order)
        row_of[order] = torch.arange(len(order))
        self.register_buffer("row_of", row_of, persistent=False)
        padding = embedding.padding_idx
        self.padding_row = int(row_of[padding]) if padding is not None and used[padding] else None
        self.pending_decay = 1.0
        self.saves_pending = False

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return ``(..., dim)`` of ``input_ids (...)``; raise ``RuntimeError`` if an unused row would be trained."""
        rows = self.row_of[input_ids]
        is_unused = rows >= self.num_used
        if not is_unused.any():
            return F.embedding(rows, self.weight, self.padding_row)
        if self.training and torch.is_grad_enabled():
            token = int(input_ids[is_unused][0])
            raise RuntimeError(f"token {token} is trained on, but wasn't among the training texts' tokens")
        self.settle()
        values = F.embedding(rows.clamp(max=self.num_used - 1), self.weight)
        values[is_unused] = self.unused[rows[is_unused] - self.num_used].to(values.dtype)
        return values

    def follow(self, optimizer: Optimizer) -> None:
        """Decay the unused rows as ``optimizer``, an AdamW, would in each of its steps."""
        places = [
            index
            for index, group in enumerate(optimizer.param_groups)
            if any(parameter is self.weight for parameter in group["params"])
        ]

        def note_decay(stepped: Optimizer, args: Any, kwargs: Any) -> None:
            if self.weight.grad is None:  # the optimizer left it as it was, decay included
                return
            for index in places:
                group = stepped.param_groups[index]
                self.pending_decay *= 1 - float(group["lr"]) * float(group["weight_decay"])

        optimizer.register_step_post_hook(note_decay)

    @property
    def settled(self) -> Tensor:
        """Return ``unused`` with its pending weight decay, which stays pending."""
        return self.unused.detach() * self.pending_decay

    @torch.no_grad()
    def settle(self) -> None:
        """Apply the pending weight decay."""
        if self.pending_decay != 1:
            self.unused.mul_(self.pending_decay)
            self.pending_decay = 1.0

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        if not self.saves_pending:
            self.settle()
        destination[prefix + "weight"] = torch.cat([self.weight.detach(), self.unused])[self.row_of]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        whole = state_dict.get(prefix + "weight")
        if whole is not None and len(whole) == len(self.row_of):
            order = torch.argsort(self.row_of)
            used, unused = whole[order[: self.num_used]], whole[order[self.num_used :]]
            state_dict = state_dict | {prefix + "weight": used, prefix + "unused": unused}
            self.pending_decay = 1.0
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def is_correct() -> bool:
    """Return whether ``SplitEmbedding`` passes its check; a failure is logged once per process."""
    return passes("embedding of used rows", check)


def check() -> None:
    """Raise ``DeviationError`` unless all rows match a whole embedding's after a few steps."""
    ids = torch.tensor([1, 4, 1, 2])
    used = torch.zeros(7, dtype=torch.bool)
    used[ids] = True
    whole = nn.Embedding(7, 3)
    split = SplitEmbedding(whole, used)
    for embedding in (split, whole):
        optimizer = AdamW([embedding.weight], lr=0.1, weight_decay=0.5, fused=True)
        if isinstance(embedding, SplitEmbedding):
            embedding.follow(optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            embedding(ids).square().sum().backward()
            optimizer.step()
        embedding.eval()
    with torch.no_grad():
        require_close("a row", split(torch.arange(7)), whole(torch.arange(7)))
    require_close("a saved row", split.state_dict()["weight"], whole.weight.detach())
