"""Numbers that were predicted for validation rows: pictures and tables of the section "Numbers"."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.numbers import draw_predicted, draw_residuals
from bert_ft.drawing.style import one_line
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number
from bert_ft.tasks.metrics.number_scores import number_scores

_MOST_TARGETS = 6  # that are drawn


class Predicted(NamedTuple):
    """A target's numbers of all validation rows, ``(rows,)`` each, in the file's unit."""

    name: str
    predicted: NDArray[np.float64]
    true: NDArray[np.float64]


def targets_of(log: RunLog) -> list[Predicted]:
    """Return the numbers of the validation that the report shows, by target.

    Raises:
        NotLogged: none were kept.
    """
    if log.validation is None or "predicted" not in log.validation.content:
        raise NotLogged("no monitor/validation_<step>.npz of numbers was kept (monitor confidence)")
    arrays = log.validation.content
    pairs = zip(arrays["targets"], arrays["predicted"].T, arrays["true"].T, strict=True)
    return [Predicted(str(name), predicted, true) for name, predicted, true in pairs]


def plots_of(log: RunLog) -> Iterator[PlotSpec[RunLog]]:
    """Yield two pictures for each target."""
    try:
        names = [target.name for target in targets_of(log)]
    except NotLogged:
        names = ["score"]
    for index, name in enumerate(names[:_MOST_TARGETS]):
        of = f" of {one_line(name)}" if len(names) > 1 else ""
        yield PlotSpec(
            f"predicted_{index}",
            f"Predicted and true numbers{of}",
            "Points on the dashed line are right. A flat cloud: the model keeps to the mean.",
            partial(_draw, _draw_predicted, index),
        )
        yield PlotSpec(
            f"residuals_{index}",
            f"Residuals{of}",
            "Points should be spread around 0 alike from left to right; a slope or a bend is a systematic error.",
            partial(_draw, _draw_residuals, index),
        )


def _draw(draw: Callable[[Predicted], Figure], index: int, log: RunLog) -> Figure:
    return draw(targets_of(log)[index])


def _draw_predicted(target: Predicted) -> Figure:
    scores = number_scores(target.predicted, target.true)
    title = f"Spearman {scores['spearman']:.3f}, Pearson {scores['pearson']:.3f}, R² {scores['r2']:.3f}"
    return draw_predicted(target.true, target.predicted, f"{title}; {len(target.true):,} rows")


def _draw_residuals(target: Predicted) -> Figure:
    residuals = target.predicted - target.true
    title = f"Mean {residuals.mean():,.5g}, mean absolute {np.abs(residuals).mean():,.5g}"
    return draw_residuals(target.predicted, residuals, title)


def scores_by_target(log: RunLog) -> Table:
    """Return the metrics of each target."""
    rows = []
    for target in targets_of(log):
        scores = number_scores(target.predicted, target.true)
        rows.append(
            [
                Cell(target.name),
                *(number(scores[name]) for name in ("spearman", "pearson", "mae", "rmse", "r2")),
            ]
        )
    return Table(
        "Scores by target",
        "In the file's unit.",
        ["target", "Spearman", "Pearson", "MAE", "RMSE", "R²"],
        rows,
    )
