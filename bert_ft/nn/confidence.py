"""How confident a classifier is, and how often it is correct."""

import torch
from torch import Tensor
from torch.nn import functional as F


def brier_score(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared distance of ``(rows, classes)`` from the one-hot labels ``(rows,)``, from 0 to 2.

    Source: Brier 1950, over all classes; scikit-learn's score for two classes is half of it.
    """
    targets = F.one_hot(labels, probabilities.shape[1])
    return (probabilities - targets).square().sum(1).mean()


def right_and_wrong(probabilities: Tensor, predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predictions' probabilities in right rows, ``(num_correct,)``, and in wrong rows, ``(num_wrong,)``."""
    predicted = probabilities.gather(1, predictions[:, None])[:, 0]
    is_correct = predictions == labels
    return predicted[is_correct], predicted[~is_correct]


def highest_losses(losses: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Return positions and values of the highest of ``(rows,)`` losses; of equal ones the earlier row comes first."""
    order = losses.argsort(descending=True, stable=True)[:num_rows]
    return order, losses[order]


def finite_rows(logits: Tensor) -> Tensor:
    """Return which rows of ``(rows, classes)`` logits are finite, ``(rows,)`` bool."""
    return torch.isfinite(logits).all(dim=1)
