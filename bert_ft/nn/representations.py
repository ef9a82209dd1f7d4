"""How the vectors of texts lie: by class, and in how many directions."""

from __future__ import annotations

import torch
from torch import Tensor


def silhouette(vectors: Tensor, labels: Tensor) -> float:
    """The mean silhouette of ``vectors (rows, hidden)`` by label: 1 = apart, 0 = touching, below = mixed.

    NaN where it isn't defined: with one class, or with a class for each row.

    Source: Rousseeuw 1987.
    """
    from sklearn.metrics import silhouette_score  # takes a second to import

    if not 2 <= len(labels.unique()) < len(labels):
        return float("nan")
    return float(silhouette_score(vectors.numpy(), labels.numpy()))


def centroid_distance(vectors: Tensor, labels: Tensor) -> float:
    """How far apart the classes' means are, on average over their pairs, in units of a row's distance from its own.

    Args:
        vectors: ``(rows, hidden)``.
        labels: ``(rows,)``; NaN if all are equal, infinite if each row is its class's mean.
    """
    classes, positions = labels.unique(return_inverse=True)
    sums = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, positions, vectors)
    centroids = sums / positions.bincount()[:, None]  # (classes, hidden)
    within = torch.linalg.vector_norm(vectors - centroids[positions], dim=1).mean()
    return float(torch.pdist(centroids).mean() / within)


def effective_rank(vectors: Tensor) -> float:
    """The number of directions that the centred ``vectors (rows, hidden)`` make use of, from 1 up.

    It is the exponential of the entropy of the singular values, taken as shares of their sum; NaN for equal rows.

    Source: Roy and Vetterli 2007, of the matrix as it is; centred here, or the mean would be one direction more.
    """
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    return float(torch.special.entr(values / values.sum()).sum().exp())
