"""The report on the data before training, over all splits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.leaks import NUM_EXAMPLES, Leaks, leaks_between
from bert_ft.data.long_texts import WINDOWS, LongTexts
from bert_ft.data.report_warnings import LONGEST_ADVISED, report_warnings
from bert_ft.data.split_report import Conflict, SplitReport
from bert_ft.data.targets import Targets
from bert_ft.data.texts import TextKeys
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.split_columns import shown_counts

_EXCERPT = 80  # characters of an example's text


@dataclass(frozen=True)
class DataReport:
    """The report on each split, and findings that concern several splits.

    Attributes:
        max_length: the length limit in tokens.
        splits: name → report.
        num_conflicts: number of texts that have several labels, in the same or different splits.
        conflicts: the first few of them.
        task: facts about the task (``Targets.facts``).
        long_texts: settings of windows; empty if longer texts are cut.
        warnings: one sentence per problem that may spoil training or its score, with an override that helps,
            if there is one.
        leaks: one for every pair of splits that share texts.
    """

    max_length: int
    splits: dict[str, SplitReport]
    num_conflicts: int
    conflicts: list[Conflict]
    task: dict[str, Any]
    warnings: list[str]
    leaks: list[Leaks]
    long_texts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold."""
        return asdict(self)

    def rows(self) -> list[dict[str, str]]:
        """Return a table of one line per split: heading → cell."""
        splits: dict[str, Any] = self.to_dict()["splits"]
        return [
            {"split": name} | counts
            for name, counts in zip(splits, shown_counts(list(splits.values())), strict=True)
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
    *,
    tokenizer: FastTokenizer | None = None,
    set_aside: Collection[str] = (),
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
) -> DataReport:
    """Return the report on labeled ``splits``, one of which is ``train``.

    Args:
        splits: name → split, ``train`` first.
        keys: name of the split → keys of its texts.
        task: the task of their labels.
        max_length: the length limit in tokens.
        tokenizer: the tokenizer of their ids; without it unknown tokens and words are not reported.
        set_aside: names of the splits that were cut from the training rows.
        long_texts: what became of longer rows.
    """
    reports = {
        name: SplitReport.of(
            split,
            keys[name],
            None if name == "train" else keys["train"],
            tokenizer,
            _counts(task, split.known_labels),
            is_windowed=long_texts.mode == WINDOWS,
        )
        for name, split in splits.items()
    }
    num_conflicts, conflicts = _conflicts(splits, keys, task)
    leaks = leaks_between(keys, {name: split.rows for name, split in splits.items()})
    limit = max_length if tokenizer is None else min(tokenizer.model_max_length, LONGEST_ADVISED)
    return DataReport(
        max_length=max_length,
        splits=reports,
        num_conflicts=num_conflicts,
        conflicts=conflicts,
        task=task.facts(),
        warnings=list(
            report_warnings(reports, leaks, conflicts, num_conflicts, task, set_aside, max_length, limit)
        ),
        leaks=leaks,
        long_texts=long_texts.described(),
    )


def _counts(task: Targets, labels: np.ndarray) -> dict[str, int | float]:
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in task.summary(labels).items()
    }


def _conflicts(
    splits: Mapping[str, TokenizedSplit], keys: Mapping[str, TextKeys], task: Targets
) -> tuple[int, list[Conflict]]:
    """Return the number of conflicts and the first few, in the order of the splits and their rows."""
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


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
