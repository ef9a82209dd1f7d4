"""The interface of a task: everything that the rest of the package needs to know about labels.

To add a task, derive a frozen dataclass from ``Task`` in one file and name it by ``_target_`` in the ``task`` node (with
``trust`` on the command line). Its module must not import anything heavy at the top, since a configuration is checked
against its task before anything is loaded: import inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bert_ft.data.targets import LabelReader, LabelTexts
from bert_ft.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor
    from torchmetrics import Metric

# configuration keys that only some tasks support → the value that switches each off
OPTIONAL_KEYS: Mapping[str, Any] = {
    "loss.class_weights": None,
    "loss.contrastive_weight": 0,
    "loss.r_drop_weight": 0,
    "pretrain.supervised": False,
    "monitor.confidence": None,
    "monitor.representations": None,
}


@dataclass(frozen=True)
class Task(ABC):
    """What turns a label column into a target, logits into a loss and a prediction, and a split into metrics.

    The fields of a derived dataclass are its settings: keys of the ``task`` node, written into the saved folder.
    In shapes, ``batch`` is the number of texts and ``num_labels`` is ``len(names)``.

    Attributes:
        names: names of the model's outputs; empty until ``fitted``.
        name: name of the task in messages and saved folders.
        objectives: metric → ``max`` or ``min``; ``objective.metric`` may also name other entries of ``metrics``.
        problem_type: the entry of that name in ``config.json``.
        prediction_columns: columns that prediction adds to a file.
        supports: the ``OPTIONAL_KEYS`` that this task supports.
        has_temperature: whether dividing the logits changes how sure a prediction is, but not what is predicted, so that a
            divisor may be fitted to ``plain_loss`` on the validation rows.
        has_one_score: whether the outputs differ by their biases only: one score of the text, and a threshold for each.
        target_kind: what the targets are: ``classes`` (one per row), ``label sets``, or others; a loss that names another
            ``target_kind`` is refused.
        default_loss: the loss that a message advises, as in ``conf/loss``.
        report_sections: sections of the report about predictions that apply.
        loss_unit: unit of the plain loss, for axes.
    """

    names: tuple[str, ...] = ()

    name: ClassVar[str]
    objectives: ClassVar[Mapping[str, str]]
    problem_type: ClassVar[str]
    prediction_columns: ClassVar[tuple[str, ...]]
    supports: ClassVar[frozenset[str]] = frozenset()
    has_temperature: ClassVar[bool] = False
    has_one_score: ClassVar[bool] = False
    target_kind: ClassVar[str] = "targets of its own"
    default_loss: ClassVar[str] = "plain"
    report_sections: ClassVar[tuple[str, ...]] = ()
    loss_unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Turn lists, which configurations and saved folders have, into tuples."""
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))

    # labels to targets

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels: as texts by default."""
        return LabelTexts()

    @abstractmethod
    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task with its ``names``, and everything else that it takes from the training rows' labels.

        Raises:
            DataError: nothing can be learned from these labels.
        """

    @abstractmethod
    def encode(
        self, labels: pa.ChunkedArray, *, origin: str = "", rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the targets of stored labels, ``(num_rows,)`` or ``(num_rows, width)``.

        Args:
            labels: as the reader stored them.
            origin: where they came from, for messages.
            rows: their row numbers there; ``None`` = from 1.

        Raises:
            DataError: a label isn't valid for this task.
        """

    def notes(self, labels: pa.ChunkedArray, origin: str) -> Iterator[str]:
        """Yield sentences on how a split's stored labels were read, where a user might not expect it."""
        return iter(())

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return what is spread evenly over the splits; by default all rows are alike.

        ``(num_rows,)`` int64 from 0, the stratum of each row, or ``(num_rows, num_labels)`` bool, the labels of each row.
        """
        import numpy as np

        return np.zeros(len(targets), dtype=np.int64)

    def target_keys(self, targets: np.ndarray) -> np.ndarray:
        """Return ``(num_rows,)`` int64, equal for equal targets; copies of a text with different keys conflict."""
        import numpy as np

        return np.unique(targets, axis=0, return_inverse=True)[1].reshape(len(targets))

    def majority_targets(self, targets: np.ndarray) -> np.ndarray:
        """Return what monitors compare predictions with, for classes ``(num_rows,)`` int64; -1: the row is left out."""
        return targets

    @abstractmethod
    def describe(self, target: Any) -> str:
        """Return one row's target for messages and tables."""

    @abstractmethod
    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the counts of a split for the data report, name → number; every split has the same names."""

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield problems that may harm training or its score, each as the end of a sentence about the split."""
        return iter(())

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield warnings about the summaries of all splits, as whole sentences with the override that helps.

        Args:
            summaries: ``summary`` of each split, ``train`` among them.
            set_aside: splits that were cut from the training rows.
        """
        return iter(())

    def undefined_metrics(self, targets: np.ndarray) -> tuple[str, ...]:
        """Return the metrics that these targets leave undefined, which can't be an objective; by default none."""
        return ()

    def baseline(self, targets: np.ndarray) -> dict[str, float]:
        """Return the metrics of the best prediction that doesn't read the texts, for a split of a task of the user's own.

        It is shown beside the scores; that of the package's tasks is in ``evaluation.training_labels``.
        """
        return {}

    def calibrated(
        self, logits: np.ndarray, targets: np.ndarray
    ) -> tuple[Self, dict[str, Any], tuple[str, ...]]:
        """Return the task with what it takes from validation rows, its record for ``metrics.json``, and notes.

        Called with the kept weights' logits if ``is_calibrated``; test, saved folder and predictions have the returned task.
        """
        return self, {}, ()

    @property
    def is_calibrated(self) -> bool:
        """Whether ``calibrated`` takes anything; by default not."""
        return False

    def facts(self) -> dict[str, Any]:
        """Return what ``data_report.json`` records about the task."""
        return {
            "name": self.name,
            "loss_unit": self.loss_unit,
            "report_sections": list(self.report_sections),
        }

    # the model

    def config_entries(self) -> dict[str, Any]:
        """Return the entries of ``config.json`` that describe the outputs to transformers."""
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": self.problem_type,
        }

    def output_scale(self) -> tuple[list[float], list[float]] | None:
        """Return scale and shift that bring each output into the unit of the file; ``None`` if it is in no other.

        An exported graph applies them, and the last layer of a folder that plain transformers loads has them.
        """
        return None

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments except ``names``, for the saved folder."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"}

    # training

    @abstractmethod
    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of ``(batch, num_labels)`` logits for validation and test.

        It is also the training loss if ``loss._target_`` is null.
        """

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return the metrics over a whole split, by name; ``objectives`` has the same names and ``loss``."""

    def metric_arguments(self) -> dict[str, Any]:
        """Return arguments for user-chosen metrics whose constructors take them, e.g. ``num_classes``."""
        return {}

    def metric_inputs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets for metrics; logits and targets by default."""
        return logits, targets

    def scores(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the value of each of ``metrics`` over all rows."""
        # before the metrics' own modules, which import each other in a circle: see bert_ft.config.lean_imports
        from torchmetrics import MetricCollection

        metrics = MetricCollection({**self.metrics()}, compute_groups=False)
        metrics.update(*self.metric_inputs(logits, targets))
        return {name: float(value) for name, value in metrics.compute().items()}

    def class_weights(self, given: str | Sequence[float], targets: np.ndarray) -> list[float]:
        """Return a weight for each class.

        Args:
            given: ``loss.class_weights``: ``balanced``, or a number for each of ``names``.
            targets: targets of the training rows.

        Raises:
            ConfigError: the weights don't fit.
        """
        raise self.unsupported("loss.class_weights", given)

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return ``(batch, num_others)``: which rows a contrastive loss treats as positives, as bool or as weights."""
        raise self.unsupported("loss.contrastive_weight", "…")

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return the divergence of two passes over the same texts, ``(batch,)``, for R-Drop."""
        raise self.unsupported("loss.r_drop_weight", "…")

    # prediction

    def outputs(self, logits: Tensor) -> Tensor:
        """Return ``(batch, num_labels)`` for ``decode``, e.g. probabilities, in float32 or, where that rounds, float64."""
        return logits.float()

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return ``prediction_columns``, ``(num_rows,)`` each, from ``outputs``."""

    def probability_columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return a column for each label, ``(num_rows,)``, for ``probabilities=all``.

        Raises:
            ConfigError: the task has no probabilities.
        """
        raise ConfigError(f"probabilities=all: task={self.name} has none; set it to top")

    @classmethod
    def applies_to_monitor(cls, name: str) -> bool:
        """Return whether this task supports the entry ``name`` of ``monitor``."""
        key = f"monitor.{name}"
        return key not in OPTIONAL_KEYS or key in cls.supports

    @classmethod
    def unsupported(cls, key: str, value: Any) -> ConfigError:
        """Return the error for a key that this task doesn't support."""
        return ConfigError(unsupported(cls, key, value))


def unsupported(task: type[Task], key: str, value: Any) -> str:
    """Return the message for a key that a task doesn't support."""
    off = {"None": "null", "False": "false"}.get(str(OPTIONAL_KEYS[key]), str(OPTIONAL_KEYS[key]))
    return f"{key}={value}: isn't supported by task={task.name}; set it to {off}"
