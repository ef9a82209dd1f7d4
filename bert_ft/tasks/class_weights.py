"""Weights of classes and labels (``loss.class_weights``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bert_ft.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def given_weights(given: Sequence[float], names: Sequence[str]) -> list[float]:
    """Return weights that the user gave, one for each name.

    Raises:
        ConfigError: the numbers of weights and names differ.
    """
    if len(given) != len(names):
        raise ConfigError(
            f"loss.class_weights={given}: {len(given)} weights for the {len(names)} labels {', '.join(names)}; give one for "
            "each, in this order"
        )
    return list(given)


def balanced_label_weights(targets: np.ndarray) -> list[float]:
    """Return each label's negatives over its positives in ``(rows, num_labels)`` bool.

    1 for a label of all rows or of none, which nothing balances.
    """
    import numpy as np

    positive = targets.sum(axis=0)
    negative = len(targets) - positive
    mixed = (positive > 0) & (negative > 0)
    return np.divide(negative, positive, out=np.ones(len(positive)), where=mixed).tolist()
