"""The interface of a task: all that the rest of the package asks about labels.

A task of your own is a frozen dataclass derived from ``Task`` in one file, and a ``task`` node that names it by
``_target_`` (trusted on the command line). Modules of tasks load nothing heavy at their top, since a configuration is judged by
its task before anything is loaded: methods import what they compute with.
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

# configuration keys that mean something for some tasks only → what switches each off
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
    In shapes, ``batch`` is the number of texts and ``num_labels`` that of ``names``.

    Attributes:
        names: names of the model's outputs, in their order; empty until ``fitted``.
        name: of the task, as messages and saved folders show it.
        objectives: metric of a split → ``max`` or ``min``; what ``objective.metric`` may name, beside ``metrics``.
        problem_type: what ``config.json`` tells transformers of the outputs.
        prediction_columns: columns that a prediction adds to a file.
        supports: those of ``OPTIONAL_KEYS`` that mean something here.
        has_classes: whether each row has one class, as the losses of ``bert_ft.nn.losses`` need.
        report_sections: of the report, those that show predictions and apply here.
        loss_unit: of the plain loss, for the axes of pictures.
    """

    names: tuple[str, ...] = ()

    name: ClassVar[str]
    objectives: ClassVar[Mapping[str, str]]
    problem_type: ClassVar[str]
    prediction_columns: ClassVar[tuple[str, ...]]
    supports: ClassVar[frozenset[str]] = frozenset()
    has_classes: ClassVar[bool] = False
    report_sections: ClassVar[tuple[str, ...]] = ()
    loss_unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Turn lists, as configurations and saved folders have them, into tuples."""
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))

    # labels to targets

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels: as texts, unless a task says otherwise."""
        return LabelTexts()

    @abstractmethod
    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task with its ``names``, and whatever else it takes from the stored labels of the training rows.

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
            rows: their row numbers there; from 1 if not given.

        Raises:
            DataError: a label is none of this task's.
        """

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return ``(num_rows,)`` int64 from 0 up: rows of one number are spread evenly over the splits.

        One stratum for all rows, unless a task says otherwise.
        """
        import numpy as np

        return np.zeros(len(targets), dtype=np.int64)

    def target_keys(self, targets: np.ndarray) -> np.ndarray:
        """Return ``(num_rows,)`` int64, equal for equal targets; different ones for copies of a text are a conflict."""
        import numpy as np

        return np.unique(targets, axis=0, return_inverse=True)[1].reshape(len(targets))

    @abstractmethod
    def describe(self, target: Any) -> str:
        """Return one row's target as messages and tables show it."""

    @abstractmethod
    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return what the data report counts of a split: name → number, a row of its table; the same names for every split."""

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield what may spoil training or its score, as the end of a sentence about the split."""
        return iter(())

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield what all splits' summaries together say, as whole sentences with the override that helps.

        Args:
            summaries: ``summary`` of each split, ``train`` among them.
            set_aside: splits that were cut from the training rows.
        """
        return iter(())

    def facts(self) -> dict[str, Any]:
        """Return what ``data_report.json`` records of the task, for those who read a run's folder."""
        return {
            "name": self.name,
            "loss_unit": self.loss_unit,
            "report_sections": list(self.report_sections),
        }

    # the model

    def config_entries(self) -> dict[str, Any]:
        """Return the entries of ``config.json`` by which transformers knows the outputs."""
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
            "problem_type": self.problem_type,
        }

    def settings(self) -> dict[str, Any]:
        """Return what the constructor needs beside ``names``, in plain types, for the saved folder."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"}

    # training

    @abstractmethod
    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar by which validation and test judge ``(batch, num_labels)`` logits, without additions.

        It is the training loss too where ``loss._target_`` is null.
        """

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return the metrics over a whole split, by name; ``objectives`` has them, and ``loss``."""

    def metric_arguments(self) -> dict[str, Any]:
        """Return what a metric of the user's choice is given where its constructor takes it, e.g. ``num_classes``."""
        return {}

    def metric_inputs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets as metrics take them; logits and targets unless a task says otherwise."""
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
            targets: of the training rows.

        Raises:
            ConfigError: the weights don't fit.
        """
        raise self.unsupported("loss.class_weights", given)

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return ``(batch, num_others)`` bool: which rows a contrastive loss draws together."""
        raise self.unsupported("loss.contrastive_weight", "…")

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return ``(batch,)``: how far two passes over the same texts lie apart, for R-Drop."""
        raise self.unsupported("loss.r_drop_weight", "…")

    # prediction

    def outputs(self, logits: Tensor) -> Tensor:
        """Return ``(batch, num_labels)`` float32, what predictions are read from, e.g. probabilities."""
        return logits.float()

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return the columns that a prediction adds, ``(num_rows,)`` each, from ``outputs``."""

    def probability_columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return a column for each label, ``(num_rows,)``, for ``probabilities=all``.

        Raises:
            ConfigError: the task has no probabilities.
        """
        raise ConfigError(f"probabilities=all: task={self.name} has none; set it to top")

    @classmethod
    def applies_to_monitor(cls, name: str) -> bool:
        """Return whether the entry ``name`` of ``monitor`` means something for this task."""
        key = f"monitor.{name}"
        return key not in OPTIONAL_KEYS or key in cls.supports

    @classmethod
    def unsupported(cls, key: str, value: Any) -> ConfigError:
        """Return the error of a key that means nothing for this task."""
        return ConfigError(unsupported(cls, key, value))


def unsupported(task: type[Task], key: str, value: Any) -> str:
    """Return what is wrong with a key that means nothing for a task, and what to do."""
    off = {"None": "null", "False": "false"}.get(str(OPTIONAL_KEYS[key]), str(OPTIONAL_KEYS[key]))
    return f"{key}={value}: means nothing for task={task.name}; set it to {off}"
