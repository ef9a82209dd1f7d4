"""Warnings of a data report: one sentence each, ending with the override to paste if there is one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from bert_ft.data.leaks import Leaks
from bert_ft.data.split_report import Conflict, SplitReport
from bert_ft.data.targets import Targets
from bert_ft.data.token_use import TokenUse

LONGEST_ADVISED = 512  # tokens: longer rows cost more than most texts gain


def report_warnings(
    splits: Mapping[str, SplitReport],
    leaks: Sequence[Leaks],
    conflicts: Sequence[Conflict],
    num_conflicts: int,
    task: Targets,
    set_aside: Collection[str],
    max_length: int,
    limit: int,
) -> Iterator[str]:
    """Yield the warnings of a report.

    Args:
        splits: name → report.
        leaks: leaks of every pair of splits.
        conflicts: the first few conflicts.
        num_conflicts: number of all conflicts.
        task: the task of the labels.
        set_aside: names of the splits that were cut from the training rows.
        max_length: the length limit in tokens.
        limit: the largest ``max_length`` to suggest.
    """
    for name, split in splits.items():
        yield from (f"{name}: {warning}" for warning in split_warnings(split, max_length, limit))
        yield from (_leak(each) for each in leaks if each.split == name)
        yield from (f"{name}: {warning}" for warning in task.summary_warnings(split.label_counts))
    if num_conflicts:
        first = conflicts[0]
        yield f"texts with several labels: {num_conflicts}, e.g. {first.text!r}: {', '.join(first.places)}"
    yield from task.report_warnings({name: split.label_counts for name, split in splits.items()}, set_aside)


def split_warnings(split: SplitReport, max_length: int, limit: int) -> Iterator[str]:
    """Yield warnings about the texts of a single split, as ends of sentences about it."""
    if split.truncated_ratio and split.num_windows is not None:
        yield (
            f"{split.truncated_ratio:.1%} of the rows lose {split.lost_ratio:.1%} of all tokens, since the text of a pair that "
            f"isn't windowed leaves a window no room in data.max_length={max_length}; raise it, or change data.windowed_text"
        )
    elif split.truncated_ratio:
        yield (
            f"{split.truncated_ratio:.1%} of the rows are longer than data.max_length={max_length} and lose "
            f"{split.lost_ratio:.1%} of all tokens{_longer(split, max_length, limit)}"
        )
    if split.num_duplicates:
        yield f"rows that repeat the text of an earlier one: {split.num_duplicates}; data.deduplicate=true drops them"
    yield from TokenUse(split.unknown_ratio, split.tokens_per_word).warnings()


def _longer(split: SplitReport, max_length: int, limit: int) -> str:
    """Return the override for a length at which 95% of the rows fit, up to the encoder's limit."""
    advised = min(32 * math.ceil(split.lengths.p95 / 32), limit)
    if advised <= max_length:
        advised = min(32 * math.ceil(split.lengths.max / 32), limit)
    return f": data.max_length={advised}" if advised > max_length else ": data.long_texts=windows keeps them"


def _leak(leaks: Leaks) -> str:
    other = "training" if leaks.other == "train" else leaks.other
    effect = "its score will be too good" if leaks.other == "train" else "their scores aren't independent"
    more = " …" if leaks.num_exact + leaks.num_near > len(leaks.rows) else ""
    return (
        f"{leaks.split}: rows with the same text as a {other} row: {leaks.num_exact}, with the same text "
        f"except case, white space or Unicode form: {leaks.num_near}; {effect}: remove them from one of the two splits "
        f"(rows {', '.join(map(str, leaks.rows))}{more})"
    )
