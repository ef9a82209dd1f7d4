"""Check, before any data is read, that the encoder's family supports what a run needs."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig

from bert_ft.config.build.trainer import precision_of
from bert_ft.data.masking import MaskingVocabulary
from bert_ft.errors import ConfigError
from bert_ft.models.classifier import check_linear
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.families import family_of
from bert_ft.models.layer_names import check_layer_names
from bert_ft.models.pretrainer import check_head

log = logging.getLogger(__name__)


def check_encoder(config: DictConfig, spec: EncoderSpec, encoder: Any, tokenizer: Any) -> None:
    """Refuse settings of fine-tuning and of its pre-training stage that the encoder doesn't support.

    Args:
        config: the run's configuration.
        spec: the encoder.
        encoder: the result of ``spec.load_config``.
        tokenizer: the run's tokenizer.

    Raises:
        ConfigError: names the family and the reason.
    """
    if config.optimizer.layer_decay < 1:
        setting = f"optimizer.layer_decay={config.optimizer.layer_decay}"
        check_layer_names(encoder, setting, "set it to 1")
    if config.get("unfreezing"):
        check_layer_names(encoder, "unfreezing=gradual", "set unfreezing=none")
    if str(config.model.get("_target_", "")).endswith(".build_linear"):
        check_linear(encoder)
    precision = precision_of(config.trainer)
    if "16" in precision.effective:
        spec.check_half_precision(encoder, f"trainer.precision={precision.requested}")
    augmentation = config.data.augmentation or {}
    if augmentation.get("span_mask_ratio") and tokenizer.mask_token_id is None:
        raise ConfigError(
            f"data.augmentation.span_mask_ratio={augmentation['span_mask_ratio']}: the tokenizer of "
            f"encoder.name_or_path={spec.name_or_path} has no [MASK]; set it to 0"
        )
    if config.get("pretrain"):
        check_encoder_of_stage(config, spec, encoder, tokenizer)
    if family_of(encoder).notice is not None:
        log.warning("encoder: %s %s", encoder.model_type, family_of(encoder).notice)


def check_encoder_of_stage(config: DictConfig, spec: EncoderSpec, encoder: Any, tokenizer: Any) -> None:
    """Do the same as ``check_encoder`` for the pre-training stage.

    Raises:
        ConfigError: names the family and the reason.
    """
    settings = config.pretrain
    if settings.mlm_weight:
        check_head(encoder)
        MaskingVocabulary.of(tokenizer)
    if settings.optimizer.layer_decay < 1:
        setting = f"pretrain.optimizer.layer_decay={settings.optimizer.layer_decay}"
        check_layer_names(encoder, setting, "set it to 1")
    precision = precision_of(settings.trainer)
    if "16" in precision.effective:
        spec.check_half_precision(encoder, f"pretrain.trainer.precision={precision.requested}")
