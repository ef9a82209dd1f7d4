"""``encoder.kernels``: whether an encoder runs with the modules here, or with torch's and transformers' own.

The encoder remembers the choice, since some kernels depend on things known only later: the pooling, the
training texts, a batch. A kernel that fails its check (``bert_ft.kernels.self_check``) is left out.
"""

from __future__ import annotations

from typing import Annotated

from torch import nn

from bert_ft.kernels.dropout import replace_dropout
from bert_ft.kernels.linear import replace_linear
from bert_ft.kernels.packed_attention import is_correct as attention_is_correct
from bert_ft.limits import one_of, require

FAST = "fast"
Kernels = Annotated[str, one_of((FAST, "plain"))]
_CHOICE = "bert_ft_kernels"  # the attribute of an encoder


def choose_kernels(encoder: nn.Module, choice: str) -> None:
    """Remember the choice, and with ``fast`` replace the encoder's dropout and linear layers, in place.

    Raises:
        ConfigError: ``choice`` is unknown.
    """
    require(Kernels, "encoder.kernels", choice)
    setattr(encoder, _CHOICE, choice)
    if choice == FAST:
        replace_dropout(encoder)
        replace_linear(encoder)
        attention_is_correct()  # logs a failure now, before training; each layer asks again


def is_fast(encoder: nn.Module) -> bool:
    """Return whether this encoder may use the kernels; the default is yes."""
    return getattr(encoder, _CHOICE, FAST) == FAST
