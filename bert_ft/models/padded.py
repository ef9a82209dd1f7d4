"""A classifier for padded batches, in operations that export formats support."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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
    """Computes the logits of ``classifier`` for padded batches: a copy of its weights in transformers' padded encoder.

    With ``ort_attention`` the attention is one operator of ONNX Runtime, for families that support it. Such a module can
    be exported, but not run. ``output_scale`` brings the logits into another unit (``Task.output_scale``).
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        ort_attention: bool = False,
        output_scale: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        factor, shift = output_scale or (None, None)
        self.factor: Tensor | None
        self.shift: Tensor | None
        self.register_buffer("factor", None if factor is None else torch.tensor(list(factor)))
        self.register_buffer("shift", None if shift is None else torch.tensor(list(shift)))
        self.ort_attention = ort_attention
        self.classifier: Any = _padded(classifier, ORT_ATTENTION if ort_attention else "eager")
        self.num_layers = getattr(classifier, "pooling_layers", 1)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return ``(batch, num_labels)`` from ``(batch, length)`` each; the padding follows the tokens."""
        encoder = self.classifier.encoder
        inputs: dict[str, Any] = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        inputs |= padded_inputs(encoder, input_ids)
        # transformers leaves a mask of four dimensions as it is
        mask = attention_mask[:, None, None].to(torch.int32) if self.ort_attention else attention_mask
        inputs["output_hidden_states"] = self.num_layers > 1
        output = encoder(input_ids=input_ids, attention_mask=mask, **inputs)
        layers = (
            output.hidden_states[-self.num_layers :] if self.num_layers > 1 else [output.last_hidden_state]
        )
        features = pool_padded(self.classifier.pooling, mean_of_layers(layers), attention_mask)
        logits = self.classifier.logits(features)
        return logits if self.factor is None or self.shift is None else logits * self.factor + self.shift


def _padded(classifier: Classifier, attn_implementation: str) -> Classifier:
    """Return a new classifier with these weights, in float32, with an attention function for padded batches."""
    config = copy.deepcopy(classifier.config)
    options: dict[str, Any] = {"attn_implementation": attn_implementation}
    copied: Classifier
    inserted = inserted_in(classifier.encoder)
    # classes of the given one were trusted when it was built
    own = [part[TARGET] for part in inserted.values()]
    if isinstance(classifier, LinearClassifier):
        model = AutoModelForSequenceClassification.from_config(config, **options)
        insert_parts(model.base_model, inserted, own)
        copied = LinearClassifier(model)
    else:
        assert isinstance(classifier, ResidualClassifier)
        encoder = AutoModel.from_config(config, **options, **without_pooler(config))
        insert_parts(encoder, inserted, own)
        architecture: dict[str, Any] = classifier.architecture
        own += [part[TARGET] for part in architecture.values() if isinstance(part, dict)]
        copied = ResidualClassifier(encoder, trust=own, **architecture)
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
    """Return ``(batch, length, heads, head_dim)`` from ``(batch, heads, length, head_dim)``, by one operator.

    ONNX Runtime's own search for attention among single operators depends on how a family's code writes mask and scaling.
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
# never called: the mask is given with four dimensions
AttentionMaskInterface.register(ORT_ATTENTION, lambda **_: None)
