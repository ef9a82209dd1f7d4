"""The heads of transformers' masked language models, on hidden states of any tokens."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from bert_ft.compat.transformers import has_class
from bert_ft.errors import ConfigError
from bert_ft.models.families import family_of, model_types


def head_of(model: PreTrainedModel) -> nn.Module:
    """What a ``...ForMaskedLM`` has beside its encoder, of the very same tensors.

    Raises:
        ConfigError: its family's isn't known.
    """
    check_head(model.config)
    head = nn.Module()
    for name, child in model.named_children():
        if child is not model.base_model:
            head.add_module(name, child)
    return head


def token_logits(encoder: PreTrainedModel, head: nn.Module, hidden: Tensor) -> Tensor:
    """``(num_tokens, vocab_size)`` of the encoder's ``(num_tokens, hidden_size)``, by a head of ``head_of``."""
    tail = family_of(encoder.config).predict_tokens
    assert tail is not None, "see check_head"
    return tail(encoder, head, hidden)


def check_head(config: PretrainedConfig) -> None:
    """Refuse a family whose masked language model isn't known.

    Raises:
        ConfigError: with those that are.
    """
    if family_of(config).predict_tokens is None or not has_class(AutoModelForMaskedLM, config):
        raise ConfigError(
            f"pretrain.mlm_weight: no masked language model is known for model type {config.model_type!r} (known: "
            f"{model_types('predict_tokens')}); set it to 0"
        )
