"""Attention weights of any encoder, computed beside it: the encoder itself isn't touched.

The kernels that encoders train with don't give their weights. Here a twin with the same tensors, but with modules
and a configuration of its own, computes them eagerly; a function of the user's own gives its own weights, or none. So
there are no modes, hooks or settings to be put back, whatever goes wrong, and hooks of others don't see it; nor does it
count what ``torch.compile`` made of the encoder.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bert_ft.compat.torch import hooks_of
from bert_ft.compat.transformers import attention_of, forget_capturing, set_attention
from bert_ft.data.packing import TextBatch
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.attention import is_own
from bert_ft.models.encoding import is_packed
from bert_ft.models.inputs import layer_arguments, packed_inputs, padded_inputs, token_types


def eager_twin(encoder: PreTrainedModel) -> PreTrainedModel:
    """The encoder's double for looking at attention: in evaluation mode, without hooks, with the very same weights."""
    shared: dict[int, Any] = {id(value): value for value in chain(encoder.parameters(), encoder.buffers())}
    for child in encoder.modules():
        shared |= {id(hooks): OrderedDict() for hooks in hooks_of(child)}
        if isinstance(child, SplitEmbedding):
            del shared[id(child.unused)]  # reading it can do decay that is due, which isn't ours to do
    twin = copy.deepcopy(encoder, shared)
    for child in twin.modules():
        forget_capturing(child)  # its own hooks, which give the attentions, are gone
    if not is_own(attention_of(twin.config)):
        set_attention(twin.config, "eager")
    return twin.eval()


@torch.no_grad()
def attention_maps(twin: PreTrainedModel, text: TextBatch) -> Tensor | None:
    """The attention of all tokens of one text to all, ``(layers, heads, length, length)``; ``None`` if there is none.

    Args:
        twin: see ``eager_twin``.
        text: a batch of a single sequence, on the twin's device.
    """
    assert text.num_sequences == 1
    if is_packed(twin):
        inputs: dict[str, Any] = dict(packed_inputs(twin, text))
        if is_own(attention_of(twin.config)):
            inputs |= layer_arguments(twin, text)
    else:
        inputs = {name: value[None] for name, value in token_types(twin, text).items()}
        inputs |= padded_inputs(twin, text.input_ids[None])
        inputs |= {"input_ids": text.input_ids[None], "attention_mask": torch.ones_like(text.input_ids)[None]}
    maps = getattr(twin(**inputs, output_attentions=True), "attentions", None) or ()
    # some pool the tokens between layers, or give windows
    if not maps or any(
        one is None or one.shape != (1, *maps[0].shape[1:2], *2 * [text.num_tokens]) for one in maps
    ):
        return None
    return torch.cat(list(maps))  # (layers, heads, length, length)
