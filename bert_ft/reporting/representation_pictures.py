"""Pictures of the vectors that the head sees."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.representations import draw_plane
from bert_ft.reporting.missing import NotLogged
from bert_ft.reporting.projection import principal_plane
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.sketch import Sketch


def plane(log: RunLog) -> Figure:
    """The vectors in the plane of their first two principal components."""
    if log.representations is None:
        raise NotLogged("no monitor/representations_<step>.npz was kept (monitor representations)")
    arrays = log.representations.content
    finite = np.isfinite(arrays["vectors"]).all(axis=1)
    labels, predictions = arrays["labels"][finite], arrays["predictions"][finite]
    found = principal_plane(arrays["vectors"][finite])
    title = f"{len(labels):,} validation rows; the plane shows {100 * found.explained.sum():.0f}% of their variance"
    names = [str(name) for name in arrays["names"]]
    return draw_plane(found.points, labels, labels != predictions, names, found.explained, title)


def separation(log: RunLog) -> Figure:
    """How far the classes are apart at each validation."""
    panels = []
    for key, title, y in (
        ("silhouette", "Silhouette", "−1 (mixed) to 1 (apart)"),
        ("centroid_distance", "Distance of the classes' centres", "distance"),
        ("effective_rank", "Effective rank", "dimensions"),
    ):
        series = log.scalars.get(f"representations/{key}")
        if series is not None:
            ends = f"{series.values[0]:.3g} → {series.values[-1]:.3g}"
            panels.append(Panel(f"{title}: {ends}", y, [Line(title.split()[0].lower(), *series)]))
    if not panels:
        raise NotLogged("no representations/… was logged (monitor representations)")
    return draw_curves(panels)


SKETCHES = (
    Sketch(
        "representations",
        "Representations",
        "Each point is a text; classes that lie apart are easy to tell apart. Two dimensions hide some of the distance.",
        plane,
    ),
    Sketch(
        "separation",
        "Separation of the classes over training",
        "Rising silhouette and distance: the classes move apart. A falling effective rank is normal, one near 1 is a "
        "collapse.",
        separation,
    ),
)
