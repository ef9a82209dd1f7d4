"""The probability from which on a label is given, chosen on validation rows (``task.thresholds``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bert_ft.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLDS = (
    "thresholds"  # in metrics.json and config.json, and of an exported graph: label → threshold and positives
)
DEFAULT = 0.5
LEAST_POSITIVES = 5  # with fewer a threshold says more about these rows than about the label


class Rule(NamedTuple):
    """How a threshold is chosen: ``f1``, ``precision``, ``recall`` (of at least ``value``) or ``fixed`` (at ``value``)."""

    kind: str
    value: float = DEFAULT


def rule_of(given: Any) -> Rule:
    """Return what ``task.thresholds`` says.

    Raises:
        ConfigError: it is none of the allowed values.
    """
    kind, _, value = str(given).partition(":")
    if given is None:
        return Rule("fixed")
    if given == "f1":
        return Rule("f1")
    try:
        number = float(value if kind in ("precision", "recall") else given)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < 1 or isinstance(given, bool):
        raise ConfigError(
            f"task.thresholds={given}: must be f1, precision:<share>, recall:<share>, a number between 0 and 1, or null"
        )
    return Rule(kind, number) if kind in ("precision", "recall") else Rule("fixed", number)


def fit_threshold(labels: NDArray[np.bool_], probabilities: NDArray[np.float64], rule: Rule) -> float:
    """Return the threshold from which on, itself included, rows ``(rows,)`` are given the label.

    It is midway between two rows' probabilities, so that rounding moves no row across.

    Raises:
        ConfigError: no threshold reaches the precision; says which is the best.
    """
    import numpy as np

    if rule.kind == "fixed":
        return rule.value
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    values = -np.unique(-probabilities)  # candidates, from the surest row down
    given = np.searchsorted(-falling, -values, side="right")  # rows from each candidate up
    found = np.cumsum(labels[order])[given - 1]
    precision, recall = found / given, found / max(labels.sum(), 1)
    if rule.kind == "f1":
        best = int((2 * found / (given + labels.sum())).argmax())
    elif rule.kind == "precision":
        allowed = precision >= rule.value
        if not allowed.any():
            raise ConfigError(
                f"task.thresholds=precision:{rule.value:g}: no threshold reaches it on the validation rows; the best is "
                f"{precision.max():.4f}"
            )
        best = int(np.flatnonzero(allowed)[recall[allowed].argmax()])
    else:
        best = int(np.flatnonzero(recall >= rule.value)[0])
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


class ClassThreshold(NamedTuple):
    """The threshold of one of two classes.

    Attributes:
        value: ``None``: there is no reason for another than the more probable class.
        positives: validation rows of the class, on which it rests.
        notes: sentences on why there is none.
    """

    value: float | None
    positives: int
    notes: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, float]:
        """The entry of ``metrics.json`` and ``config.json``."""
        return {"threshold": DEFAULT if self.value is None else self.value, "positives": self.positives}


def fit_class_threshold(
    name: str, labels: NDArray[np.bool_], probabilities: NDArray[np.float64], rule: Rule
) -> ClassThreshold:
    """Return the threshold of the class ``name``, from whether each row is of it and its probability, ``(rows,)`` each."""
    positives, kept = int(labels.sum()), "the more probable class is predicted, as without task.thresholds"
    if rule.kind == "fixed":
        return ClassThreshold(rule.value, positives)
    if positives < LEAST_POSITIVES:
        why = f"{positives} validation rows are of it, fewer than {LEAST_POSITIVES}"
        return ClassThreshold(None, positives, (f"{name}: {why}; {kept}",))
    try:
        return ClassThreshold(fit_threshold(labels, probabilities, rule), positives)
    except ConfigError as error:
        return ClassThreshold(None, positives, (f"{name}: {error}; {kept}",))


class Thresholds(NamedTuple):
    """Thresholds of several labels.

    Attributes:
        values: ``(num_labels,)``.
        positives: validation rows that have the label, on which each rests.
        shared: threshold of labels that have too few of them.
        notes: sentences on labels that keep it, or reach no precision.
    """

    values: tuple[float, ...]
    positives: tuple[int, ...]
    shared: float
    notes: tuple[str, ...]


def fit_thresholds(
    names: tuple[str, ...], labels: NDArray[np.bool_], probabilities: NDArray[np.float64], rule: Rule
) -> Thresholds:
    """Return a threshold for each label, ``(rows, num_labels)`` each; the shared one is fitted to all decisions together."""
    notes: list[str] = []

    def fitted(key: str, truth: NDArray[np.bool_], of_label: NDArray[np.float64], otherwise: float) -> float:
        try:
            return fit_threshold(truth, of_label, rule)
        except ConfigError as error:
            notes.append(f"{key}: {error}; it keeps {otherwise:.4g}")
            return otherwise

    shared = (
        fitted("all labels together", labels.ravel(), probabilities.ravel(), DEFAULT)
        if labels.any()
        else DEFAULT
    )
    positives = tuple(labels.sum(axis=0).tolist())
    values = []
    for index, (name, count) in enumerate(zip(names, positives, strict=True)):
        if rule.kind != "fixed" and count < LEAST_POSITIVES:
            notes.append(
                f"{name}: {count} validation rows have it, fewer than {LEAST_POSITIVES}; it keeps the shared threshold {shared:.4g}"
            )
            values.append(shared)
        else:
            values.append(fitted(name, labels[:, index], probabilities[:, index], shared))
    return Thresholds(tuple(values), positives, shared, tuple(notes))
