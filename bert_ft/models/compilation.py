"""``torch.compile`` for an encoder on packed batches."""

from __future__ import annotations

import torch
from transformers import AttentionInterface, PreTrainedModel

from bert_ft.compat.transformers import attention_of
from bert_ft.models.attention import PACKED_EAGER, PACKED_SDPA, has_packed_form, is_own


def compile_encoder(encoder: PreTrainedModel) -> None:
    """Compile the encoder in place, for any number of tokens; the first batches trigger it.

    Packed attention stays outside of the graphs, since a graph with the lengths of a batch in it would be compiled for
    each batch. So each layer becomes two graphs, from one attention to the next.
    """
    names, own = [PACKED_EAGER, PACKED_SDPA], attention_of(encoder.config)
    if own is not None and is_own(own) and has_packed_form(own):
        names.append(own)
    for name in names:
        AttentionInterface.register(name, torch.compiler.disable(AttentionInterface()[name]))
    encoder.compile(dynamic=True)
