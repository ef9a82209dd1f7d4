"""The configuration judged as a whole: every problem at once, by key, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_ft.config.rules import RULES

FILE_KEYS = ("data.train_file", "data.validation_file", "data.test_file", "resume_from")
OBJECTIVE_MODES = {"val/accuracy": "max", "val/f1_macro": "max", "val/loss": "min"}


def problems(config: DictConfig) -> list[str]:
    """One sentence for each thing that is wrong; empty if the configuration can be run."""
    found = [problem for key, rule in RULES.items() for problem in _value_problems(config, key, rule)]
    wrong_keys = {problem.split("=")[0].split(":")[0] for problem in found}

    def get(key: str) -> Any:
        """The value, or None where the key is absent or already reported."""
        return None if key in wrong_keys else _select(config, key)

    found += _between_keys(get)
    found += [
        f"{key}={path}: no such file (searched from {Path.cwd()})"
        for key in FILE_KEYS
        if (path := get(key)) is not None and not Path(path).exists()
    ]
    return found


def _value_problems(config: DictConfig, key: str, rule: Any) -> Iterator[str]:
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, parent_key) if parent_key else config
    if not isinstance(parent, DictConfig) or name not in parent.keys():  # noqa: SIM118 ("in" hides "???")
        return
    if OmegaConf.is_missing(parent, name):
        yield f"{key}: required; give {rule}"
        return
    try:
        value = parent[name]
    except OmegaConfBaseException as error:
        yield f"{key}: {error}"
        return
    if isinstance(value, DictConfig):  # somebody's own class by _target_: its constructor judges it
        return
    if isinstance(value, ListConfig):
        value = OmegaConf.to_container(value)
    if not rule.accepts(value):
        yield f"{key}={'null' if value is None else value}: must be {rule}"


def _between_keys(get: Any) -> Iterator[str]:
    metric, mode = get("objective.metric"), get("objective.mode")
    if metric and mode and OBJECTIVE_MODES[metric] != mode:
        yield f"objective.mode={mode}: contradicts objective.metric={metric}; set it to {OBJECTIVE_MODES[metric]}"
    ratio, steps = get("schedule.warmup_ratio"), get("schedule.warmup_steps")
    if ratio is not None and steps is not None:
        yield f"schedule.warmup_steps={steps}: schedule.warmup_ratio={ratio} is set too; set one of them to null"
    if get("encoder.cache_frozen") and get("encoder.freeze_layers") is None:
        yield "encoder.cache_frozen=True: needs a number of frozen layers; give encoder.freeze_layers"
    max_steps = get("trainer.max_steps")
    if steps is not None and max_steps is not None and 0 < max_steps < steps:
        yield f"schedule.warmup_steps={steps}: exceeds trainer.max_steps={max_steps}; lower it or raise the other"
    validation, test = get("data.validation_ratio"), get("data.test_ratio")
    both_used = get("data.validation_file") is None and get("data.test_file") is None
    if both_used and validation and test and validation + test >= 1:
        yield f"data.validation_ratio={validation}: with data.test_ratio={test} it leaves no training rows"
    if get("trainer.max_epochs") == -1 and max_steps == -1 and get("trainer.max_time") is None:
        yield "trainer.max_epochs=-1: no end is set; give it, trainer.max_steps or trainer.max_time"
    length, tokens = get("data.max_length"), get("data.max_tokens")
    if length and tokens and length > tokens:
        yield f"data.max_tokens={tokens}: less than data.max_length={length}; raise it"


def _select(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None
