"""What each configuration key may hold, so that a whole configuration is judged before anything is loaded.

The constructors that the keys feed are heavy to import (torch, lightning); this table is not. A test
holds it complete: each key of each shipped file has its rule, and each default keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STEP_MONITORS = ("activations", "gradients", "weights", "curves")
LISTS = {"list of integers": "integer", "list of numbers": "number", "list of texts": "text"}


@dataclass(frozen=True)
class Rule:
    """A type with its limits; ``None`` is allowed only where ``nullable``.

    Attributes:
        kind: ``integer``, ``number``, ``text``, ``boolean``, ``mapping``, ``any``, or a list (see ``LISTS``).
        at_least: smallest value (of each entry, in a list).
        at_most: largest value.
        above: value that it must exceed.
        below: value that it must stay under.
        choices: the only values allowed.
        nullable: whether ``null`` is allowed.
        also: other single values allowed beside the kind (``auto``, ``-1``).
        own_class: whether a class of the user's own is allowed, as a mapping with ``_target_``.
    """

    kind: str
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    also: tuple[Any, ...] = ()
    own_class: bool = False

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.nullable
        if any(value == other and type(value) is type(other) for other in self.also):
            return True
        if self.choices:
            return value in self.choices
        if self.kind in LISTS:
            return isinstance(value, list) and all(
                _is_kind(LISTS[self.kind], entry) and self._in_range(entry) for entry in value
            )
        return _is_kind(self.kind, value) and self._in_range(value)

    def _in_range(self, value: Any) -> bool:
        return not (
            (self.at_least is not None and value < self.at_least)
            or (self.at_most is not None and value > self.at_most)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def __str__(self) -> str:
        if self.choices:
            parts = ["one of " + ", ".join(map(str, self.choices))]
        else:
            limits = [
                f"{sign} {limit}"
                for sign, limit in (
                    ("≥", self.at_least),
                    (">", self.above),
                    ("≤", self.at_most),
                    ("<", self.below),
                )
                if limit is not None
            ]
            article = "an" if self.kind[0] in "aeiou" else "a"
            parts = [" ".join([article, self.kind, " and ".join(limits)]).strip()]
        parts += [str(other) for other in self.also]
        if self.own_class:
            parts.append("a class of your own ({_target_: ...})")
        if self.nullable:
            parts.append("null")
        return " or ".join(parts)


def _is_kind(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind in ("boolean", "any")
    types: dict[str, tuple[type, ...]] = {
        "integer": (int,),
        "number": (int, float),
        "text": (str,),
        "mapping": (dict,),
        "any": (object,),
    }
    # value == value: NaN is no number here
    return isinstance(value, types.get(kind, ())) and value == value


COUNT = Rule("integer", at_least=1)
NULL_OR_COUNT = Rule("integer", at_least=1, nullable=True)
SHARE = Rule("number", at_least=0, below=1)
RATIO = Rule("number", at_least=0, at_most=1)
FLAG = Rule("boolean")
TEXT = Rule("text")
NULL_OR_TEXT = Rule("text", nullable=True)
NULL_OR_RATE = Rule("number", at_least=0, below=1, nullable=True)
LIMIT = Rule("number", at_least=0)

PRECISIONS: tuple[int | str, ...] = (16, 32, 64, "16", "32", "64", "bf16", "16-mixed", "bf16-mixed")
PRECISIONS += ("16-true", "bf16-true", "32-true", "64-true")

RULES: dict[str, Rule] = {
    "seed": Rule("integer", at_least=0, at_most=2**32 - 1),
    "resume_from": NULL_OR_TEXT,
    "objective.metric": TEXT,
    "metrics": Rule("mapping"),
    "report": FLAG,
    "test": FLAG,
    "trust": Rule("list of texts"),
    "objective.others": Rule("list of texts"),
    "objective.mode": Rule("text", choices=("max", "min")),
    "encoder.name_or_path": TEXT,
    "encoder.revision": NULL_OR_TEXT,
    "encoder.attn_implementation": TEXT,  # what there is, transformers knows
    "encoder.kernels": Rule("text", choices=("fast", "plain")),
    "encoder.hidden_dropout": NULL_OR_RATE,
    "encoder.attention_dropout": NULL_OR_RATE,
    "encoder.gradient_checkpointing": FLAG,
    "encoder.reinit_layers": Rule("integer", at_least=0),
    "encoder.freeze_layers": Rule("integer", at_least=0, nullable=True),
    "encoder.cache_frozen": FLAG,
    "model.pooling": Rule("text", choices=("cls", "mean", "max", "attention"), own_class=True),
    "model.pooling_layers": COUNT,
    "model.head.hidden_sizes": Rule("list of integers", at_least=1),
    "model.head.dropout": SHARE,
    "model.dropout": NULL_OR_RATE,
    "model.keep_head": FLAG,
    "data.truncation_side": Rule("text", choices=("left", "right"), nullable=True),
    "data.max_length": Rule("integer", at_least=3, nullable=True),
    "data.batch_size": COUNT,
    "data.max_tokens": COUNT,
    "data.eval_batch_size": COUNT,
    "data.validation_ratio": Rule("number", above=0, below=1),
    "data.test_ratio": SHARE,
    "data.deduplicate": FLAG,
    "data.cache_dir": NULL_OR_TEXT,
    "data.augmentation.token_deletion_prob": SHARE,
    "data.augmentation.token_swap_prob": SHARE,
    "data.augmentation.span_mask_ratio": SHARE,
    "data.augmentation.mean_span_length": Rule("number", at_least=1),
    "data.num_workers": Rule("integer", at_least=0),
    "data.train_file": TEXT,
    "data.validation_file": NULL_OR_TEXT,
    "data.test_file": NULL_OR_TEXT,
    "data.text_column": NULL_OR_TEXT,
    "data.text_pair_column": NULL_OR_TEXT,
    "data.label_column": NULL_OR_TEXT,
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
    "loss.label_smoothing": SHARE,
    "loss.gamma": LIMIT,
    "loss.class_weights": Rule("list of numbers", above=0, nullable=True, also=("balanced",)),
    "loss.contrastive_weight": LIMIT,
    "loss.contrastive_temperature": Rule("number", above=0),
    "loss.r_drop_weight": LIMIT,
    "loss.adversarial_epsilon": LIMIT,
    "loss.adversarial_weight": LIMIT,
    "optimizer.lr": Rule("number", above=0),
    "optimizer.layer_decay": Rule("number", above=0, at_most=1),
    "optimizer.head_lr": Rule("number", above=0, nullable=True),
    "optimizer.weight_decay": Rule("number", at_least=0),
    "optimizer.show_groups": FLAG,
    "optimizer.algorithm.betas": Rule("any"),
    "optimizer.algorithm.eps": Rule("number", above=0),
    "optimizer.algorithm.fused": Rule("boolean", nullable=True),
    "schedule.warmup_ratio": Rule("number", at_least=0, at_most=1, nullable=True),
    "schedule.warmup_steps": Rule("integer", at_least=0, nullable=True),
    "schedule.min_lr_ratio": RATIO,
    "schedule.timescale": Rule("integer", at_least=1, nullable=True),
    "schedule.decay_ratio": RATIO,
    "schedule.shape": Rule("text", choices=("linear", "cosine", "1-sqrt")),
    "weight_decay_schedule.end_ratio": LIMIT,
    "averaging.start_ratio": RATIO,
    "averaging.every_n_steps": COUNT,
    "averaging.lr_ratio": Rule("number", above=0, nullable=True),
    "averaging.cycle_steps": Rule("integer", at_least=2, nullable=True),
    "averaging.cycle_end_ratio": RATIO,
    "averaging.follow_schedule": FLAG,
    "averaging.decay": SHARE,
    "unfreezing.epochs_per_layer": COUNT,
    "unfreezing.layers_at_start": Rule("integer", at_least=0),
    **{f"monitor.{name}.every_n_steps": COUNT for name in STEP_MONITORS},
    **{
        f"monitor.{name}.histogram_every_n_steps": NULL_OR_COUNT for name in STEP_MONITORS if name != "curves"
    },
    "monitor.activations.near_zero": LIMIT,
    "monitor.gradients.noise_scale": FLAG,
    "monitor.weights.distance": FLAG,
    "monitor.curves.smoothing": SHARE,
    "monitor.confidence.num_top_losses": COUNT,
    "monitor.confidence.max_rows": COUNT,
    "monitor.confidence.num_bins": COUNT,
    "monitor.attention.num_texts": COUNT,
    "monitor.attention.num_pictured": Rule("integer", at_least=0),
    "monitor.attention.sentences": Rule("list of texts", nullable=True),
    "monitor.attention.max_tokens": COUNT,
    "monitor.representations.num_texts": COUNT,
    "monitor.representations.projector": FLAG,
    "trainer.accelerator": TEXT,
    "trainer.devices": Rule("any"),
    "trainer.num_nodes": COUNT,
    "trainer.strategy": Rule("any"),
    "trainer.precision": Rule("text", choices=PRECISIONS),
    "trainer.max_epochs": Rule("integer", at_least=1, nullable=True, also=(-1,)),
    "trainer.max_steps": Rule("integer", at_least=1, also=(-1,)),
    "trainer.min_train_steps": Rule("integer", at_least=0),
    "trainer.max_time": Rule("any", nullable=True),
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": Rule("number", above=0, nullable=True),
    "trainer.gradient_clip_algorithm": Rule("text", choices=("norm", "value")),
    "trainer.val_check_interval": Rule("number", above=0, nullable=True),
    "trainer.check_val_every_n_epoch": Rule("integer", at_least=1, nullable=True),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": Rule("integer", at_least=0, also=(-1,)),
    "trainer.limit_train_batches": LIMIT,
    "trainer.limit_val_batches": LIMIT,
    "trainer.limit_test_batches": LIMIT,
    "trainer.deterministic": Rule("boolean", also=("warn",)),
    "trainer.detect_anomaly": FLAG,
    "trainer.profiler": Rule("text", choices=("simple", "advanced"), nullable=True),
    "trainer.enable_progress_bar": FLAG,
    "trainer.enable_model_summary": FLAG,
    "trainer.compile": FLAG,
    "bundle": TEXT,
    "input": TEXT,
    "output": TEXT,
    "text_column": NULL_OR_TEXT,
    "text_pair_column": NULL_OR_TEXT,
    "label_column": NULL_OR_TEXT,
    "delimiter": NULL_OR_TEXT,
    "encoding": NULL_OR_TEXT,
    "quoting": Rule("text", choices=("quotes", "none"), nullable=True),
    "header": Rule("boolean", nullable=True),
    "columns": Rule("list of texts", nullable=True),
    "probabilities": Rule("text", choices=("all", "top", "none")),
    "overwrite": FLAG,
    "batch_size": COUNT,
    "max_tokens": COUNT,
    "accelerator": Rule("text", choices=("auto", "cpu", "cuda")),
    "optimize": FLAG,
    "run": NULL_OR_TEXT,
    "study_name": NULL_OR_TEXT,
    "storage": NULL_OR_TEXT,
    "folder": NULL_OR_TEXT,
    "callbacks.best_checkpoint.standard_errors": LIMIT,
    "callbacks.early_stopping.patience": COUNT,
    "callbacks.early_stopping.min_delta": Rule("number", at_least=0),
}

# The stage before fine-tuning: optimizer, schedule and trainer as fine-tuning's own, without what it hasn't.
_STAGE_TRAINER = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "max_epochs",
    "max_steps",
    "min_train_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "val_check_interval",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "limit_train_batches",
    "limit_val_batches",
    "deterministic",
    "detect_anomaly",
    "profiler",
    "enable_progress_bar",
    "enable_model_summary",
)
RULES |= {
    f"pretrain.{key}": rule
    for key, rule in RULES.items()
    if key.startswith(("optimizer.", "schedule.", "callbacks.early_stopping."))
    or key in {f"trainer.{name}" for name in _STAGE_TRAINER}
}
RULES |= {
    "pretrain.mlm_weight": LIMIT,
    "pretrain.contrastive_weight": LIMIT,
    "pretrain.masking.mlm_probability": Rule("number", above=0, below=1),
    "pretrain.masking.mask_replace_prob": RATIO,
    "pretrain.masking.random_replace_prob": RATIO,
    "pretrain.masking.whole_words": FLAG,
    "pretrain.temperature": Rule("number", above=0),
    "pretrain.supervised": FLAG,
    "pretrain.pooling": Rule("text", choices=("cls", "mean", "max")),
    "pretrain.projection_sizes": Rule("list of integers", at_least=1),
    "pretrain.include_evaluation_texts": FLAG,
    "pretrain.held_out_ratio": Rule("number", above=0, below=1),
    "pretrain.batch_size": COUNT,
    "pretrain.num_cached": Rule("integer", at_least=0),
}
