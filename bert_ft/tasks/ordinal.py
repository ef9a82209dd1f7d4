"""One grade for each text, of a scale with an order (``task=ordinal``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from bert_ft.errors import ConfigError, DataError
from bert_ft.limits import Rule
from bert_ft.tasks.class_counts import class_counts, without_rows
from bert_ft.tasks.confidence import confidence_scores, confusion_counts
from bert_ft.tasks.label_looks import listed
from bert_ft.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor
    from torchmetrics import Metric

_SHOWN = 10  # grades in a message


@dataclass(frozen=True)
class Ordinal(Task):
    """Targets are positions in ``order``, ``(num_rows,)`` int64 from 0, the lowest grade.

    The model has an output for each grade but the highest: the logit of "above this grade, if not below it". The products of
    these probabilities fall from grade to grade by construction, and the plain loss is minus the log-probability of the grade.
    Outputs differ by their biases only: they are one score of the text, compared with a threshold for each grade.

    Source: Shi, Cao and Raschka 2021, arXiv 2111.08851 (CORN), with one score as the continuation ratio model has it (Fienberg 1980,
    "The Analysis of Cross-Classified Categorical Data"); theirs is the mean over decisions, ours over rows.

    Attributes:
        order: the grades, from the lowest; ``None`` = by number, if all are numbers.
    """

    order: Annotated[Any, Rule("any", nullable=True)] = None

    name: ClassVar[str] = "ordinal"
    objectives: ClassVar[Mapping[str, str]] = {
        "quadratic_kappa": "max",
        "mae": "min",
        "accuracy": "max",
        "loss": "min",
    }
    problem_type: ClassVar[str] = "multi_label_classification"  # of transformers' the one with sigmoids
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction", "probability")
    supports: ClassVar[frozenset[str]] = frozenset(
        {"loss.contrastive_weight", "loss.r_drop_weight", "pretrain.supervised", "monitor.confidence"}
    )
    target_kind: ClassVar[str] = "grades"
    default_loss: ClassVar[str] = "smoothed_grades"
    has_one_score: ClassVar[bool] = True
    report_sections: ClassVar[tuple[str, ...]] = ("Validation",)
    loss_unit: ClassVar[str] = "nats"

    def __post_init__(self) -> None:
        """Check the grades, and write each as a text.

        Raises:
            ConfigError: there are fewer than two, one is there twice, or yaml took one for a boolean.
        """
        super().__post_init__()
        if self.order is None:
            return
        key = f"task.order={self.order}"
        if isinstance(self.order, str) or not isinstance(self.order, Sequence) or len(self.order) < 2:
            raise ConfigError(f"{key}: must be a list of at least two grades, from the lowest")
        if any(isinstance(grade, bool) for grade in self.order):
            raise ConfigError(f"{key}: yaml reads no, yes, on and off as booleans; quote them, e.g. 'no'")
        grades = tuple(_grade(str(grade)) for grade in self.order)
        if len(set(grades)) < len(grades):
            raise ConfigError(f"{key}: names a grade twice")
        object.__setattr__(self, "order", grades)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The grades, from the lowest."""
        return self.order or ()

    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task with an output for each grade but the highest.

        Raises:
            DataError: there is no order and the labels aren't numbers, or all are the same.
        """
        found = {_grade(label) for label in labels.unique().to_pylist()}
        if len(found) < 2:
            raise DataError(f"{origin}: all grades are {next(iter(found))!r}; there is nothing to learn")
        order = self.order
        if order is None:
            if named := sorted(grade for grade in found if _number(grade) is None):
                others = sorted(found - set(named), key=float)
                example = ",".join([*named, *others][:_SHOWN]) + (",…" if len(found) > _SHOWN else "")
                raise DataError(
                    f"{origin}: {named[0]!r} isn't a number, so the order of the grades is unknown; name all of them from the "
                    f"lowest: 'task.order=[{example}]'"
                )
            order = tuple(sorted(found, key=float))
        return replace(self, order=order, names=tuple(f"above {grade}" for grade in order[:-1]))

    def notes(self, labels: pa.ChunkedArray, origin: str) -> Iterator[str]:
        """Yield nothing: the data report counts the grades in their order."""
        return iter(())

    def encode(
        self, labels: pa.ChunkedArray, *, origin: str = "", rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``(num_rows,)`` int64 positions in ``order``; ``1.0`` and ``1`` are one grade.

        Raises:
            DataError: a label isn't among them.
        """
        import numpy as np

        index = {grade: position for position, grade in enumerate(self.class_names)}
        found = np.array([index.get(_grade(label), -1) for label in labels.to_pylist()], dtype=np.int64)
        if len(unknown := np.flatnonzero(found < 0)):
            row = int(unknown[0])
            raise DataError(
                f"{origin}, row {row + 1 if rows is None else int(rows[row])}: {labels[row].as_py()!r} isn't among the grades "
                f"{listed(self.class_names)} (task.order)"
            )
        return found

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the grades, so that each is spread evenly."""
        import numpy as np

        return np.unique(targets, return_inverse=True)[1]

    def describe(self, target: Any) -> str:
        """Return the grade."""
        return self.class_names[int(target)]

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the number of rows of each grade, in their order."""
        return class_counts(targets, self.class_names)

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield a warning that names the grades without rows."""
        return without_rows(summary, self.class_names)

    def settings(self) -> dict[str, Any]:
        """Return the order."""
        return {"order": list(self.class_names)}

    def class_logits(self, logits: Tensor) -> Tensor:
        """Return the log-probability of each grade, ``(rows, grades)``."""
        from bert_ft.nn.grade_losses import grade_log_probabilities

        return grade_log_probabilities(logits)

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return minus the log-probability of each row's grade, ``(rows,)``, in nats."""
        return -self.class_logits(logits).gather(1, labels[:, None])[:, 0]

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of ``row_losses``."""
        return self.row_losses(logits, targets).mean()

    def predicted(self, logits: Any) -> Any:
        """Return the median grade of each row, ``(rows,)``, which the mean absolute error favors."""
        return _median(self.outputs(logits))

    def metrics(self) -> dict[str, Metric]:
        """Return quadratic kappa over the whole scale, the mean absolute error in steps of the scale, and accuracy."""
        from bert_ft.tasks.metrics.grades import GradeScore

        num_grades = len(self.class_names)
        return {name: GradeScore(name, num_grades) for name in self.objectives if name != "loss"}

    def metric_arguments(self) -> dict[str, Any]:
        """Return ``num_classes``."""
        return {"num_classes": len(self.class_names)}

    def metric_inputs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true positions."""
        return self.predicted(logits), targets

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return which rows have the same grade, ``(batch, num_others)`` bool."""
        return targets[:, None] == others

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return the symmetric Kullback-Leibler divergence of the grades' probabilities, ``(batch,)``, in nats."""
        from bert_ft.nn.losses import symmetric_kl

        return symmetric_kl(self.class_logits(logits), self.class_logits(others))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each grade, ``(rows, grades)``."""
        return self.class_logits(logits).exp()

    def arrays(self, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """Return ``confusion``, the number of rows by grade and prediction, ``(grades, grades)``."""
        return {"confusion": confusion_counts(self.predicted(logits), labels, len(self.class_names)).numpy()}

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return tag → scalar; see ``JudgesRows.confidence``."""
        return confidence_scores(
            self.class_logits(logits), self.predicted(logits), labels, self.class_names, num_bins
        )

    def outputs(self, logits: Tensor) -> Tensor:
        """Return the probability of each grade, ``(batch, grades)`` float32."""
        return self.probabilities(logits.float())

    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return the median grade of each row, and its probability."""
        import numpy as np
        import torch

        positions = _median(torch.from_numpy(outputs)).numpy()
        return {
            "prediction": [self.class_names[index] for index in positions],
            "probability": outputs[np.arange(len(outputs)), positions],
        }

    def probability_columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``probability_<grade>`` → the probability of each row, in the order of the grades."""
        return {f"probability_{name}": outputs[:, index] for index, name in enumerate(self.class_names)}


def _median(probabilities: Tensor) -> Tensor:
    """Return the first grade up to which at least half of the probability lies, ``(rows,)``."""
    return (probabilities.cumsum(1)[:, :-1] < 0.5).sum(1)


def _grade(text: str) -> str:
    """Return a grade as it is compared: numbers without their spelling."""
    number = _number(text)
    return text.strip() if number is None else f"{number:.15g}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
