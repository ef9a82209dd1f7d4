"""One label for each text, from a fixed list of classes (``task=single_label``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from bert_ft.data.targets import LabelReader
from bert_ft.errors import ConfigError, DataError
from bert_ft.limits import Rule
from bert_ft.tasks.class_column import ClassTexts, LabelColumn, as_strings, check_one_each, sorted_names
from bert_ft.tasks.class_weights import given_weights
from bert_ft.tasks.confidence import confidence_scores, confusion_counts
from bert_ft.tasks.flags import are_flags, vote_columns
from bert_ft.tasks.label_looks import label_warnings, listed, refused_look
from bert_ft.tasks.task import OPTIONAL_KEYS, Task
from bert_ft.tasks.thresholds import THRESHOLDS, fit_class_threshold, rule_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torchmetrics import Metric


@dataclass(frozen=True)
class SingleLabel(Task):
    """Targets are class ids, ``(num_rows,)`` int64: class ``i`` is called ``names[i]``, fixed from the training rows.

    Attributes:
        accept: take labels for classes that look like scores or lists of labels.
        thresholds: of two classes, how the probability is chosen from which on ``positive`` is predicted; see
            ``thresholds.rule_of``. ``None``: the more probable class is predicted.
        positive: that class; ``None`` = the second.
        cut_off: that probability, once it was chosen on validation rows.
    """

    accept: bool = False
    thresholds: Annotated[Any, Rule("any", nullable=True)] = None
    positive: str | None = None
    cut_off: float | None = None

    name: ClassVar[str] = "single_label"
    objectives: ClassVar[Mapping[str, str]] = {"accuracy": "max", "f1_macro": "max", "loss": "min"}
    problem_type: ClassVar[str] = "single_label_classification"
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction", "probability")
    supports: ClassVar[frozenset[str]] = frozenset(OPTIONAL_KEYS)
    has_temperature: ClassVar[bool] = True
    target_kind: ClassVar[str] = "classes"
    default_loss: ClassVar[str] = "cross_entropy"
    report_sections: ClassVar[tuple[str, ...]] = ("Validation", "Representations")
    loss_unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        """Check the rule of the thresholds.

        Raises:
            ConfigError: it is none of the allowed values, or ``positive`` would have no effect.
        """
        super().__post_init__()
        rule_of(self.thresholds)
        if self.positive is not None and self.thresholds is None:
            raise ConfigError(f"task.positive={self.positive}: has no effect without task.thresholds")

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels: as texts, or as a 0/1 column for each class."""
        return ClassTexts(accept=self.accept)

    def settings(self) -> dict[str, Any]:
        """Return the threshold, if there is one; ``accept`` is about training rows only."""
        given = {name: value for name, value in super().settings().items() if value is not None}
        return {name: value for name, value in given.items() if name != "accept"}

    def fitted(self, labels: LabelColumn, origin: str = "train") -> Self:
        """Return the task with the names in ``labels``, sorted: as numbers if all are integers, else as text.

        Raises:
            DataError: there is only one class, or the labels are for another task.
        """
        import pyarrow.compute as pc

        if are_flags(labels) and (voted := vote_columns(labels, origin)):
            # by name, since that module derives its class from this one
            votes = import_module("bert_ft.tasks.votes").Votes
            return votes(thresholds=self.thresholds, positive=self.positive).with_names(voted, origin)
        if are_flags(labels) and not self.accept:
            check_one_each(labels, origin)
        counted = pc.value_counts(as_strings(labels)).to_pylist()
        names = [str(each["values"]) for each in counted]
        look = refused_look({str(each["values"]): each["counts"] for each in counted})
        if look is not None and not self.accept:
            raise DataError(f"{origin}: {look}")
        if len(names) < 2:
            raise DataError(f"{origin}: all labels are {names[0]!r}; a classifier needs two classes or more")
        return self.with_names(sorted_names(names), origin)

    def with_names(self, names: tuple[str, ...], origin: str) -> Self:
        """Return the task with its names, and which of two classes is positive if a threshold is for one."""
        if self.thresholds is None:
            return replace(self, names=names)
        if len(names) != 2:
            raise DataError(
                f"task.thresholds={self.thresholds}: a threshold is between two classes, but {origin} has {len(names)} "
                f"({listed(names)}); set it to null"
            )
        positive = names[1] if self.positive is None else str(self.positive)
        if positive not in names:
            raise DataError(
                f"task.positive={positive}: isn't one of the classes {', '.join(names)} of {origin}"
            )
        return replace(self, names=names, positive=positive)

    def encode(self, labels: LabelColumn, *, origin: str = "", rows: np.ndarray | None = None) -> np.ndarray:
        """Return ``(num_rows,)`` int64 class ids; see ``Task.encode``.

        Raises:
            DataError: a label isn't among ``names``.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        strings = as_strings(labels)
        ids = pc.fill_null(pc.index_in(strings, pa.array(self.names, pa.string())), -1)
        ids = np.asarray(ids, dtype=np.int64)
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            index = int(unknown[0])
            row = index + 1 if rows is None else int(rows[index])
            raise DataError(
                f"{origin}, row {row}: label {strings[index].as_py()!r} doesn't occur in the training rows; "
                f"known are {listed(self.names)}"
            )
        return ids

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the class ids, so that each class is spread evenly."""
        return targets

    def describe(self, target: Any) -> str:
        """Return the name of a class id."""
        return self.names[int(target)]

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the number of rows of each class."""
        import numpy as np

        counts = np.bincount(targets, minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield a warning that names the classes without rows."""
        missing = [name for name, count in summary.items() if count == 0]
        if missing:
            yield f"no row of {', '.join(missing)}"

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield a warning if the labels don't look like one class per row, and for rare classes."""
        return label_warnings(summaries, set_aside, accept=self.accept)

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy in nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, targets)

    def metrics(self) -> dict[str, Metric]:
        """Return ``accuracy`` and ``f1_macro`` as scikit-learn computes them."""
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        from bert_ft.tasks.metrics.classes import OfPredictions

        num_classes = len(self.names)
        found = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "f1_macro": MulticlassF1Score(num_classes, average="macro"),
        }
        if self.cut_off is None:
            return dict(found)
        return {name: OfPredictions(metric, self.predicted) for name, metric in found.items()}

    def metric_arguments(self) -> dict[str, Any]:
        """Return ``num_classes``."""
        return {"num_classes": len(self.names)}

    def class_weights(self, given: str | Sequence[float], targets: np.ndarray) -> list[float]:
        """Return a weight for each class; see ``Task.class_weights``.

        Raises:
            ConfigError: the numbers of weights and classes differ, or with ``balanced`` a class has no rows.
        """
        import numpy as np

        from bert_ft.nn.losses import balanced_class_weights

        if isinstance(given, str):
            return balanced_class_weights(np.bincount(targets, minlength=len(self.names)).tolist())
        return given_weights(given, self.names)

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return which rows have the same class, ``(batch, num_others)`` bool."""
        return targets[:, None] == others

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return the symmetric Kullback-Leibler divergence of each row, ``(batch,)``, in nats."""
        from bert_ft.nn.losses import symmetric_kl

        return symmetric_kl(logits, others)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.names

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return the logits as they are."""
        return logits

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each class, ``(rows, classes)``, in the dtype of the logits."""
        return logits.softmax(1)

    def predicted(self, logits: Any) -> Any:
        """Return the class id of each row, ``(rows,)``; see ``JudgesConfidence``."""
        if self.cut_off is None:
            return logits.argmax(1)
        import torch

        return self._decided(self.outputs(torch.as_tensor(logits)))

    def _decided(self, probabilities: Any) -> Any:
        """Return the class id of each row from its probabilities, for a tensor or an array."""
        if self.cut_off is None:
            return probabilities.argmax(1)
        positive = self.names.index(str(self.positive))
        is_positive = probabilities[:, positive] >= self.cut_off
        return 1 * is_positive if positive else 1 - 1 * is_positive

    @property
    def is_calibrated(self) -> bool:
        """Whether a threshold is chosen."""
        return self.thresholds is not None

    def calibrated(
        self, logits: np.ndarray, targets: np.ndarray
    ) -> tuple[Self, dict[str, Any], tuple[str, ...]]:
        """Return the task with a threshold chosen on validation rows; see ``Task.calibrated``.

        With too few rows of a class, or if none reaches the precision, the more probable class is still predicted, and a note
        says so.
        """
        import torch

        majority = self.majority_targets(targets)
        rows = majority >= 0
        positive = self.names.index(str(self.positive))
        probabilities = self.outputs(torch.from_numpy(logits[rows])).numpy()[:, positive]
        found = fit_class_threshold(
            str(self.positive), majority[rows] == positive, probabilities, rule_of(self.thresholds)
        )
        return replace(self, cut_off=found.value), {THRESHOLDS: {self.positive: found.record}}, found.notes

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross entropy of each row, ``(rows,)``, in nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels, reduction="none")

    def arrays(self, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """Return ``confusion``, the number of rows by label and prediction, ``(classes, classes)``."""
        return {"confusion": confusion_counts(self.predicted(logits), labels, len(self.names)).numpy()}

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return tag → scalar; see ``JudgesRows.confidence``."""
        return confidence_scores(logits, self.predicted(logits), labels, self.names, num_bins)

    def outputs(self, logits: Tensor) -> Tensor:
        """Return the probability of each class, ``(batch, num_labels)`` float32."""
        return logits.float().softmax(dim=-1)

    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return the predicted class of each row, by name, and its probability."""
        import numpy as np

        ids = self._decided(outputs)
        return {
            "prediction": [self.names[index] for index in ids],
            "probability": outputs[np.arange(len(outputs)), ids],
        }

    def probability_columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``probability_<label>`` → the probability of each row, for each class in their order."""
        return {f"probability_{name}": outputs[:, index] for index, name in enumerate(self.names)}
