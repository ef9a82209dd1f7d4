"""How sure a classifier is, and how right."""

import torch
from torch import Tensor
from torch.nn import functional as F


def brier_score(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The mean over rows of the squared distance from the one-hot label, a scalar between 0 and 2.

    Args:
        probabilities: ``(rows, classes)``.
        labels: ``(rows,)`` class ids.

    Source: Brier 1950, over all classes as there; scikit-learn's for two classes is half of it.
    """
    targets = F.one_hot(labels, probabilities.shape[1])
    return (probabilities - targets).square().sum(1).mean()


def right_and_wrong(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The highest probability of each row that is predicted right, ``(num_correct,)``, and wrong, ``(num_wrong,)``."""
    highest, predictions = probabilities.max(dim=1)
    is_correct = predictions == labels
    return highest[is_correct], highest[~is_correct]


def highest_losses(losses: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Return the positions of the highest of ``(rows,)`` losses, highest first, and these; fewer if there are fewer.

    Of equal losses the earlier row comes first.
    """
    order = losses.argsort(descending=True, stable=True)[:num_rows]
    return order, losses[order]


def finite_rows(logits: Tensor) -> Tensor:
    """``(rows,)`` bool, the rows of ``logits (rows, classes)`` that give probabilities."""
    return torch.isfinite(logits).all(dim=1)
