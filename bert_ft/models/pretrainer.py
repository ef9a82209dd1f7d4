"""An encoder with the heads of its pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from bert_ft.atomic_file import follow_umask
from bert_ft.compat.transformers import has_class
from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.limits import Count, one_of
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode
from bert_ft.models.families import family_of, model_types
from bert_ft.models.family_heads import head_of
from bert_ft.models.loading import without_progress_bars
from bert_ft.nn.contrastive import Projection
from bert_ft.nn.pooling import WITHOUT_WEIGHTS, build_pooling


class Pretrainer(nn.Module):
    """Predicts masked tokens, and computes vectors of texts.

    Parameters are named ``encoder.<transformers' own name>``, ``pooling.*`` and ``head.*``. A decoder that is tied to the
    token embeddings is the encoder's parameter.

    Args:
        encoder: the encoder, in training mode.
        language_model: the ``...ForMaskedLM`` of this encoder; ``None`` if no tokens are predicted.
        pooling: name of the pooling that makes a text's vector.
        projection_sizes: see ``Projection``.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        language_model: PreTrainedModel | None = None,
        *,
        pooling: Annotated[str, one_of(WITHOUT_WEIGHTS)] = "mean",
        projection_sizes: Sequence[Count] = (),
    ) -> None:
        super().__init__()
        hidden_size = int(encoder.config.hidden_size)
        self.encoder = encoder
        self.pooling = build_pooling(pooling, hidden_size)
        self.head = nn.ModuleDict({"projection": Projection(hidden_size, projection_sizes)})
        if language_model is not None:
            check_head(language_model.config)
            self.head["mlm"] = head_of(language_model)
        self._saved = [
            language_model or encoder
        ]  # in a list, since its parts are this module's children already

    @property
    def config(self) -> PretrainedConfig:
        return self.encoder.config

    def token_logits(self, batch: MaskedBatch) -> Tensor:
        """Return ``(num_targets, vocab_size)`` of the masked tokens.

        Only these go through the head: the projection to the vocabulary costs more than a small encoder.
        """
        (hidden,) = encode(self.encoder, batch.masked)
        tail = family_of(self.config).predict_tokens
        assert tail is not None, "see check_head"
        return tail(self.encoder, self.head["mlm"], hidden[batch.is_target])

    def features(self, batch: TextBatch) -> Tensor:
        """Return the vectors of the texts, ``(num_sequences, hidden_size)``."""
        (hidden,) = encode(self.encoder, batch)
        return self.pooling(hidden, batch.cu_seqlens)

    def project(self, features: Tensor) -> Tensor:
        """Return ``(num_sequences, projected_size)``, which a contrastive loss compares."""
        return self.head["projection"](features)

    def save(self, folder: Path | str, tokenizer: PreTrainedTokenizerFast) -> None:
        """Write a Hugging Face folder of the encoder, with the head of its language model if it has one."""
        (model,) = self._saved
        with without_progress_bars():
            model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
        follow_umask(Path(folder))


def check_head(config: PretrainedConfig) -> None:
    """Raise ``ConfigError`` if the masked language model of the family isn't known."""
    if family_of(config).predict_tokens is None or not has_class(AutoModelForMaskedLM, config):
        raise ConfigError(
            f"pretrain.mlm_weight: no masked language model is known for model type {config.model_type!r} (known: "
            f"{model_types('predict_tokens')}); set it to 0"
        )


def build_pretrainer(
    spec: EncoderSpec,
    config: PretrainedConfig,
    *,
    masks: bool,
    pooling: str = "mean",
    projection_sizes: Sequence[int] = (),
) -> tuple[Pretrainer, bool]:
    """Return a ``Pretrainer`` on the loaded encoder, and whether its masked-LM head is fresh.

    ``config`` is from ``spec.load_config()``; ``masks`` says whether tokens are predicted.

    Raises:
        CheckpointError: the encoder can't be loaded.
        ConfigError: no masked language model is known for its family.
    """
    if not masks:
        return Pretrainer(spec.load(config), pooling=pooling, projection_sizes=projection_sizes), False
    check_head(config)
    model, head_is_fresh = spec.load_masked_lm(config)
    encoder = cast(PreTrainedModel, model.base_model)
    return Pretrainer(encoder, model, pooling=pooling, projection_sizes=projection_sizes), head_is_fresh
