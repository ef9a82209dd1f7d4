"""The heads of transformers' masked language models, on hidden states of any tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from bert_ft.errors import ConfigError

Head = Callable[[Any, Any, Tensor], Tensor]


def head_of(model: PreTrainedModel) -> nn.Module:
    """What a ``...ForMaskedLM`` has beside its encoder, of the very same tensors.

    Raises:
        ConfigError: its family isn't in ``HEADS``.
    """
    check_head(model.config)
    head = nn.Module()
    for name, child in model.named_children():
        if child is not model.base_model:
            head.add_module(name, child)
    return head


def token_logits(encoder: PreTrainedModel, head: nn.Module, hidden: Tensor) -> Tensor:
    """``(num_tokens, vocab_size)`` of the encoder's ``(num_tokens, hidden_size)``, by a head of ``head_of``."""
    return HEADS[encoder.config.model_type](encoder, head, hidden)


def check_head(config: PretrainedConfig) -> None:
    """Refuse a family whose masked language model isn't known.

    Raises:
        ConfigError: with those that are.
    """
    if config.model_type not in HEADS or type(config) not in AutoModelForMaskedLM._model_mapping:
        raise ConfigError(
            f"pretrain.mlm_weight: no masked language model is known for model type {config.model_type!r} (known: "
            f"{', '.join(sorted(HEADS))}); set it to 0"
        )


def _bert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.cls(hidden)


def _roberta(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.lm_head(hidden)


def _distilbert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.vocab_projector(head.vocab_layer_norm(head.activation(head.vocab_transform(hidden))))


def _albert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.predictions(hidden)


def _electra(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.generator_lm_head(head.generator_predictions(hidden))


def _modernbert(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    return head.decoder(head.head(hidden))


def _deberta(encoder: Any, head: Any, hidden: Tensor) -> Tensor:
    if encoder.config.legacy:
        return head.cls(hidden)
    return head.lm_predictions(hidden, encoder.embeddings.word_embeddings)


HEADS: dict[str, Head] = {
    "bert": _bert,
    "ernie": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "distilbert": _distilbert,
    "albert": _albert,
    "electra": _electra,
    "modernbert": _modernbert,
    "deberta": _deberta,
    "deberta-v2": _deberta,
}
