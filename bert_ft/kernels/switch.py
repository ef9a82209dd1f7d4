"""``encoder.kernels``: whether an encoder runs with the modules here, or with torch's and transformers' own.

The choice stays with the encoder, since some kernels come in when more is known: the pooling, the training texts, a batch.
A kernel that fails its check at that point (``bert_ft.kernels.self_check``) is left out.
"""

from __future__ import annotations

from typing import Annotated

from torch import nn

from bert_ft.kernels.dropout import replace_dropout
from bert_ft.kernels.linear import replace_linear
from bert_ft.kernels.packed_attention import is_correct as attention_is_correct
from bert_ft.limits import one_of, require

FAST = "fast"
PLAIN = "plain"
Kernels = Annotated[str, one_of((FAST, PLAIN))]
_CHOICE = "bert_ft_kernels"  # the attribute of an encoder


def choose_kernels(encoder: nn.Module, choice: str) -> None:
    """Remember the choice, and with ``fast`` replace the encoder's dropout and linear layers, in place.

    Raises:
        ConfigError: there is no such choice.
    """
    require(Kernels, "encoder.kernels", choice)
    setattr(encoder, _CHOICE, choice)
    if choice == FAST:
        replace_dropout(encoder)
        replace_linear(encoder)
        attention_is_correct()  # asked in each layer: what is wrong is said here, before training


def is_fast(encoder: nn.Module) -> bool:
    """Whether the kernels may be used with this encoder; they may where nothing was chosen."""
    return getattr(encoder, _CHOICE, FAST) == FAST
