"""Vectors of many dimensions, seen from where they differ most."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bert_ft.reporting.not_logged import NotLogged


class Plane(NamedTuple):
    """Where the rows lie in the plane of the first two principal components.

    Attributes:
        points: ``(rows, 2)``.
        explained: ``(2,)``, the share of the variance along each.
    """

    points: NDArray[np.float64]
    explained: NDArray[np.float64]


def principal_plane(vectors: NDArray) -> Plane:
    """Of ``vectors`` ``(rows, width)``.

    Raises:
        NotLogged: there are fewer than 3 rows or 2 dimensions, all rows are the same, or a value isn't finite.
    """
    if min(vectors.shape[0] - 1, vectors.shape[1]) < 2:
        raise NotLogged(f"{vectors.shape[0]} vectors of width {vectors.shape[1]} span no plane")
    vectors = vectors.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise NotLogged("the representations hold values that aren't finite")
    if not np.ptp(vectors, axis=0).any():
        raise NotLogged("all representations are the same")
    from sklearn.decomposition import PCA  # a second to import, and not every report has vectors

    pca = PCA(n_components=2, svd_solver="full").fit(vectors)
    return Plane(pca.transform(vectors), pca.explained_variance_ratio_)
