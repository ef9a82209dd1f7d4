"""Check a whole configuration: find every problem, named by its key, before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_ft.config.check_pretraining import pretraining_problems
from bert_ft.config.check_task import task_problems
from bert_ft.config.rules import rules_for
from bert_ft.limits import Rule
from bert_ft.trust import IN_CONFIGURATIONS, PATTERN, TARGET, is_trusted, refusal, targets

FILE_KEYS = (
    "data.train_file",
    "data.validation_file",
    "data.test_file",
    "data.unlabeled_file",
    "resume_from",
)
AUGMENTATION = "bert_ft.data.augmentation.Augmentation"


def problems(config: DictConfig, keys: type | None = None) -> list[str]:
    """Return one sentence per problem; empty if the configuration can be run.

    ``keys`` is a class whose annotations are the command's own keys.
    """
    rules = rules_for(sections(config), keys)
    found = [problem for key, rule in rules.items() for problem in _value_problems(config, key, rule)]
    if any(
        problem.startswith("data.long_texts=") for problem in found
    ):  # which the default of this depends on
        found = [problem for problem in found if not problem.startswith("data.max_length: Interpolation")]
    wrong_keys = {problem.split("=")[0].split(":")[0] for problem in found}

    def get(key: str) -> Any:
        """Return the value, or None if the key is absent or already reported."""
        return None if key in wrong_keys else _select(config, key)

    found += _between_keys(get)
    found += task_problems(get, dict(_entries(get("metrics"))))
    found += pretraining_problems(config, get)
    found += _own_classes(config, get)
    found += _run_or_study(config)
    found += _output_dir(config)
    found += [
        f"{key}={path}: no such file (searched from {Path.cwd()})"
        for key in FILE_KEYS
        if (path := get(key)) is not None and not Path(path).expanduser().exists()
    ]
    return found


def _value_problems(config: DictConfig, key: str, rule: Rule) -> Iterator[str]:
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
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value)
    if problem := rule.problem(key, value):
        yield problem


def _between_keys(get: Any) -> Iterator[str]:
    metric = get("objective.metric")
    kept_by = get("callbacks.best_checkpoint.monitor")
    if metric and kept_by and kept_by != metric:
        yield (
            f"callbacks.best_checkpoint.monitor={kept_by}: the best checkpoint is chosen by objective.metric={metric}; set "
            f"that to {kept_by}, or add a checkpoint callback under another name"
        )
    if get("encoder.cache_frozen") and get("encoder.freeze_layers") is None:
        yield "encoder.cache_frozen=True: needs a number of frozen layers; set encoder.freeze_layers"
    if get("trainer.compile") and (epsilon := get("loss.adversarial_epsilon")):
        yield (
            f"loss.adversarial_epsilon={epsilon}: trainer.compile=true would recompile the encoder at each step; "
            "turn one of them off"
        )
    if get("encoder.cache_frozen"):
        yield from _against_cache(get)
    for stage in ("", "pretrain."):
        yield from _number_of_steps(stage, get)
        batches = get(f"{stage}trainer.accumulate_grad_batches")
        if get("monitor.gradients.noise_scale") and batches is not None and batches < 2:
            yield (
                f"monitor.gradients.noise_scale=True: compares gradients of several batches; set "
                f"{stage}trainer.accumulate_grad_batches to at least 2"
            )
    validation, test = get("data.validation_ratio"), get("data.test_ratio")
    both_used = get("data.validation_file") is None and get("data.test_file") is None
    if both_used and validation and test and validation + test >= 1:
        yield f"data.validation_ratio={validation}: leaves no training rows together with data.test_ratio={test}"
    length, tokens = get("data.max_length"), get("data.max_tokens")
    if length and tokens and length > tokens:
        yield f"data.max_tokens={tokens}: less than data.max_length={length}; raise it"


def _number_of_steps(stage: str, get: Any) -> Iterator[str]:
    ratio, steps = get(f"{stage}schedule.warmup_ratio"), get(f"{stage}schedule.warmup_steps")
    warmup = f"{stage}schedule.warmup_steps={steps}"
    if ratio is not None and steps is not None:
        yield f"{warmup}: {stage}schedule.warmup_ratio={ratio} is also set; set one of them to null"
    max_steps = get(f"{stage}trainer.max_steps")
    if steps is not None and max_steps is not None and 0 < max_steps < steps:
        yield f"{warmup}: exceeds {stage}trainer.max_steps={max_steps}; lower it or raise max_steps"
    if get(f"{stage}trainer.max_epochs") == -1 and max_steps == -1:
        yield f"{stage}trainer.max_epochs=-1: a schedule needs an end; set max_epochs or {stage}trainer.max_steps"


def _run_or_study(config: DictConfig) -> Iterator[str]:
    """Check that a report is asked for a run or a search, not both."""
    if not {"run", "study_name", "storage"} <= config.keys():
        return
    if config.run is None and config.storage is None and (config.folder is None or config.study_name):
        if config.study_name is None:
            yield "run: required; give the folder of a run, or the study_name and storage of a search"
        else:
            yield f"storage: required with study_name={config.study_name}; give e.g. sqlite:///outputs/optuna.db"
    elif config.run is not None and (config.study_name or config.storage or config.folder):
        given = next(key for key in ("study_name", "storage", "folder") if config[key])
        yield f"{given}={config[given]}: belongs to a search, but run={config.run} is also set; set one of them to null"


def _output_dir(config: DictConfig) -> Iterator[str]:
    """Check that the run's folder is set in one place, ``hydra.run.dir``."""
    # not `in`, which would resolve an interpolation that only a job can resolve
    if "output_dir" in config.keys() and not OmegaConf.is_interpolation(config, "output_dir"):  # noqa: SIM118
        yield f"output_dir={config.output_dir}: follows hydra.run.dir; give hydra.run.dir={config.output_dir}"


