"""Compose the command of a resumed run: its own overrides, and others that only extend the run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bert_ft import layout
from bert_ft.config.text_values import text_of, text_override, with_quoted_texts
from bert_ft.errors import ConfigError
from bert_ft.renamed_keys import move_renamed, override_key, with_new_names
from bert_ft.training.resume import check_has_checkpoint, run_of

KEY = "resume_from"
# defaults that may have been others when the run was started, or that it derived; it is resumed with its own
DEFAULTS = {
    "optimizer.lr": None,
    "trainer.val_check_interval": "auto",
    "callbacks.early_stopping._target_": "bert_ft.callbacks.early_stopping.EarlyStopping",
    "callbacks.early_stopping.patience": "auto",
}
# may change in a resumed run, since the weights don't depend on them
FREE = re.compile(
    r"(pretrain\.)?trainer\.(log_every_n_steps|enable_progress_bar|enable_model_summary|profiler)"
    r"|(logger|monitor|callbacks\.(progress_bar|lr_monitor))(\..*)?"
    r"|callbacks\.early_stopping|pretrain\.callbacks\.early_stopping"  # turned off or on
    r"|data\.(num_workers|cache_dir|max_cache_gb)|pretrain\.num_cached|optimizer\.show_groups|report|advice|test|keep|trust|resume_from|output_dir"
)
# may only increase; None and -1: no limit
GROWING = re.compile(
    r"(pretrain\.)?(trainer\.(max_epochs|max_steps|max_time|min_train_steps)|callbacks\.early_stopping\.patience)"
)
ALLOWED = (
    "more epochs, steps or time (trainer.max_epochs, trainer.max_steps, trainer.max_time, callbacks.early_stopping), "
    "logger, monitor, report, test, keep, the progress bar and data.num_workers"
)


def with_own_overrides(words: Sequence[str], config_name: str) -> list[str]:
    """Return the words of a command; if one is ``resume_from``, add the overrides that the run was started with.

    Also change the current folder to that in which the run was started, since its overrides may have relative paths.

    Raises:
        ConfigError: ``resume_from`` isn't a run, or is a run of another command.
    """
    given = [word for word in words if override_key(word) == KEY]
    value = text_of(given[-1]) if given else None
    if not value:
        return list(words)
    path = Path(os.path.abspath(Path(value).expanduser()))  # without ..
    run = run_of(path)
    if not path.exists() or not (run / layout.OVERRIDES_FILE).is_file():
        if path.is_dir():
            raise ConfigError(f"{KEY}={value}: not the folder of a run; it has no {layout.OVERRIDES_FILE}")
        return list(words)
    hydra = _read(run / layout.HYDRA_FILE).get("hydra", {})
    job = hydra.get("job", {}).get("config_name")
    if job and job != config_name:
        command = f"python -m bert_ft.{job} {shlex.quote(f'{KEY}={value}')}"
        raise ConfigError(f"{KEY}={value}: this is a run of bert_ft.{job}; resume it with {command}")
    own = with_new_names(_read(run / layout.OVERRIDES_FILE) or ())
    own += _own_defaults(_read(run / layout.CONFIG_FILE), tuple(override_key(word) for word in own))
    others = [word for word in words if override_key(word) not in (KEY, "hydra.run.dir")]
    _check_folder(words, run, value)
    _check_trust(own, others, value)
    found = [*_flags(hydra, words), *_merged(own, others)]
    found += [text_override(KEY, str(path)), text_override("hydra.run.dir", str(run))]
    cwd = hydra.get("runtime", {}).get("cwd")
    if cwd and Path(cwd).is_dir():
        os.chdir(cwd)
    return with_quoted_texts(found)


def _own_defaults(recorded: dict[str, Any], overridden: tuple[str, ...]) -> Iterator[str]:
    """Yield an override for each of the run's settings that isn't the default of now."""
    for key, default in DEFAULTS.items():
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(OmegaConf.create(recorded), parent)
        if not isinstance(node, DictConfig) or name not in node or node[name] == default:
            continue
        if not any(key == word or key.startswith(f"{word}.") for word in overridden):
            yield f"{key}={_shown(node[name])}"


def check_extends(config: DictConfig, given: Sequence[str]) -> None:
    """Refuse settings that would change the result of the run named by ``resume_from``.

    Args:
        config: the composed configuration.
        given: the words of the command itself.

    Raises:
        ConfigError: names each such key with both values, or says that the run is finished.
    """
    run = run_of(config.resume_from)
    record = run / layout.CONFIG_FILE
    if not record.is_file():
        return
    recorded = OmegaConf.load(record)
    assert isinstance(recorded, DictConfig)
    move_renamed(recorded)
    before, now = dict(_leaves(recorded)), dict(_leaves(config))
    touched = tuple(override_key(word) for word in given)
    wrong, grows = [], False
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new:  # an interpolation, or the value that an earlier version had written there
            old, new = _resolved(recorded, key, old), _resolved(config, key, new)
        if old == new or _is_switched_off(key, now):
            continue
        is_given = any(key == name or key.startswith(f"{name}.") for name in touched)
        is_in_both = key in before and key in now
        if GROWING.fullmatch(key) and (is_given or is_in_both):
            grows = True
            if is_in_both and not _is_larger(key, old, new):
                wrong.append(f"{key}={_shown(new)}: the run has {_shown(old)}; it can only be raised")
        elif FREE.fullmatch(key):
            grows |= key.endswith("early_stopping")
        elif is_given or is_in_both:
            wrong.append(f"{key}={_shown(new)}: the run has {_shown(old)}, and its result depends on it")
    if wrong:
        raise ConfigError(
            "\n".join(
                [
                    f"{KEY}={config.resume_from}: these settings would change the run's result:",
                    *(f"  {line}" for line in wrong),
                ]
            )
            + f"\nWhen you resume a run, you can set {ALLOWED}."
        )
    check_has_checkpoint(config.resume_from, run)
    if (run / layout.METRICS_FILE).exists() and not grows:
        raise ConfigError(_finished(run, config))


def _finished(run: Path, config: DictConfig) -> str:
    stopped = _read(run / layout.METRICS_FILE).get("stopped", "")
    prefix = "" if "model" in config else "pretrain."
    if stopped.startswith("no better"):
        remedy = (
            f"{prefix}callbacks.early_stopping=null, or a larger {prefix}callbacks.early_stopping.patience"
        )
    elif "max_time" in stopped:
        remedy = f"a longer {prefix}trainer.max_time"
    else:
        remedy = f"a larger {prefix}trainer.max_epochs (or {prefix}trainer.max_steps)"
    return f"{KEY}={config.resume_from}: the run is finished ({stopped}); to train it longer, add {remedy}"


def _resolved(config: DictConfig, key: str, value: Any) -> Any:
    if not (isinstance(value, str) and "${" in value):
        return value
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException:  # only a job can resolve it
        return value


def _is_larger(key: str, old: Any, new: Any) -> bool:
    if old in (None, -1) or new in (None, -1):
        # the progress so far is known only when its checkpoint is read
        return key.endswith(("max_epochs", "max_steps")) or new is None
    if key.endswith("max_time") or "auto" in (old, new):
        return True  # a time has several formats, and only the time left counts
    return bool(new > old)


def _is_switched_off(key: str, config: Mapping[str, Any]) -> bool:
    """Return whether a parent of the key is null now; the parent itself is checked."""
    names = key.split(".")
    parents = (".".join(names[:length]) for length in range(1, len(names)))
    return any(parent in config for parent in parents)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _check_folder(words: Sequence[str], run: Path, value: str) -> None:
    for word in words:
        if (
            override_key(word) == "hydra.run.dir"
            and (folder := text_of(word))
            and Path(folder).absolute() != run
        ):
            raise ConfigError(
                f"hydra.run.dir={folder}: {KEY}={value} resumes the run in its own folder, {run}; omit hydra.run.dir"
            )


def _check_trust(own: Sequence[str], given: Sequence[str], value: str) -> None:
    """Require that the user repeats ``trust``: the run's folder could come from anyone."""
    trusted = [word for word in own if override_key(word) == "trust"]
    if trusted and not any(override_key(word) == "trust" for word in given):
        raise ConfigError(
            f"{KEY}={value}: the run imports classes of your own; if you trust its folder, add {shlex.quote(trusted[-1])}"
        )


def _flags(hydra: dict[str, Any], words: Sequence[str]) -> list[str]:
    """Return the ``--config-dir`` that the run was started with."""
    if any(word.startswith(("--config-dir", "-cd")) for word in words):
        return []
    sources = hydra.get("runtime", {}).get("config_sources", [])
    return [f"--config-dir={each['path']}" for each in sources if each.get("provider") == "command-line"]


def _merged(own: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the run's words, replaced by the command's for equal keys; keys that the run added need ``++``."""
    added = {override_key(word) for word in own if word.startswith("+")}
    keys = {override_key(word) for word in given}
    kept = [word for word in own if override_key(word) not in {*keys, KEY, "hydra.run.dir"}]
    return [
        *kept,
        *(f"++{word}" if override_key(word) in added and word[0] not in "+~-" else word for word in given),
    ]


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys and values, interpolations unresolved; an empty mapping is a value."""
    if isinstance(node, DictConfig):
        node = {
            name: value
            for name, value in OmegaConf.to_container(node, resolve=False).items()  # type: ignore[union-attr]
            if name != "hydra"
        }
    for name, child in node.items():
        if isinstance(child, dict) and child:
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError):
        return {}
