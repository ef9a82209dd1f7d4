"""How well text vectors separate by class, and how many dimensions they use."""

import torch
from torch import Tensor


def silhouette(vectors: Tensor, labels: Tensor) -> float:
    """Return the mean silhouette of ``(rows, hidden)`` by label: 1 = apart, 0 = touching, below = mixed.

    NaN with one class, or with a class for each row. Source: Rousseeuw 1987.
    """
    from sklearn.metrics import silhouette_score  # takes a second to import

    if not 2 <= len(labels.unique()) < len(labels):
        return float("nan")
    return float(silhouette_score(vectors.numpy(), labels.numpy()))


def centroid_distance(vectors: Tensor, labels: Tensor) -> float:
    """Return the mean distance between class means, divided by the mean distance of a row from its class mean.

    ``vectors`` are ``(rows, hidden)``. NaN with one class, infinite if each row equals its class mean.
    """
    classes, positions = labels.unique(return_inverse=True)
    sums = vectors.new_zeros(len(classes), vectors.shape[1]).index_add(0, positions, vectors)
    centroids = sums / positions.bincount()[:, None]  # (classes, hidden)
    within = torch.linalg.vector_norm(vectors - centroids[positions], dim=1).mean()
    return float(torch.pdist(centroids).mean() / within)


def effective_rank(vectors: Tensor) -> float:
    """Return the number of dimensions that the centered ``(rows, hidden)`` use: at least 1, NaN for equal rows.

    It is the exponential of the entropy of the singular values, as shares of their sum. Source: Roy and Vetterli 2007,
    who don't center the matrix; its mean would count as one more dimension.
    """
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    return float(torch.special.entr(values / values.sum()).sum().exp())
