"""What to know about the data before training: one report over all splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.targets import Targets
from bert_ft.data.texts import TextKeys

NUM_EXAMPLES = 5
_EXCERPT = 80  # characters of an example's text


@dataclass(frozen=True)
class LengthSummary:
    """Tokens in a row before truncation, special ones counted."""

    mean: float
    p50: float
    p95: float
    max: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> LengthSummary:
        """The summary of ``(num_rows,)`` lengths."""
        p50, p95 = np.percentile(lengths, [50, 95])
        return cls(float(lengths.mean()), float(p50), float(p95), int(lengths.max()))


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        label_counts: what the task counts, name → number: rows of each class, where there are classes.
        lengths: tokens in a row.
        truncated_ratio: share of the rows that are cut to the length limit.
        lost_ratio: share of all tokens that is cut away.
        num_duplicates: rows whose exact text stands in an earlier row of the split.
        num_leaks: rows whose exact text is also in the training split; 0 for that one.
        num_near_leaks: further rows of which that is true but for case, white space or Unicode form.
        leak_rows: numbers of the first rows that are leaks of either kind.
    """

    num_rows: int
    label_counts: dict[str, int | float]
    lengths: LengthSummary
    truncated_ratio: float
    lost_ratio: float
    num_duplicates: int
    num_leaks: int
    num_near_leaks: int
    leak_rows: list[int]


@dataclass(frozen=True)
class Conflict:
    """One text with several labels.

    Attributes:
        text: how it begins.
        places: split, row and label of the first of its rows.
    """

    text: str
    places: list[str]


