"""The data report on texts without labels, for pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.leaks import leaks_between
from bert_ft.data.report_warnings import LONGEST_ADVISED, split_warnings
from bert_ft.data.split_report import LengthSummary, SplitReport
from bert_ft.data.texts import TextKeys
from bert_ft.data.token_use import TokenUse
from bert_ft.data.tokenization import FastTokenizer


def report_on_texts(
    splits: Sequence[TokenizedSplit], max_length: int, tokenizer: FastTokenizer
) -> dict[str, Any]:
    """Return the entries of ``DataReport.to_dict`` that apply to texts without labels."""
    keys = {split.name: TextKeys.of(split.texts) for split in splits}
    reports = {split.name: _of_split(split, keys[split.name], tokenizer) for split in splits}
    limit = min(tokenizer.model_max_length, LONGEST_ADVISED)
    return {
        "max_length": max_length,
        "splits": {name: asdict(report) for name, report in reports.items()},
        "leaks": [
            asdict(leaks) for leaks in leaks_between(keys, {split.name: split.rows for split in splits})
        ],
        "warnings": [
            f"{name}: {warning}"
            for name, report in reports.items()
            # Equal pieces of long texts are no copies that data.deduplicate would drop.
            for warning in split_warnings(replace(report, num_duplicates=0), max_length, limit)
        ],
    }


def _of_split(split: TokenizedSplit, keys: TextKeys, tokenizer: FastTokenizer) -> SplitReport:
    lost, full_lengths = split.num_truncated, split.full_lengths
    use = TokenUse.of(split, tokenizer)
    return SplitReport(
        num_rows=len(split),
        label_counts={},
        lengths=LengthSummary.of(full_lengths),
        truncated_ratio=float((lost > 0).mean()),
        lost_ratio=float(lost.sum() / max(full_lengths.sum(), 1)),
        num_duplicates=len(split) - len(np.unique(keys.exact)),
        num_leaks=0,
        num_near_leaks=0,
        leak_rows=[],
        unknown_ratio=use.unknown_ratio,
        tokens_per_word=use.tokens_per_word,
    )
