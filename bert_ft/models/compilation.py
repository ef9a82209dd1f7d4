"""``torch.compile`` for an encoder on packed batches."""

from __future__ import annotations

import torch
from transformers import AttentionInterface, PreTrainedModel

from bert_ft.compat.transformers import attention_of
from bert_ft.models.attention import PACKED_EAGER, PACKED_SDPA, has_packed_form, is_own


def compile_encoder(encoder: PreTrainedModel) -> None:
    """Compile the encoder in place, for any number of tokens; it happens at the first batches.

    Packed attention stays outside of the graphs: how a batch is divided into lengths would be compiled in, once
    for each batch. So a layer is two graphs, from one attention to the next.
    """
    names = [PACKED_EAGER, PACKED_SDPA]
    own = attention_of(encoder.config)
    if own is not None and is_own(own) and has_packed_form(own):
        names.append(own)
    for name in names:
        attention = AttentionInterface()[name]
        AttentionInterface.register(name, torch.compiler.disable(attention))
    encoder.compile(dynamic=True)
