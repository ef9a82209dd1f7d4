"""Pictures of the vectors that the head sees."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.representations import draw_plane
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import plot
from bert_ft.reporting.run_log import RunLog


class Plane(NamedTuple):
    """Rows in the plane of their first two principal components.

    Attributes:
        points: ``(rows, 2)``.
        explained: ``(2,)``, the share of the variance along each.
    """

    points: NDArray[np.float64]
    explained: NDArray[np.float64]


def principal_plane(vectors: NDArray) -> Plane:
    """Project finite ``vectors`` ``(rows, width)``.

    Raises:
        NotLogged: there are fewer than 3 rows or 2 dimensions, or all rows are the same.
    """
    if min(vectors.shape[0] - 1, vectors.shape[1]) < 2:
        raise NotLogged(f"{vectors.shape[0]} vectors of width {vectors.shape[1]} span no plane")
    vectors = vectors.astype(np.float64)
    if not np.ptp(vectors, axis=0).any():
        raise NotLogged("all representations are the same")
    from sklearn.decomposition import PCA  # takes a second to import, and not every report has vectors

    pca = PCA(n_components=2, svd_solver="full").fit(vectors)
    return Plane(pca.transform(vectors), pca.explained_variance_ratio_)


@plot(
    "The plane of most variance",
    "Each point is a text; classes that lie apart are easy to tell apart. Two dimensions hide some of the distance.",
)
def representations(log: RunLog) -> Figure:
    if log.representations is None:
        raise NotLogged("no monitor/representations_<step>.npz was kept (monitor representations)")
    arrays = log.representations.content
    finite = np.isfinite(arrays["vectors"]).all(axis=1)
    labels, predictions = arrays["labels"][finite], arrays["predictions"][finite]
    points, explained = principal_plane(arrays["vectors"][finite])
    title = f"{len(labels):,} validation rows; the plane shows {100 * explained.sum():.0f}% of their variance"
    names = [str(name) for name in arrays["names"]]
    return draw_plane(points, labels, labels != predictions, names, explained, title)


@plot(
    "Separation of the classes over training",
    "Rising silhouette and distance: the classes move apart. A falling effective rank is normal; one near 1 is a "
    "collapse.",
)
def separation(log: RunLog) -> Figure:
    panels = []
    for key, title, unit in (
        (layout.SILHOUETTE, "Silhouette", "1: apart, 0: mixed"),
        (layout.CENTROID_DISTANCE, "Distance between class centers", "distance"),
        (layout.EFFECTIVE_RANK, "Effective rank", "dimensions"),
    ):
        if (series := log.scalars.get(f"{layout.REPRESENTATIONS}{key}")) is not None:
            first, last = series.values[[0, -1]]
            panels.append(Panel(f"{title}: {first:.3g} → {last:.3g}", unit, [Line(title, *series)]))
    if not panels:
        raise NotLogged("no representations/… was logged (monitor representations)")
    if max(len(panel.lines[0].steps) for panel in panels) < 2:
        raise NotLogged("there was one validation")
    return draw_curves(panels)


PLOTS = (representations, separation)
