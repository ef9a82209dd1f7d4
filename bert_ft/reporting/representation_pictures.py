"""Pictures of the vectors that the head sees."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.representations import draw_plane
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.projection import principal_plane
from bert_ft.reporting.run_log import RunLog


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
    shown = {
        layout.SILHOUETTE: ("Silhouette", "1: apart, 0: mixed"),
        layout.CENTROID_DISTANCE: ("Distance of the classes' centres", "distance"),
        layout.EFFECTIVE_RANK: ("Effective rank", "dimensions"),
    }
    found = {
        key: log.scalars[tag] for key in shown if (tag := f"{layout.REPRESENTATIONS}{key}") in log.scalars
    }
    if not found:
        raise NotLogged("no representations/… was logged (monitor representations)")
    if max(len(series.steps) for series in found.values()) < 2:
        raise NotLogged("there was one validation")
    panels = []
    for key, series in found.items():
        title, unit = shown[key]
        first, last = series.values[[0, -1]]
        panels.append(Panel(f"{title}: {first:.3g} → {last:.3g}", unit, [Line(title, *series)]))
    return draw_curves(panels)


PLOTS = (
    PlotSpec(
        "representations",
        "The plane of most variance",
        "Each point is a text; classes that lie apart are easy to tell apart. Two dimensions hide some of the distance.",
        plane,
    ),
    PlotSpec(
        "separation",
        "Separation of the classes over training",
        "Rising silhouette and distance: the classes move apart. A falling effective rank is normal, one near 1 is a "
        "collapse.",
        separation,
    ),
)
