"""Decide on ``trainer.precision=auto``."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig

from bert_ft.config.build.data import TextInputs
from bert_ft.config.build.trainer import precision_of
from bert_ft.errors import ConfigError
from bert_ft.training.precision import AUTO, Precision


def decide_precision(settings: DictConfig, inputs: Callable[[], TextInputs]) -> tuple[Precision, str]:
    """Return the precision, and a sentence on it if it was ``auto``, whose place in ``settings`` the decision then takes.

    ``inputs`` returns the encoder, which is asked only if 16 bits would be used: some can't be trained in them.
    """
    precision = precision_of(settings)
    if settings.precision != AUTO:
        return precision, ""
    decided, why = precision.requested, "the default here"
    if "16" in precision.effective:
        why = "the default on this GPU"
        found = inputs()
        try:
            found.encoder.check_half_precision(found.encoder_config, f"trainer.precision={decided}")
        except ConfigError:
            decided, why = "32", f"since {found.encoder_config.model_type} can't be trained in 16 bits"
    settings.precision = int(decided) if decided.isdigit() else decided
    return precision_of(settings), f"trainer.precision: {decided}, {why}"