def _own_classes(config: DictConfig, get: Any) -> Iterator[str]:
    """Check names of the user's classes: metrics that name none, and classes that aren't trusted."""
    for name, metric in _entries(get("metrics")):
        if metric is not None and not (isinstance(metric, dict) and TARGET in metric):
            yield f"metrics.{name}={metric}: must name a class; give metrics.{name}.{TARGET}, or null"
    trust = get("trust") or ()
    wrong = [pattern for pattern in trust if not PATTERN.fullmatch(pattern)]
    for pattern in wrong:
        yield f"trust=[{pattern}]: must be a full name, or a package followed by .*, e.g. my_package.*"
    typed = get("hydra.overrides.task")
    if trust and typed is not None and not any(word.lstrip("+").startswith("trust=") for word in typed):
        yield f"trust={list(trust)}: is set in a config file; `trust` must be given on the command line"
    attention = get("encoder.attn_implementation")
    if attention and "." in attention and not wrong and not is_trusted(attention, ("bert_ft.*", *trust)):
        yield refusal("encoder.attn_implementation", attention)
    for section, target in sections(config):
        if not wrong and not is_trusted(target, (*IN_CONFIGURATIONS, *trust)):
            yield refusal(f"{section}.{TARGET}", target)


def sections(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield each section that has a ``_target_``, with this target."""
    for key, target in targets({name: node for name, node in _entries(config) if name != "hydra"}):
        yield key.rpartition(".")[0], target


def _against_cache(get: Any) -> Iterator[str]:
    """Check for settings that change the input of the frozen part, so that its output can't be cached."""
    target = get("data.augmentation._target_")
    if target is not None and target != AUGMENTATION:
        yield f"data.augmentation._target_={target}: encoder.cache_frozen=true needs unchanged texts; turn one of them off"
    for name in ("token_deletion_prob", "token_swap_prob", "span_mask_ratio"):
        if value := get(f"data.augmentation.{name}"):
            yield f"data.augmentation.{name}={value}: encoder.cache_frozen=true needs unchanged texts; turn one of them off"
    if epsilon := get("loss.adversarial_epsilon"):
        yield (
            f"loss.adversarial_epsilon={epsilon}: perturbs word embeddings, which encoder.cache_frozen=true doesn't "
            "compute; turn one of them off"
        )


def _entries(node: Any) -> list[tuple[Any, Any]]:
    """Return the entries of a mapping, interpolations unresolved; nothing if it isn't a mapping."""
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
    return list(plain.items()) if isinstance(plain, dict) else []


def _select(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None
