"""Any number of labels for each text (``task=multi_label``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from bert_ft.data.targets import LabelReader
from bert_ft.errors import ConfigError, DataError
from bert_ft.limits import Rule
from bert_ft.tasks.class_column import sorted_names
from bert_ft.tasks.class_counts import without_rows
from bert_ft.tasks.class_weights import balanced_label_weights, given_weights
from bert_ft.tasks.flags import are_flags, columns_of
from bert_ft.tasks.label_looks import alike, few_rows
from bert_ft.tasks.label_sets import LabelSets, encode_sets, find_delimiter, reading_notes, split_column
from bert_ft.tasks.task import Task
from bert_ft.tasks.thresholds import THRESHOLDS, fit_thresholds, rule_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor
    from torchmetrics import Metric

_MOST_PAIRS = 10  # of labels that are counted together
_WITHOUT = "(rows without a label)"


@dataclass(frozen=True)
class MultiLabel(Task):
    """Targets are ``(num_rows, num_labels)`` bool: whether a row has the label ``names[i]``, fixed from the training rows.

    Attributes:
        delimiter: what is between the labels of a text; ``None`` = found in the training rows.
        thresholds: how the probability is chosen from which on a label is given; see ``thresholds.rule_of``.
        cut_offs: that probability for each label, once it was chosen on validation rows; empty: one half.
        pairs: labels that most often stand together, by number; they are counted in the data report.
    """

    delimiter: str | None = None
    thresholds: Annotated[Any, Rule("any", nullable=True)] = None
    cut_offs: tuple[float, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()

    name: ClassVar[str] = "multi_label"
    objectives: ClassVar[Mapping[str, str]] = {
        "f1_macro": "max",
        "f1_micro": "max",
        "f1_samples": "max",
        "average_precision": "max",
        "subset_accuracy": "max",
        "loss": "min",
    }
    problem_type: ClassVar[str] = "multi_label_classification"
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction",)
    supports: ClassVar[frozenset[str]] = frozenset(
        {
            "loss.class_weights",
            "loss.contrastive_weight",
            "loss.r_drop_weight",
            "pretrain.supervised",
            "monitor.confidence",
        }
    )
    has_temperature: ClassVar[bool] = True
    target_kind: ClassVar[str] = "label sets"
    default_loss: ClassVar[str] = "bce"
    report_sections: ClassVar[tuple[str, ...]] = ("Label sets",)
    loss_unit: ClassVar[str] = "nats"

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels: lists, texts with a delimiter, or a 0/1 column for each label."""
        return LabelSets()

    def settings(self) -> dict[str, Any]:
        """Return the delimiter, with which files are scored, and the thresholds."""
        return {name: value for name, value in super().settings().items() if name != "pairs"}

    def __post_init__(self) -> None:
        """Check the rule of the thresholds and the delimiter, in which ``\\t`` is a tab and ``\\n`` a line end."""
        super().__post_init__()
        rule_of(self.thresholds)
        if self.delimiter == "":
            raise ConfigError("task.delimiter='': must be at least one character, or null")
        if self.delimiter is not None:
            written = str(self.delimiter).replace("\\t", "\t").replace("\\n", "\n")
            object.__setattr__(self, "delimiter", written)

    @property
    def is_calibrated(self) -> bool:
        """Whether thresholds are chosen."""
        return self.thresholds is not None

    def calibrated(
        self, logits: np.ndarray, targets: np.ndarray
    ) -> tuple[Self, dict[str, Any], tuple[str, ...]]:
        """Return the task with thresholds chosen on validation rows; see ``Task.calibrated``."""
        found = fit_thresholds(self.names, targets, self._probabilities(logits), rule_of(self.thresholds))
        of_labels = {
            name: {"threshold": value, "positives": count}
            for name, value, count in zip(self.names, found.values, found.positives, strict=True)
        }
        return replace(self, cut_offs=found.values), {THRESHOLDS: of_labels}, found.notes

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return what ``outputs`` gives, with which files are predicted."""
        import torch

        return self.outputs(torch.from_numpy(logits)).numpy()

    def given(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which labels are given, ``(rows, num_labels)`` bool."""
        import numpy as np

        return probabilities >= np.array(self.cut_offs or 0.5)

    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task with the names in ``labels`` and the delimiter between them.

        Raises:
            DataError: no row has a label.
        """
        import numpy as np

        fitted = self
        if are_flags(labels):
            fitted = replace(self, names=tuple(columns_of(labels)[0]))
        else:
            if self.delimiter is None:
                fitted = replace(self, delimiter=find_delimiter(labels.unique().to_pylist()))
            found = {name for cell in split_column(labels, fitted.delimiter)[0] for name in cell.names}
            fitted = replace(fitted, names=sorted_names(found))
        targets = fitted.encode(labels, origin=origin)
        if not targets.any():
            raise DataError(f"{origin}: no row has a label, so there is nothing to learn")
        together = np.triu(targets.T.astype(np.int64) @ targets, k=1)
        most = np.argsort(-together, axis=None, kind="stable")[:_MOST_PAIRS]
        pairs = [divmod(int(index), len(fitted.names)) for index in most if together.flat[index]]
        return replace(fitted, pairs=tuple(pairs))

    def encode(
        self, labels: pa.ChunkedArray, *, origin: str = "", rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``(num_rows, num_labels)`` bool; see ``Task.encode``.

        Raises:
            DataError: a label isn't among ``names``.
        """
        if are_flags(labels):
            names, values = columns_of(labels)
            if set(names) != set(self.names):
                raise DataError(f"{origin}: the labels are {', '.join(names)}, not {', '.join(self.names)}")
            return values[:, [names.index(name) for name in self.names]].astype(bool)
        return encode_sets(labels, self.names, self.delimiter, origin=origin, rows=rows)

    def notes(self, labels: pa.ChunkedArray, origin: str) -> Iterator[str]:
        """Yield what was dropped, between which characters labels were split, and whether each row has one label."""
        if (self.encode(labels, origin=origin).sum(axis=1) == 1).all():
            yield f"{origin}: each row has exactly one label; task=single_label lets the labels compete"
        if not are_flags(labels):
            yield from reading_notes(labels, self.delimiter, origin)

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the labels of each row; rows without a label are spread evenly as well."""
        import numpy as np

        return np.column_stack([targets, ~targets.any(axis=1)])

    def describe(self, target: Any) -> str:
        """Return the names of a row's labels."""
        return ", ".join(name for name, has in zip(self.names, target, strict=True) if has) or "no label"

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the rows of each label, of the most frequent pairs, those without a label, and the labels of a row."""
        counts = dict(zip(self.names, targets.sum(axis=0).tolist(), strict=True))
        pairs = {
            f"{self.names[one]} + {self.names[other]}": int((targets[:, one] & targets[:, other]).sum())
            for one, other in self.pairs
        }
        rows = {_WITHOUT: int((~targets.any(axis=1)).sum())}
        return counts | pairs | rows | {"(labels per row)": float(targets.sum(axis=1).mean())}

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield a warning that names the labels without rows."""
        return without_rows(summary, self.names)

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield a warning for labels of all training rows or none, that look alike, or have few validation rows."""
        counts = {split: {name: summary[name] for name in self.names} for split, summary in summaries.items()}
        train = summaries["train"]
        without = train[_WITHOUT]
        constant = [name for name in self.names if train[name] == 0]
        # a label of all rows: then no row is without, and the labels per row bound the number of rows
        if constant:
            yield f"no training row has {', '.join(constant)}, which can't be learned; loss.class_weights=balanced weights it by 1"
        if not without and (always := self._of_all_rows(train)):
            yield (
                f"all training rows have {', '.join(always)}, which can't be learned; loss.class_weights=balanced weights it by 1"
            )
        yield from alike(counts["train"])
        if "validation" in counts:
            yield from few_rows(counts, set_aside)

    def _of_all_rows(self, summary: Mapping[str, int | float]) -> list[str]:
        total = sum(summary[name] for name in self.names)
        num_rows = round(total / summary["(labels per row)"])
        return [name for name in self.names if summary[name] == num_rows]

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross entropy of all decisions, in nats."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))

    def metrics(self) -> dict[str, Metric]:
        """Return F1 micro, macro and samples, subset accuracy and average precision; see ``metrics.label_sets`` for 0 / 0."""
        from bert_ft.tasks.metrics.label_sets import AveragePrecision, SetScore

        num_labels = len(self.names)
        return {
            "f1_macro": SetScore(num_labels, "macro", self.cut_offs),
            "f1_micro": SetScore(num_labels, "micro", self.cut_offs),
            "f1_samples": SetScore(num_labels, "samples", self.cut_offs),
            "subset_accuracy": SetScore(num_labels, "subset", self.cut_offs),
            "average_precision": AveragePrecision(),
        }

    def metric_arguments(self) -> dict[str, Any]:
        """Return ``num_labels``, and the task as torchmetrics' general classes call it."""
        return {"num_labels": len(self.names), "task": "multilabel"}

    def metric_inputs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities that ``decode`` has, and 0/1 targets: torchmetrics would guess which of both logits are."""
        return self.outputs(logits).double(), targets.long()

    def class_weights(self, given: str | Sequence[float], targets: np.ndarray) -> list[float]:
        """Return the weight of each label's positive rows; ``balanced``: its negatives over its positives."""
        if isinstance(given, str):
            return balanced_label_weights(targets)
        return given_weights(given, self.names)

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the overlap of the rows' label sets, intersection over union, ``(batch, num_others)``; 0 if both are empty."""
        first, second = targets.float(), others.float()
        both = first @ second.T
        union = first.sum(1)[:, None] + second.sum(1) - both
        return both / union.clamp(min=1)

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return the symmetric divergence of the labels' Bernoulli distributions, ``(batch,)``, in nats for each label."""
        from bert_ft.nn.label_set_losses import bernoulli_divergence

        return bernoulli_divergence(logits, others)

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross entropy of each row, the mean over its labels, ``(rows,)``."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(1)

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return tag → scalar: calibration of all decisions, and each label's scores; see ``JudgesRows.confidence``."""
        from bert_ft.tasks.set_scores import decision_scores

        probabilities = self.outputs(logits).numpy()
        return decision_scores(
            probabilities, self.given(probabilities), labels.bool().numpy(), self.names, num_bins
        )

    def arrays(self, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """Return ``label_counts`` of all rows, and the ``cut_offs``; see ``JudgesRows.arrays``."""
        import numpy as np

        from bert_ft.tasks.set_scores import label_counts

        counts = label_counts(self.given(self.outputs(logits).numpy()), labels.bool().numpy())
        return {"label_counts": counts, "cut_offs": np.array(self.cut_offs or [0.5] * len(self.names))}

    def outputs(self, logits: Tensor) -> Tensor:
        """Return the probability of each label, ``(batch, num_labels)`` float32."""
        return logits.float().sigmoid()

    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return the list of labels whose probability is at least their threshold, for each row."""
        import pyarrow as pa

        rows = [
            [name for name, has in zip(self.names, row, strict=True) if has] for row in self.given(outputs)
        ]
        return {"prediction": pa.array(rows, pa.list_(pa.string()))}

    def probability_columns(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``probability_<label>`` → the probability of each row, for each label in their order."""
        return {f"probability_{name}": outputs[:, index] for index, name in enumerate(self.names)}
