"""Rules for the values of configuration keys, to check a whole configuration before anything is loaded.

If a class or function of this package takes the key, the rule comes from its signature (``bert_ft.config.declared``). The
table has the other keys: arguments of Lightning and torch, and keys that only the builders read. A test checks that each
key of each shipped file has a rule and that its default satisfies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bert_ft.config.declared import declared
from bert_ft.limits import (
    TEXT_OR_TEXTS,
    BelowOne,
    BetweenZeroAndOne,
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Rule,
    hints_of,
    rule_of,
)

STEP_MONITORS = ("activations", "gradients", "weights", "curves")

# section whose keys, or some of them, aren't arguments of its `_target_` → what takes them
TAKERS = (
    ("loss", "bert_ft.training.objective.LossTerms"),
    ("model.head", "bert_ft.nn.head.ResidualHead"),
    ("optimizer", "bert_ft.optim.layerwise.LayerwiseOptimizer"),
    ("pretrain.optimizer", "bert_ft.optim.layerwise.LayerwiseOptimizer"),
    ("pretrain", "bert_ft.training.pretraining_objective.PretrainingObjective"),
    ("pretrain", "bert_ft.models.pretrainer.Pretrainer"),
)


def rules_for(targets: Iterable[tuple[str, str]], keys: type | None = None) -> dict[str, Rule]:
    """Return key → rule for a configuration.

    Args:
        targets: pairs of a section and its ``_target_``.
        keys: a class whose annotations are the command's own keys.
    """
    found = {
        f"{section}.{name}": rule
        for section, target in (*targets, *TAKERS)
        if section != "data.source"  # its values come from keys of `data`, which the table has
        for name, rule in declared(target).items()
    }
    own = {name: _rule(hint) for name, hint in hints_of(keys).items()} if keys is not None else {}
    return found | RULES | own


def _rule(hint: Any) -> Rule:
    rule = rule_of(hint)
    assert rule is not None, hint
    return rule


COUNT, COUNT_OR_ZERO, FLAG, TEXT = map(_rule, (Count, CountOrZero, bool, str))
NULL_OR_COUNT, NULL_OR_TEXT, TEXTS = map(_rule, (Count | None, str | None, list[str]))
SHARE, LIMIT, POSITIVE, INNER_SHARE = map(_rule, (BelowOne, NotNegative, Positive, BetweenZeroAndOne))
NULL_OR_POSITIVE, CLASS_WEIGHTS = map(_rule, (Positive | None, list[Positive] | None))

PRECISIONS: tuple[int | str, ...] = (16, 32, 64, "16", "32", "64", "bf16", "16-mixed", "bf16-mixed")
PRECISIONS += ("16-true", "bf16-true", "32-true", "64-true")

RULES: dict[str, Rule] = {
    "seed": Rule("integer", at_least=0, at_most=2**32 - 1),
    "resume_from": NULL_OR_TEXT,
    "objective.metric": TEXT,
    "metrics": Rule("mapping"),
    "encoder.insert": Rule("mapping"),
    "report": FLAG,
    "advice": FLAG,
    "keep": Rule("text", choices=("resumable", "model", "all")),
    "test": FLAG,
    "calibrate": FLAG,
    "trust": TEXTS,
    "objective.others": TEXTS,
    "objective.mode": Rule("text", choices=("max", "min")),
    "data.truncation_side": Rule("text", choices=("left", "right", "middle"), nullable=True),
    "data.long_texts": Rule("text", choices=("cut", "windows", "auto")),
    "data.stride": Rule("integer", at_least=0, nullable=True),
    "data.max_windows": COUNT,
    "data.windowed_text": Rule("text", choices=("first", "second")),
    **{f"data.default_max_length.{mode}": NULL_OR_COUNT for mode in ("cut", "windows", "auto")},
    "data.max_length": Rule("integer", at_least=3, nullable=True),
    "data.batch_size": COUNT,
    "data.max_tokens": COUNT,
    "data.eval_batch_size": COUNT,
    "data.validation_ratio": INNER_SHARE,
    "data.test_ratio": SHARE,
    "data.deduplicate": FLAG,
    "data.cache_dir": NULL_OR_TEXT,
    "data.max_cache_gb": NULL_OR_POSITIVE,
    "data.num_workers": COUNT_OR_ZERO,
    "data.train_file": TEXT,
    "data.validation_file": NULL_OR_TEXT,
    "data.test_file": NULL_OR_TEXT,
    "data.text_column": NULL_OR_TEXT,
    "data.text_pair_column": NULL_OR_TEXT,
    "data.label_column": Rule(TEXT_OR_TEXTS, nullable=True),
    "data.unlabeled_file": NULL_OR_TEXT,
    "data.delimiter": NULL_OR_TEXT,
    "data.encoding": NULL_OR_TEXT,
    "data.quoting": Rule("text", choices=("quotes", "none"), nullable=True),
    "data.header": Rule("boolean", nullable=True),
    "data.columns": Rule("list of texts", nullable=True),
    "data.dataset": TEXT,
    "data.subset": NULL_OR_TEXT,
    "data.revision": NULL_OR_TEXT,
    "data.train_split": TEXT,
    "data.validation_split": NULL_OR_TEXT,
    "data.test_split": NULL_OR_TEXT,
    "loss.class_weights": replace(CLASS_WEIGHTS, also=("balanced",)),
    "optimizer.lr": NULL_OR_POSITIVE,
    "optimizer.show_groups": FLAG,
    "optimizer.algorithm.betas": Rule("any"),
    "optimizer.algorithm.eps": POSITIVE,
    "optimizer.algorithm.fused": Rule("boolean", nullable=True),
    "trainer.accelerator": TEXT,
    "trainer.devices": Rule("any"),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": Rule("any"),
    "trainer.precision": Rule("text", choices=PRECISIONS),
    "trainer.max_epochs": replace(NULL_OR_COUNT, also=(-1,)),
    "trainer.max_steps": replace(COUNT, also=(-1,)),
    "trainer.min_train_steps": COUNT_OR_ZERO,
    "trainer.max_time": Rule("any", nullable=True),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": NULL_OR_POSITIVE,
    "trainer.gradient_clip_algorithm": Rule("text", choices=("norm", "value")),
    "trainer.val_check_interval": replace(NULL_OR_POSITIVE, also=("auto",)),
    "trainer.check_val_every_n_epoch": NULL_OR_COUNT,
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": replace(COUNT_OR_ZERO, also=(-1,)),
    "trainer.limit_train_batches": POSITIVE,
    "trainer.limit_val_batches": LIMIT,
    "trainer.limit_test_batches": LIMIT,
    "trainer.deterministic": Rule("boolean", also=("warn",)),
    "trainer.detect_anomaly": FLAG,
    "trainer.profiler": Rule("text", choices=("simple", "advanced"), nullable=True),
    "trainer.enable_progress_bar": FLAG,
    "trainer.enable_model_summary": FLAG,
    "trainer.compile": FLAG,
    "callbacks.early_stopping.min_delta": LIMIT,
}

# The pre-training stage has the same keys for optimizer, schedule and trainer, except these.
_FINE_TUNING_ONLY = (
    "optimizer.lr",
    "trainer.max_time",
    "trainer.limit_test_batches",
    "trainer.compile",
)
RULES |= {
    f"pretrain.{key}": rule
    for key, rule in RULES.items()
    if key.startswith(("optimizer.", "trainer.", "callbacks.early_stopping."))
    and key not in _FINE_TUNING_ONLY
}
RULES |= {
    "pretrain.include_evaluation_texts": FLAG,
    "pretrain.held_out_ratio": INNER_SHARE,
    "pretrain.batch_size": COUNT,
    "pretrain.num_cached": COUNT_OR_ZERO,
    "pretrain.callbacks.early_stopping.patience": COUNT,
}
