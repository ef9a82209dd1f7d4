"""What was predicted for validation rows that have any number of labels: pictures and tables of the section "Label sets"."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bert_ft.drawing.confidence import draw_reliability
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import plot
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number, share
from bert_ft.reporting.validation_pictures import class_f1_over_training
from bert_ft.tasks.calibration import NUM_BINS, reliability_bins
from bert_ft.tasks.set_scores import label_scores
from bert_ft.tasks.thresholds import THRESHOLDS

MAX_CONFUSIONS = 10


class Decisions(NamedTuple):
    """What was decided for the validation rows that were saved and have finite logits.

    Attributes:
        probabilities: ``(rows, num_labels)``.
        labels: ``(rows, num_labels)`` bool.
        names: ``(num_labels,)``.
        counts: ``label_counts`` of all rows, also of those that weren't saved.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.bool_]
    names: list[str]
    counts: NDArray[np.int64]


def decisions_of(log: RunLog) -> Decisions:
    """Return the decisions of the validation that the report shows.

    Raises:
        NotLogged: none were kept, or none of their rows has finite logits.
    """
    if log.validation is None or "label_counts" not in log.validation.content:
        raise NotLogged("no monitor/validation_<step>.npz of label sets was kept (monitor confidence)")
    arrays = log.validation.content
    finite = np.isfinite(arrays["logits"]).all(axis=1)
    if not finite.any():
        raise NotLogged("no validation row has finite logits")
    logits = arrays["logits"][finite].astype(np.float64)
    return Decisions(
        1 / (1 + np.exp(-logits)),
        arrays["labels"][finite].astype(bool),
        [str(name) for name in arrays["names"]],
        arrays["label_counts"],
    )


@plot(
    "Calibration of decisions",
    "Each label of each row counts once. Bars below the dashed line: labels have higher probabilities than they occur.",
)
def decision_reliability(log: RunLog) -> Figure:
    """Draw how often a label occurs against its probability."""
    found = decisions_of(log)
    num_bins = log.setting("monitor.confidence.num_bins") or NUM_BINS
    bins = reliability_bins(found.probabilities.ravel(), found.labels.ravel(), num_bins)
    title = (
        f"Mean probability {found.probabilities.mean():.3f}, share of labels {found.labels.mean():.3f}; "
        f"expected calibration error (ECE) {bins.ece:.3f}"
    )
    return draw_reliability(
        bins.edges,
        bins.counts,
        bins.confidence,
        bins.accuracy,
        title,
        of="a label",
        share="share that has it",
        rows="decisions",
    )


def scores_by_label(log: RunLog) -> Table:
    """Return precision, recall and F1 of each label."""
    found = decisions_of(log)
    rows = [
        [Cell(name), number(int(support)), number(int(predicted)), *map(share, values)]
        for name, (_, support, predicted), *values in zip(
            found.names, found.counts, *label_scores(found.counts), strict=True
        )
    ]
    reading = "Precision: the share of rows given the label that have it. Recall: the share of its rows that are given it."
    return Table(
        "Scores by label", reading, ["label", "rows", "predicted", "precision", "recall", "F1"], rows
    )


def has_thresholds(log: RunLog) -> bool:
    """Return whether thresholds were chosen on the validation rows."""
    return bool(_thresholds(log))


def _thresholds(log: RunLog) -> dict[str, Any]:
    return ((log.metrics or {}).get("calibration") or {}).get(THRESHOLDS) or {}


def thresholds(log: RunLog) -> Table:
    """Return the threshold of each label, and the validation rows that it rests on."""
    found = _thresholds(log)
    if not found:
        raise NotLogged(
            "none were chosen (task.thresholds=null): a label is given from a probability of one half on"
        )
    rows = [[Cell(name), number(of["threshold"], 6), number(of["positives"])] for name, of in found.items()]
    reading = "Chosen on the validation rows after training; the other tables and pictures of this section have one half."
    return Table("Thresholds", reading, ["label", "threshold", "rows with the label"], rows)


def frequent_confusions(log: RunLog) -> Table:
    """Return the pairs of a missed and a wrongly given label that come together most often."""
    found = decisions_of(log)
    predicted = found.probabilities >= 0.5
    missed, added = (found.labels & ~predicted).astype(int), (~found.labels & predicted).astype(int)
    together = missed.T @ added  # (num_labels, num_labels)
    order = np.argsort(-together, axis=None, kind="stable")[:MAX_CONFUSIONS]
    pairs = [divmod(int(index), len(found.names)) for index in order if together.flat[index]]
    if not pairs:
        raise NotLogged("no row misses a label and has a wrong one")
    rows = [
        [Cell(found.names[one]), Cell(found.names[other]), number(int(together[one, other]))]
        for one, other in pairs
    ]
    return Table("Most frequent confusions", "In the saved rows.", ["missed", "given instead", "rows"], rows)


PLOTS = (decision_reliability, class_f1_over_training)
