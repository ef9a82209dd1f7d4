"""Attention weights of any encoder, computed by a twin, so that the encoder itself isn't touched.

The kernels that encoders train with don't return their weights. The twin has the same tensors, but its own modules and
configuration, and computes attention eagerly; a user's attention function gives its own weights, or none. So no mode,
hook or setting has to be restored, hooks of the encoder don't see the pass, and ``torch.compile`` plays no part.
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
    """Return a copy for looking at attention: in evaluation mode, without hooks, with the same weight tensors."""
    shared: dict[int, Any] = {id(value): value for value in chain(encoder.parameters(), encoder.buffers())}
    for child in encoder.modules():
        shared |= {id(hooks): OrderedDict() for hooks in hooks_of(child)}
        if isinstance(child, SplitEmbedding):
            del shared[id(child.unused)]  # its own copy: reading it may apply pending weight decay
    twin = copy.deepcopy(encoder, shared)
    for child in twin.modules():
        forget_capturing(child)  # the hooks that return attentions were not copied
    if not is_own(attention_of(twin.config)):
        set_attention(twin.config, "eager")
    return twin.eval()


@torch.no_grad()
def attention_maps(twin: PreTrainedModel, text: TextBatch) -> Tensor | None:
    """Return the attention between all tokens of one text, ``(layers, heads, length, length)``; ``None`` if there is none.

    ``twin`` is from ``eager_twin``; ``text`` is a batch of one sequence on its device.
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
    # some families pool tokens between layers, or return windows
    if not maps or any(
        one is None or one.shape != (1, *maps[0].shape[1:2], *2 * [text.num_tokens]) for one in maps
    ):
        return None
    return torch.cat(list(maps))  # (layers, heads, length, length)
