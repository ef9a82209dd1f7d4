"""How each family's heads compute logits from the encoder's states, as transformers' own models do.

``head`` has the children that ``...ForSequenceClassification`` or ``...ForMaskedLM`` has besides its encoder. The tests
compare each function with transformers' forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

# encoder, head, and the states: (num_sequences, hidden_size) pooled, or (num_tokens, hidden_size)
Tail = Callable[[Any, Any, Tensor], Tensor]


def head_of(model: PreTrainedModel) -> nn.Module:
    """Return the children of a model besides its encoder, as one module with the same tensors."""
    head = nn.Module()
    for name, child in model.named_children():
        if child is not model.base_model:
            head.add_module(name, child)
    return head


def pooler_in_encoder(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """BERT: the encoder's pooler, dropout, linear."""
    return head.classifier(head.dropout(encoder.pooler(first[:, None])))


def albert(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """ALBERT: a pooler whose activation is a separate module."""
    return head.classifier(head.dropout(encoder.pooler_activation(encoder.pooler(first))))


def classification_head(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """RoBERTa: a head that picks the first token itself."""
    return head.classifier(first[:, None])


def distilbert(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """DistilBERT: linear, ReLU, dropout, linear."""
    return head.classifier(head.dropout(head.pre_classifier(first).relu()))


def deberta(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """DeBERTa: a pooler in the head, dropout, linear."""
    return head.classifier(head.dropout(head.pooler(first[:, None])))


def masked_deberta(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """DeBERTa: one of two heads, depending on the configuration."""
    if encoder.config.legacy:
        return head.cls(hidden)
    return head.lm_predictions(hidden, encoder.embeddings.word_embeddings)


def _sequence(*names: str) -> Tail:
    """Return a function that applies these children of the head, one after the other."""

    def tail(encoder: Any, head: Any, states: Tensor) -> Tensor:
        for name in names:
            states = getattr(head, name)(states)
        return states

    return tail


modernbert = _sequence("head", "drop", "classifier")
masked_bert = _sequence("cls")
masked_roberta = _sequence("lm_head")
masked_distilbert = _sequence("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector")
masked_albert = _sequence("predictions")
masked_electra = _sequence("generator_predictions", "generator_lm_head")
masked_modernbert = _sequence("head", "decoder")
