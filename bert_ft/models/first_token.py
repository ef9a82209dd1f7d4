"""The last layer computed for first tokens only, if the pooling reads no others.

Only for families with BERT's own layers; others compute all tokens and drop the rest.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from bert_ft.compat.transformers import attention_of
from bert_ft.kernels.first_token import FirstTokens, is_correct, with_first_tokens
from bert_ft.kernels.switch import is_fast
from bert_ft.models.attention import is_own
from bert_ft.models.encoder_config import runs_packed
from bert_ft.models.families import family_of


def prepare_first_tokens(encoder: PreTrainedModel) -> None:
    """Let the last layer compute first tokens only, in place, if the family and ``encoder.kernels`` allow it."""
    implementation = attention_of(encoder.config)
    # the kernel is plain attention on packed tokens
    if not is_fast(encoder) or is_own(implementation) or not runs_packed(encoder.config, implementation):
        return
    if family_of(encoder.config).has_bert_layers and not computes_first_tokens(encoder):
        attention = _last_attention(encoder)
        if is_correct(type(attention), type(encoder.config)):
            attention.__class__ = with_first_tokens(type(attention))


def computes_first_tokens(encoder: PreTrainedModel) -> bool:
    """Return whether ``prepare_first_tokens`` took effect."""
    is_candidate = family_of(encoder.config).has_bert_layers
    return is_candidate and isinstance(_last_attention(encoder), FirstTokens)


def _last_attention(encoder: PreTrainedModel) -> nn.Module:
    return cast(Any, encoder).encoder.layer[-1].attention
