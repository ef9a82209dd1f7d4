"""One or several numbers for each text (``task=regression``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bert_ft.data.targets import LabelReader
from bert_ft.errors import DataError
from bert_ft.tasks.flags import are_flags, columns_of
from bert_ft.tasks.numbers import Numbers
from bert_ft.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor
    from torchmetrics import Metric

_NAME = "score"  # of the output, if the label is in one column
_LOG_VARIANCE = " (log variance)"
_NUM_BINS = 10
_ROWS_OF_A_STRATUM = 10


@dataclass(frozen=True)
class Regression(Task):
    """Targets are ``(num_rows, num_targets)`` float32, standardized by the training rows.

    Logits are standardized as well; what is shown, measured or predicted is in the file's unit and in double precision.

    Attributes:
        center: mean of each target in the training rows.
        scale: its standard deviation there.
        variance: predict for each text how far its number may be off: a second output for each target, the logarithm of the
            variance; the plain loss is then the negative log-likelihood of a Gaussian.
        bins: edges of the histogram in the data report.
    """

    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    variance: bool = False
    bins: tuple[float, ...] = ()

    name: ClassVar[str] = "regression"
    objectives: ClassVar[Mapping[str, str]] = {
        "spearman": "max",
        "pearson": "max",
        "mae": "min",
        "rmse": "min",
        "r2": "max",
        "loss": "min",
    }
    problem_type: ClassVar[str] = "regression"
    prediction_columns: ClassVar[tuple[str, ...]] = ("prediction",)
    supports: ClassVar[frozenset[str]] = frozenset({"loss.r_drop_weight", "monitor.confidence"})
    target_kind: ClassVar[str] = "numbers"
    report_sections: ClassVar[tuple[str, ...]] = ("Numbers",)
    loss_unit: ClassVar[str] = "variances of the training rows"

    @property
    def reader(self) -> LabelReader:
        """How a source reads labels: as numbers."""
        return Numbers()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self.names[: len(self.center)]

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments that are needed for prediction."""
        return {name: value for name, value in super().settings().items() if name != "bins"}

    def fitted(self, labels: pa.ChunkedArray, origin: str = "train") -> Self:
        """Return the task with mean and standard deviation of the numbers.

        Raises:
            DataError: all training rows have the same number.
        """
        import numpy as np

        names, numbers = _numbers(labels)
        for name, column in zip(names, numbers.T, strict=True):
            if np.ptp(column) == 0:
                which = f" of {name}" if len(names) > 1 else ""
                raise DataError(
                    f"{origin}: all training rows have the number {column[0]:g}{which}; there is nothing to learn"
                )
        outputs = [*names, *(f"{name}{_LOG_VARIANCE}" for name in names if self.variance)]
        edges = np.linspace(numbers[:, 0].min(), numbers[:, 0].max(), _NUM_BINS + 1)
        return replace(
            self,
            names=tuple(outputs),
            center=tuple(numbers.mean(axis=0).tolist()),
            scale=tuple(numbers.std(axis=0).tolist()),
            bins=tuple(edges.tolist()) if len(names) == 1 else (),
        )

    def encode(
        self, labels: pa.ChunkedArray, *, origin: str = "", rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return ``(num_rows, num_targets)`` float32, standardized; see ``Task.encode``."""
        import numpy as np

        names, numbers = _numbers(labels)
        if tuple(names) != self.targets:
            raise DataError(f"{origin}: the numbers are {', '.join(names)}, not {', '.join(self.targets)}")
        return ((numbers - self.center) / self.scale).astype(np.float32)

    def in_unit(self, standardized: Any) -> Any:
        """Return numbers, ``(num_rows, num_targets)`` of an array or a tensor, in the file's unit and double precision."""
        import numpy as np
        import torch

        if isinstance(standardized, torch.Tensor):
            scale = standardized.new_tensor(self.scale, dtype=torch.float64)
            return standardized.double() * scale + standardized.new_tensor(self.center, dtype=torch.float64)
        return standardized.astype(np.float64) * self.scale + self.center

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return ranges of the first target with equally many rows, so that each split has low and high numbers."""
        import numpy as np

        num_ranges = int(np.clip(len(targets) // _ROWS_OF_A_STRATUM, 1, _NUM_BINS))
        edges = np.quantile(targets[:, 0], np.linspace(0, 1, num_ranges + 1)[1:-1])
        return np.unique(np.searchsorted(edges, targets[:, 0]), return_inverse=True)[1]

    def describe(self, target: Any) -> str:
        """Return a row's numbers in the file's unit."""
        return ", ".join(f"{value:.6g}" for value in self.in_unit(target[None])[0])

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return mean, standard deviation, lowest and highest of each target, and for a single one its histogram."""
        import numpy as np

        numbers = self.in_unit(targets)
        found: dict[str, int | float] = {}
        for index, (name, scale) in enumerate(zip(self.targets, self.scale, strict=True)):
            # float32 keeps 7 digits of a standardized number
            numbers[:, index] = column = np.round(numbers[:, index], 6 - math.floor(math.log10(scale))) + 0.0
            of = f" {name}" if len(self.targets) > 1 else ""
            found |= {
                f"mean{of}": float(column.mean()),
                f"standard deviation{of}": float(column.std()),
                f"lowest{of}": float(column.min()),
                f"highest{of}": float(column.max()),
            }
        if self.bins:
            inner = np.searchsorted(np.array(self.bins[1:-1]), numbers[:, 0], side="right")
            counts = np.bincount(inner, minlength=_NUM_BINS)
            for number, count in enumerate(counts.tolist()):
                first, last = number == 0, number == _NUM_BINS - 1
                low = "" if first else f"from {_short(self.bins[number])} "
                high = "" if last else f"to {_short(self.bins[number + 1])}"
                found[f"rows {low}{high}".strip()] = count
        return found

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield a warning if all numbers are equal."""
        for name in self.targets:
            of = f" {name}" if len(self.targets) > 1 else ""
            if summary[f"lowest{of}"] == summary[f"highest{of}"]:
                yield (
                    f"all rows have the number {summary[f'lowest{of}']:g}{of and f' of{of}'}, so that correlations and R² aren't "
                    "defined; objective.metric=val/mae objective.mode=min"
                )

    def undefined_metrics(self, targets: np.ndarray) -> tuple[str, ...]:
        """Return correlations and R² if all rows have the same number."""
        same = (targets == targets[:1]).all(axis=0).any()
        return ("spearman", "pearson", "r2") if same else ()

    def output_scale(self) -> tuple[list[float], list[float]]:
        """Return scale and shift of each output, for the file's unit; a log variance is shifted only."""
        if not self.variance:
            return list(self.scale), list(self.center)
        logs = [2 * math.log(scale) for scale in self.scale]
        return [*self.scale, *[1.0] * len(logs)], [*self.center, *logs]

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of standardized numbers, or with ``variance`` the mean of ``gaussian_loss``."""
        return self.row_losses(logits, targets).mean()

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the plain loss of each row, ``(rows,)``."""
        from bert_ft.nn.number_losses import gaussian_loss

        if self.variance:
            predicted, log_variance = logits.chunk(2, dim=1)
            return gaussian_loss(predicted, log_variance, labels.to(logits.dtype)).mean(1)
        return (logits - labels.to(logits.dtype)).square().mean(1)

    def metrics(self) -> dict[str, Metric]:
        """Return correlations, MAE, RMSE and R², in the file's unit; see ``number_scores``."""
        from bert_ft.tasks.metrics.numbers import NumberScore

        return {name: NumberScore(name) for name in self.objectives if name != "loss"}

    def metric_arguments(self) -> dict[str, Any]:
        """Return ``num_outputs``."""
        return {"num_outputs": len(self.center)}

    def metric_inputs(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true numbers in the file's unit, ``(batch, num_targets)`` in double precision."""
        return self.in_unit(logits[:, : len(self.center)]), self.in_unit(targets)

    def divergence(self, logits: Tensor, others: Tensor) -> Tensor:
        """Return half the squared difference, ``(batch,)``: the divergence of Gaussians with the variance of the training rows."""
        return (logits - others).square().mean(1) / 2

    def confidence(self, logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
        """Return nothing: the scores of a number are its metrics."""
        return {}

    def arrays(self, logits: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        """Return ``predicted`` and ``true`` numbers in the file's unit, ``(rows, num_targets)``, and ``targets``, their names."""
        import numpy as np

        predicted, true = self.metric_inputs(logits, labels)
        return {"predicted": predicted.numpy(), "true": true.numpy(), "targets": np.array(self.targets)}

    def outputs(self, logits: Tensor) -> Tensor:
        """Return predicted numbers in the file's unit, in double precision; with ``variance`` also their standard deviation."""
        import torch

        predicted = self.in_unit(logits[:, : len(self.center)])
        if not self.variance:
            return predicted
        deviation = (logits[:, len(self.center) :].double() / 2).exp()
        return torch.cat([predicted, deviation * deviation.new_tensor(self.scale)], dim=1)

    def decode(self, outputs: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Return the predicted number, of several targets each by its name; with ``variance`` also its standard deviation."""
        kinds = ("prediction", "deviation") if self.variance else ("prediction",)
        names = [
            f"{kind}_{name}" if len(self.targets) > 1 else kind for kind in kinds for name in self.targets
        ]
        return {name: outputs[:, index] for index, name in enumerate(names)}


def _short(value: float) -> str:
    return f"{float(f'{value:.4g}'):,.10g}"


def _numbers(labels: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the names of the columns, and ``(num_rows, num_columns)`` numbers."""
    if are_flags(labels):
        return columns_of(labels)
    return [_NAME], labels.to_numpy()[:, None]