@dataclass(frozen=True)
class DataReport:
    """All splits, and what concerns more than one.

    Attributes:
        max_length: the length limit in tokens.
        splits: by name.
        num_conflicts: exact texts that have several labels, in whatever splits.
        conflicts: the first few of them.
        task: what the task says about itself (``Targets.facts``).
        warnings: a sentence for whatever may spoil training or its score.
    """

    max_length: int
    splits: dict[str, SplitReport]
    num_conflicts: int
    conflicts: list[Conflict]
    task: dict[str, Any]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can hold."""
        return asdict(self)

    def rows(self) -> list[dict[str, str]]:
        """A table of one line a split: heading → cell."""
        return [
            {
                "split": name,
                "rows": f"{split.num_rows:,}",
                "tokens: mean": f"{split.lengths.mean:.1f}",
                "median": f"{split.lengths.p50:.0f}",
                "95%": f"{split.lengths.p95:.0f}",
                "longest": f"{split.lengths.max:,}",
                "rows cut": f"{split.truncated_ratio:.1%}",
                "tokens lost": f"{split.lost_ratio:.1%}",
                "duplicates": f"{split.num_duplicates:,}",
                "leaks": f"{split.num_leaks:,}",
                "near leaks": f"{split.num_near_leaks:,}",
            }
            for name, split in self.splits.items()
        ]

    def label_rows(self) -> list[dict[str, str]]:
        """Return a table of one line for each thing that the task counts: its name, then its number in each split."""
        names = next(iter(self.splits.values())).label_counts
        return [
            {"label": name} | {key: _number(split.label_counts[name]) for key, split in self.splits.items()}
            for name in names
        ]


def make_report(
    splits: Mapping[str, TokenizedSplit],
    keys: Mapping[str, TextKeys],
    task: Targets,
    max_length: int,
) -> DataReport:
    """Return the report on labeled ``splits``, one of which is ``train``; ``keys`` are those of their texts."""
    reports = {name: _split_report(splits[name], keys[name], keys["train"], task) for name in splits}
    num_conflicts, conflicts = _conflicts(splits, keys, task)
    return DataReport(
        max_length=max_length,
        splits=reports,
        num_conflicts=num_conflicts,
        conflicts=conflicts,
        task=task.facts(),
        warnings=list(_warnings(reports, num_conflicts, conflicts, task, max_length)),
    )


def _split_report(split: TokenizedSplit, keys: TextKeys, train: TextKeys, task: Targets) -> SplitReport:
    if split.name == "train":
        exact = near = np.zeros(len(split), dtype=bool)
    else:
        exact = np.isin(keys.exact, train.exact)
        near = np.isin(keys.near, train.near) & ~exact
    lost = split.num_truncated
    full_lengths = split.lengths + lost
    return SplitReport(
        num_rows=len(split),
        label_counts={
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in task.summary(split.known_labels).items()
        },
        lengths=LengthSummary.of(full_lengths),
        truncated_ratio=float((lost > 0).mean()),
        lost_ratio=float(lost.sum() / max(full_lengths.sum(), 1)),
        num_duplicates=len(split) - len(np.unique(keys.exact)),
        num_leaks=int(exact.sum()),
        num_near_leaks=int(near.sum()),
        leak_rows=split.rows[exact | near][:NUM_EXAMPLES].tolist(),
    )


def _conflicts(
    splits: Mapping[str, TokenizedSplit], keys: Mapping[str, TextKeys], task: Targets
) -> tuple[int, list[Conflict]]:
    """The number of conflicts and the first few, in the order of the splits and their rows."""
    all_keys = np.concatenate([keys[name].exact for name in splits])
    targets = task.target_keys(np.concatenate([split.known_labels for split in splits.values()]))
    order = np.argsort(all_keys, kind="stable")
    starts = np.flatnonzero(np.diff(all_keys[order], prepend=all_keys[order[:1]] + 1))
    sorted_targets = targets[order]
    differ = np.minimum.reduceat(sorted_targets, starts) != np.maximum.reduceat(sorted_targets, starts)
    first = np.sort(order[starts[differ]])
    examples = [np.flatnonzero(all_keys == all_keys[row]) for row in first[:NUM_EXAMPLES]]
    return len(first), [_conflict(rows, splits, task) for rows in examples]


def _conflict(rows: np.ndarray, splits: Mapping[str, TokenizedSplit], task: Targets) -> Conflict:
    ends = np.cumsum([len(split) for split in splits.values()])
    located = []
    for row in rows.tolist():
        part = int(np.searchsorted(ends, row, side="right"))
        split = list(splits.values())[part]
        located.append((split, row - int(ends[part]) + len(split)))
    split, position = located[0]
    return Conflict(
        text=split.texts[position]["text"][:_EXCERPT],
        places=[
            f"{split.name} row {split.rows[position]}: {task.describe(split.known_labels[position])}"
            for split, position in located[:NUM_EXAMPLES]
        ],
    )


def _warnings(
    splits: Mapping[str, SplitReport],
    num_conflicts: int,
    conflicts: list[Conflict],
    task: Targets,
    max_length: int,
) -> Iterator[str]:
    for name, split in splits.items():
        if split.truncated_ratio:
            yield (
                f"{name}: {split.truncated_ratio:.1%} of the rows are longer than data.max_length={max_length} "
                f"and lose {split.lost_ratio:.1%} of all tokens"
            )
        if split.num_duplicates:
            yield f"{name}: rows that repeat the text of an earlier one: {split.num_duplicates}"
        if split.num_leaks or split.num_near_leaks:
            yield (
                f"{name}: rows with the text of a training row: {split.num_leaks}, with all of it but case, "
                f"white space or Unicode form: {split.num_near_leaks}; its score will be too good "
                f"(rows {', '.join(map(str, split.leak_rows))}{_more(split)})"
            )
        yield from (f"{name}: {warning}" for warning in task.summary_warnings(split.label_counts))
    if num_conflicts:
        yield (
            f"texts with several labels: {num_conflicts}, e.g. {conflicts[0].text!r}: "
            f"{', '.join(conflicts[0].places)}"
        )


def _more(split: SplitReport) -> str:
    return " …" if split.num_leaks + split.num_near_leaks > len(split.leak_rows) else ""


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
