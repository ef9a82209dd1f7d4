"""What each family's heads do with the encoder's states: the tails of transformers' own models.

A head is a module with the children that ``...ForSequenceClassification`` or ``...ForMaskedLM`` has beside its
encoder. tests/models/test_classifier.py and test_pretrainer.py compare each tail with transformers' forward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

# encoder, head, and the states: (num_sequences, hidden_size) pooled, or (num_tokens, hidden_size)
Tail = Callable[[Any, Any, Tensor], Tensor]


def pooler_in_encoder(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """BERT: the encoder's pooler, dropout, linear."""
    return head.classifier(head.dropout(encoder.pooler(first[:, None])))


def albert(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """ALBERT: a pooler whose activation is a module beside it."""
    return head.classifier(head.dropout(encoder.pooler_activation(encoder.pooler(first))))


def classification_head(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """RoBERTa: a head that picks the first token itself."""
    return head.classifier(first[:, None])


def distilbert(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """DistilBERT: linear, ReLU, dropout, linear."""
    return head.classifier(head.dropout(head.pre_classifier(first).relu()))


def modernbert(encoder: Any, head: Any, pooled: Tensor) -> Tensor:
    """ModernBERT: a prediction head, dropout, linear."""
    return head.classifier(head.drop(head.head(pooled)))


def deberta(encoder: Any, head: Any, first: Tensor) -> Tensor:
    """DeBERTa: a pooler of the head's own, dropout, linear."""
    return head.classifier(head.dropout(head.pooler(first[:, None])))


def masked_bert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """BERT: ``cls``."""
    return head.cls(hidden)


def masked_roberta(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """RoBERTa: ``lm_head``."""
    return head.lm_head(hidden)


def masked_distilbert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """DistilBERT: its parts one by one."""
    return head.vocab_projector(head.vocab_layer_norm(head.activation(head.vocab_transform(hidden))))


def masked_albert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """ALBERT: ``predictions``."""
    return head.predictions(hidden)


def masked_electra(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """ELECTRA: the generator's."""
    return head.generator_lm_head(head.generator_predictions(hidden))


def masked_modernbert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """ModernBERT: a prediction head and the decoder."""
    return head.decoder(head.head(hidden))


def masked_deberta(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    """DeBERTa: one of two heads, as the configuration says."""
    if encoder.config.legacy:
        return head.cls(hidden)
    return head.lm_predictions(hidden, encoder.embeddings.word_embeddings)
