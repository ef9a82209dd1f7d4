"""The last layer for first tokens alone, where the pooling reads no others.

Of the last layer only keys and values are needed of every token: its queries, output projection and
feed-forward block, 10/12 of its products, only of the tokens that are read. Families whose layers are
BERT's own take part; the others compute all and drop the rest.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from bert_ft.models.families import family_of
from bert_ft.nn.first_token_attention import first_token_attention


class _FirstTokens(nn.Module):
    """Mixed into a family's attention block; without ``cu_first`` it is that block.

    Its layer then gives ``(1, num_sequences, hidden_size)``.
    """

    def forward(
        self, hidden_states: Tensor, *args: Any, cu_first: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        if cu_first is None:
            return super().forward(hidden_states, *args, **kwargs)
        attention: Any = self.self
        heads = (-1, attention.num_attention_heads, attention.attention_head_size)
        first = hidden_states[:, cu_first[:-1]]  # (1, num_sequences, hidden_size)
        context = first_token_attention(
            attention.query(first).view(heads),
            attention.key(hidden_states).view(heads),
            attention.value(hidden_states).view(heads),
            cu_first,
            dropout=attention.dropout.p if self.training else 0.0,
            scaling=attention.scaling,
        )
        return cast(nn.Module, self.output)(context.reshape(first.shape[0], first.shape[1], -1), first), None


_CLASSES: dict[str, type[nn.Module]] = {}


def _with_first_tokens(attention: type[nn.Module]) -> type[nn.Module]:
    name = f"FirstTokens{attention.__name__}"
    return _CLASSES.setdefault(name, type(name, (_FirstTokens, attention), {}))


def prepare_first_tokens(encoder: PreTrainedModel) -> None:
    """Teach the last layer to compute first tokens alone, where the family can (in place)."""
    if family_of(encoder.config).has_bert_layers and not computes_first_tokens(encoder):
        attention = _last_attention(encoder)
        attention.__class__ = _with_first_tokens(type(attention))


def computes_first_tokens(encoder: PreTrainedModel) -> bool:
    """Whether ``prepare_first_tokens`` took effect."""
    is_candidate = family_of(encoder.config).has_bert_layers
    return is_candidate and isinstance(_last_attention(encoder), _FirstTokens)


def _last_attention(encoder: PreTrainedModel) -> nn.Module:
    return cast(Any, encoder).encoder.layer[-1].attention
