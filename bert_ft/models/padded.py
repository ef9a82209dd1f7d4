"""A classifier on padded batches, in operations that other formats have: what is exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModel,
    AutoModelForSequenceClassification,
)

from bert_ft.models.classifier import Classifier, LinearClassifier, ResidualClassifier
from bert_ft.models.encoder_config import without_pooler
from bert_ft.models.inputs import padded_inputs
from bert_ft.models.inserted import insert_parts, inserted_in
from bert_ft.nn.padded_pooling import pool_padded
from bert_ft.nn.pooling import mean_of_layers
from bert_ft.trust import TARGET

ORT_ATTENTION = "bert_ft_ort_attention"


class PaddedClassifier(nn.Module):
    """The logits of ``classifier`` for padded batches: its weights, copied, in transformers' padded encoder.

    Args:
        classifier: one that runs on packed batches; it stays as it is.
        ort_attention: attention as one operator of ONNX Runtime's own, for families that have it. Such a module
            can be exported, but not run.
    """

    def __init__(self, classifier: Classifier, *, ort_attention: bool = False) -> None:
        super().__init__()
        self.ort_attention = ort_attention
        self.classifier: Any = _padded(classifier, ORT_ATTENTION if ort_attention else "eager")
        self.num_layers = getattr(classifier, "pooling_layers", 1)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """``(batch, num_labels)`` from ``(batch, length)`` each; the padding stands behind the tokens."""
        encoder = self.classifier.encoder
        inputs: dict[str, Any] = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        inputs |= padded_inputs(encoder, input_ids)
        # transformers leaves a mask of four dimensions as it is
        mask = attention_mask[:, None, None].to(torch.int32) if self.ort_attention else attention_mask
        output = encoder(
            input_ids=input_ids, attention_mask=mask, output_hidden_states=self.num_layers > 1, **inputs
        )
        layers = [output.last_hidden_state]
        if self.num_layers > 1:
            layers = output.hidden_states[-self.num_layers :]
        features = pool_padded(self.classifier.pooling, mean_of_layers(layers), attention_mask)
        return self.classifier.logits(features)


def _padded(classifier: Classifier, attn_implementation: str) -> Classifier:
    """A new classifier with the weights of this one, in float32, that takes no part in packing."""
    config = copy.deepcopy(classifier.config)
    copied: Classifier
    inserted = inserted_in(classifier.encoder)
    # classes of the given one were trusted when it was built
    own = [part[TARGET] for part in inserted.values()]
    if isinstance(classifier, LinearClassifier):
        model = AutoModelForSequenceClassification.from_config(
            config, attn_implementation=attn_implementation
        )
        insert_parts(model.base_model, inserted, own)
        copied = LinearClassifier(model)
    elif isinstance(classifier, ResidualClassifier):
        encoder = AutoModel.from_config(
            config, attn_implementation=attn_implementation, **without_pooler(config)
        )
        architecture: dict[str, Any] = classifier.architecture
        insert_parts(encoder, inserted, own)
        own += [part[TARGET] for part in architecture.values() if isinstance(part, dict)]
        copied = ResidualClassifier(encoder, trust=own, **architecture)
    else:
        raise TypeError(f"{type(classifier).__name__} has no form for padded batches")
    copied.load_saved_state(classifier.saved_state())
    return copied.eval()


def _ort_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """``(batch, heads, length, head_dim)`` each, to ``(batch, length, heads, head_dim)``.

    Written down as the operator that the graph is to have: ONNX Runtime's search for attention among
    single operators depends on how each family spells its mask and scaling.
    """
    num_heads, head_dim = query.shape[1], query.shape[3]
    states = [state.transpose(1, 2).flatten(2) for state in (query, key, value)]
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (*states, None, attention_mask[:, 0, 0]),  # None: the projections have added their bias
        {"num_heads": num_heads, "scale": head_dim**-0.5 if scaling is None else float(scaling)},
        dtype=query.dtype,
        shape=states[0].shape,
        version=1,
    )
    return output.unflatten(-1, (num_heads, head_dim)), None


AttentionInterface.register(ORT_ATTENTION, _ort_attention)
# never asked for: the mask comes with four dimensions
AttentionMaskInterface.register(ORT_ATTENTION, lambda **_: None)
