"""The data report on texts without labels, for pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.leaks import leaks_between
from bert_ft.data.report_warnings import LONGEST_ADVISED, split_warnings
from bert_ft.data.split_report import SplitReport
from bert_ft.data.texts import TextKeys
from bert_ft.data.tokenization import FastTokenizer


def report_on_texts(
    splits: Sequence[TokenizedSplit], max_length: int, tokenizer: FastTokenizer
) -> dict[str, Any]:
    """Return the entries of ``DataReport.to_dict`` that apply to texts without labels."""
    keys = {split.name: TextKeys.of(split.texts) for split in splits}
    reports = {split.name: SplitReport.of(split, keys[split.name], None, tokenizer, {}) for split in splits}
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
