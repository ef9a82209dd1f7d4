"""Pictures of the classifier's predictions for the validation rows."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft import layout
from bert_ft.drawing.confidence import draw_confusion, draw_reliability, draw_top_probabilities
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.heat_maps import HeatMap, draw_heat_maps
from bert_ft.drawing.style import capitalized, one_line
from bert_ft.reporting.layer_grid import logged_grid
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import plot
from bert_ft.reporting.run_log import RunLog
from bert_ft.tasks.calibration import NUM_BINS, reliability_bins
from bert_ft.tasks.confidence import PredictionProbabilities, prediction_probabilities

SURE = 0.9


class Outputs(NamedTuple):
    """The classifier's outputs for the validation rows that were saved and have finite logits.

    Attributes:
        top: their predictions.
        names: ``(classes,)``.
        counts: ``(classes, classes)``, the confusion matrix of all rows, including those that weren't saved.
    """

    top: PredictionProbabilities
    names: list[str]
    counts: NDArray[np.int64]


def outputs_of(log: RunLog) -> Outputs:
    """Return the outputs of the validation that the report shows.

    Raises:
        NotLogged: no validation outputs were kept, or none of their rows has finite logits.
    """
    if log.validation is None:
        raise NotLogged("no monitor/validation_<step>.npz was kept (monitor confidence)")
    arrays = log.validation.content
    if "confusion" not in arrays:
        raise NotLogged("the validation file has no confusion matrix")
    finite = np.isfinite(arrays["logits"]).all(axis=1)
    if not finite.any():
        raise NotLogged("no validation row has finite logits")
    predictions = arrays["predictions"][finite] if "predictions" in arrays else None  # earlier runs kept none
    top = prediction_probabilities(
        arrays["logits"][finite], arrays["labels"][finite].astype(np.int64), predictions
    )
    return Outputs(top, [str(name) for name in arrays["names"]], arrays["confusion"].astype(np.int64))


@plot(
    "Confidence, right and wrong",
    "Correct rows should pile up near 1, wrong ones further left; wrong rows near 1 are mistakes that the "
    "model is sure of, or wrong labels.",
)
def confidence(log: RunLog) -> Figure:
    top, names, _ = outputs_of(log)
    title = f"{100 * top.is_correct.mean():.1f}% of {len(top.is_correct):,} rows are right"
    wrong = top.probabilities[~top.is_correct]
    if len(wrong):
        sure = np.count_nonzero(wrong > SURE) or "none"
        title += f"; {len(wrong):,} are wrong, {sure} with a probability above {SURE:g}"
    return draw_top_probabilities(top.probabilities, top.is_correct, len(names), title)


@plot(
    "Calibration",
    "Bars below the dashed line: the model is more confident than it is accurate. Bins with few rows say little.",
)
def reliability(log: RunLog) -> Figure:
    top = outputs_of(log).top
    num_bins = log.setting("monitor.confidence.num_bins") or NUM_BINS
    bins = reliability_bins(top.probabilities, top.is_correct, num_bins)
    title = (
        f"Mean confidence {top.probabilities.mean():.3f}, accuracy {top.is_correct.mean():.3f}; "
        f"expected calibration error (ECE) {bins.ece:.3f}"
    )
    return draw_reliability(bins.edges, bins.counts, bins.confidence, bins.accuracy, title)


@plot(
    "Calibration over training",
    "A calibration error that rises while accuracy stays the same is overconfidence: label smoothing or "
    "fewer steps help.",
)
def confidence_over_training(log: RunLog) -> Figure:
    names = {
        layout.MEAN_CORRECT: "mean probability where right",
        layout.MEAN_WRONG: "mean probability where wrong",
        layout.ECE: "calibration error (ECE)",
        layout.BRIER: "Brier score",
    }
    lines = [
        Line(name, *log.scalars[tag])
        for key, name in names.items()
        if (tag := f"{layout.CONFIDENCE}{key}") in log.scalars
    ]
    if not lines:
        raise NotLogged("no confidence/… was logged (monitor confidence)")
    if max(len(line.steps) for line in lines) < 2:
        raise NotLogged("there was one validation")
    title = ", ".join(f"{line.name} {line.values[-1]:.3f}" for line in lines[-2:]) + " at the end"
    return draw_curves([Panel(capitalized(title), "probability or score", lines, from_zero=True)])


@plot(
    "Confusion matrix",
    "Rows are labels, columns predictions; the diagonal is right. Colors are shares of a row; numbers are counts, shown "
    "if they fit.",
)
def confusion(log: RunLog) -> Figure:
    _, names, counts = outputs_of(log)
    total, right = counts.sum(), np.trace(counts)
    return draw_confusion(counts, names, f"{total - right:,} of {total:,} rows are off the diagonal")


@plot(
    "F1 of each class over training",
    "Sorted by the last validation, best below; a class that stays dark is never learned.",
)
def class_f1_over_training(log: RunLog) -> Figure:
    pattern = "(?s)" + layout.tag(layout.CLASS, "(.+)", layout.F1)
    grid = logged_grid(log.scalars, pattern, "no class/<label>/f1 was logged (monitor confidence)")
    if len(grid.steps) < 2:
        raise NotLogged("there was one validation; the table has its scores")
    last = grid.values[:, -1]
    order = np.argsort(-last, kind="stable")  # NaN comes last
    title = "F1 of each class"
    if np.isfinite(last).any():
        worst = int(np.nanargmin(last))
        title += f"; lowest at the end: {one_line(grid.names[worst])}, {last[worst]:.2f}"
    rows = [grid.names[row] for row in order]
    return draw_heat_maps(
        [HeatMap(title, rows, grid.steps, grid.values[order], y="label")], "F1", limits=(0, 1)
    )


PLOTS = (confidence, reliability, confidence_over_training, confusion, class_f1_over_training)
