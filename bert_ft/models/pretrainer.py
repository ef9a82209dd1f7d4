"""An encoder with what its pre-training needs on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import TextBatch
from bert_ft.limits import Count, one_of
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode
from bert_ft.models.loading import without_progress_bars
from bert_ft.models.masked_lm import check_head, head_of, token_logits
from bert_ft.nn.contrastive import Projection
from bert_ft.nn.pooling import WITHOUT_WEIGHTS, build_pooling


class Pretrainer(nn.Module):
    """Guesses masked tokens, and makes vectors of texts.

    Parameters are named ``encoder.<transformers' own name>``, ``pooling.*`` and ``head.*``. A decoder that is tied to the
    token embeddings is the encoder's parameter.

    Args:
        encoder: in training mode.
        language_model: the ``...ForMaskedLM`` whose encoder it is; ``None`` where no tokens are guessed.
        pooling: the name of how a text's vector is made of its tokens.
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
            self.head["mlm"] = head_of(language_model)
        self._saved = [language_model or encoder]  # no child of this module: its parts are

    @property
    def config(self) -> PretrainedConfig:
        """The encoder's configuration."""
        return self.encoder.config

    def token_logits(self, batch: MaskedBatch) -> Tensor:
        """``(num_targets, vocab_size)`` of the tokens to be guessed.

        The others don't go through the head: to project to the vocabulary costs more than a small encoder.
        """
        (hidden,) = encode(self.encoder, batch.masked)
        return token_logits(self.encoder, self.head["mlm"], hidden[batch.is_target])

    def features(self, batch: TextBatch) -> Tensor:
        """``(num_sequences, hidden_size)``, the vectors that are handed over."""
        (hidden,) = encode(self.encoder, batch)
        return self.pooling(hidden, batch.cu_seqlens)

    def project(self, features: Tensor) -> Tensor:
        """``(num_sequences, projected_size)``, what a contrastive loss compares."""
        return self.head["projection"](features)

    def save(self, folder: Path | str, tokenizer: PreTrainedTokenizerFast) -> None:
        """A Hugging Face folder of the encoder, with its language model's head where it has one."""
        (model,) = self._saved
        with without_progress_bars():
            model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


def build_pretrainer(
    spec: EncoderSpec,
    config: PretrainedConfig,
    *,
    masks: bool,
    pooling: str = "mean",
    projection_sizes: Sequence[int] = (),
) -> tuple[Pretrainer, bool]:
    """A ``Pretrainer`` on the loaded encoder, and whether it got a fresh head to guess tokens by.

    Args:
        spec: what to load.
        config: of it, as ``spec`` gives it.
        masks: whether tokens are to be guessed.
        pooling: see ``Pretrainer``.
        projection_sizes: likewise.

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
