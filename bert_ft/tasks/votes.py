"""Soft labels: the votes of several annotators for each class, as counts or shares (``task=single_label``, several columns)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.flags import columns_of
from bert_ft.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor
    from torchmetrics import Metric

_NONE = "(no majority)"
_EQUAL = 1e-6  # shares that differ by less are equal


@dataclass(frozen=True)
class Votes(SingleLabel):
    """Targets are ``(num_rows, num_labels)`` float32, the share of each class in a row's votes.

    The loss is the cross entropy to the shares. Accuracy and F1 are against the majority, over the rows that have one.
    """

    name: ClassVar[str] = "soft_label"  # in saved folders; a user types single_label

    def encode(self, labels: Any, *, origin: str = "", rows: np.ndarray | None = None) -> np.ndarray:
        """Return the shares; see ``Task.encode``.

        Raises:
            DataError: a row has no vote, or the columns are others.
        """
        import numpy as np

        names, votes = columns_of(labels)
        if set(names) != set(self.names):
            raise DataError(f"{origin}: the columns are {', '.join(names)}, not {', '.join(self.names)}")
        votes = votes[:, [names.index(name) for name in self.names]]
        totals = votes.sum(axis=1, keepdims=True)
        if len(empty := np.flatnonzero(totals <= 0)):
            row = int(empty[0])
            raise DataError(
                f"{origin}, row {row + 1 if rows is None else int(rows[row])}: the votes for {', '.join(self.names)} add up to 0"
            )
        return (votes / totals).astype(np.float32)

    def notes(self, labels: pa.ChunkedArray, origin: str) -> Iterator[str]:
        """Yield how far annotators agree, and which rows have no majority."""
        import numpy as np

        from bert_ft.tasks.metrics.agreement import agreement

        _, votes = columns_of(labels)
        found = agreement(votes)
        if found is None:
            yield f"{origin}: soft labels; how far annotators agree isn't known from shares, only from counts"
        else:
            yield (
                f"{origin}: soft labels; {found.pairs:.3f} of the pairs of votes for a row agree, Krippendorff's alpha "
                f"{found.alpha:.4f}"
            )
        rows = (np.flatnonzero(self.majority_targets(self.encode(labels)) < 0) + 1).tolist()
        if rows:
            listed = ", ".join(map(str, rows[:10])) + (", …" if len(rows) > 10 else "")
            yield f"{origin}: {len(rows):,} rows have no majority and count in the loss only: {listed}"

    def majority_targets(self, targets: np.ndarray) -> np.ndarray:
        """Return the class with most votes, -1 for a tie."""
        import numpy as np

        most = targets.max(axis=1, keepdims=True)
        return np.where((targets >= most - _EQUAL).sum(axis=1) > 1, -1, targets.argmax(axis=1))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the majority of each row; rows without one are a stratum of their own."""
        import numpy as np

        return np.unique(self.majority_targets(targets), return_inverse=True)[1]

    def target_keys(self, targets: np.ndarray) -> np.ndarray:
        """Return the majority of each row: copies of a text with other shares of it aren't a conflict."""
        return self.majority_targets(targets)

    def describe(self, target: Any) -> str:
        """Return the shares of a row, or the name of a class."""
        if getattr(target, "ndim", 0) == 0:
            return super().describe(target)
        return ", ".join(
            f"{name} {share:.2f}" for name, share in zip(self.names, target, strict=True) if share
        )

    def summary(self, targets: np.ndarray) -> dict[str, int | float]:
        """Return the rows of each majority, those without one, and the mean share of each class."""
        ids = self.majority_targets(targets)
        shares = zip(self.names, targets.astype(float).mean(axis=0).tolist(), strict=True)
        return {
            **super().summary(ids[ids >= 0]),
            _NONE: int((ids < 0).sum()),
            **{f"(mean share of {name})": share for name, share in shares},
        }

    def summary_warnings(self, summary: Mapping[str, int | float]) -> Iterator[str]:
        """Yield a warning that names the classes that are no row's majority."""
        return super().summary_warnings({name: summary[name] for name in self.names})

    def report_warnings(
        self, summaries: Mapping[str, Mapping[str, int | float]], set_aside: Collection[str]
    ) -> Iterator[str]:
        """Yield warnings on the majorities; see ``SingleLabel.report_warnings``."""
        of_names = {split: {name: each[name] for name in self.names} for split, each in summaries.items()}
        return super().report_warnings(of_names, set_aside)

    def plain_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy to the shares in nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, targets.to(logits.dtype))

    def metrics(self) -> dict[str, Metric]:
        """Return accuracy and F1 against the majority, and ``kl``, the mean divergence of the predictions from the shares."""
        from bert_ft.tasks.metrics.votes import MeanDivergence, OfMajority

        return {name: OfMajority(metric) for name, metric in super().metrics().items()} | {
            "kl": MeanDivergence()
        }

    def class_weights(self, given: str | Sequence[float], targets: np.ndarray) -> list[float]:
        """Refuse class weights: a row has several classes."""
        raise ConfigError(
            f"loss.class_weights={given}: isn't supported for soft labels (votes in several columns); set it to null"
        )

    def same_label(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the overlap of the rows' shares, ``(batch, num_others)``, from 0 to 1."""
        import torch

        return torch.minimum(targets[:, None].float(), others[None].float()).sum(2)
