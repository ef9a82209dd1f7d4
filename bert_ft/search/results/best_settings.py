"""The best trial as a command and as a file of settings that run it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from bert_ft import layout
from bert_ft.compat.hydra import unquoted
from bert_ft.reporting.command import repeat_command as command_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.search.results.study_log import StudyLog, TrialLog
from bert_ft.search.spelling import as_written

SEARCH_ONLY = ("hydra.", "hydra/", "search=", "+search=")  # overrides without a meaning in a single run

_DEBUG = "/debug@_global_"  # the group ``debug`` in a file's list of defaults


@dataclass(frozen=True)
class JobRecord:
    """Hydra's record of a trial's job."""

    choices: dict[str, Any] = field(default_factory=dict)  # group → choice
    own_folders: list[str] = field(default_factory=list)  # of the user's configuration
    seed: int | None = None
    entry: str = "train"  # name of the top configuration, and of its command
    conditions: dict[str, Any] = field(default_factory=dict)  # hydra.sweeper.conditions


def read_record(folder: str | None) -> JobRecord:
    """Return what ``.hydra`` in the job's folder contains; missing or broken files count as empty."""
    if folder is None:
        return JobRecord()
    hydra = _yaml(Path(folder) / layout.HYDRA_FILE).get("hydra", {})
    runtime = hydra.get("runtime", {})
    sources = runtime.get("config_sources") or []
    return JobRecord(
        choices=runtime.get("choices") or {},
        own_folders=[source["path"] for source in sources if source.get("provider") == "command-line"],
        seed=_yaml(Path(folder) / layout.CONFIG_FILE).get("seed"),
        entry=hydra.get("job", {}).get("config_name") or "train",
        conditions=hydra.get("sweeper", {}).get("conditions") or {},
    )


def overrides_of(trial: TrialLog) -> list[str]:
    """Return the overrides that reproduce the trial as a single run; its parameters if they weren't recorded."""
    given = trial.overrides
    if given is None:
        given = [f"{name}={as_written(value)}" for name, value in trial.params.items()]
    return [str(override) for override in given if not str(override).startswith(SEARCH_ONLY)]


def repeat_command(trial: TrialLog, record: JobRecord) -> str:
    """Return the command that runs the trial again, in its own folder."""
    return _command(overrides_of(trial), record)


def experiment(log: StudyLog, trial: TrialLog, record: JobRecord, folder: Path) -> str:
    """Return a file for Hydra's group ``experiment`` that makes a run repeat the trial.

    Groups are in its defaults list, keys below it. Overrides that a file can't contain (deletions and
    ``trust``) are in the command that it names.
    """
    parsed = OverridesParser.create().parse_overrides(overrides_of(trial))
    earlier = _earlier(parsed, record)
    defaults, before = earlier or ([], {})
    settings = OmegaConf.create(before)
    if record.seed is not None:
        settings.seed = record.seed
    beside = []
    for override in parsed:
        if earlier is not None and _is_earlier(override):
            continue
        if override.is_delete() or override.get_key_element() == "trust":
            beside.append(str(override.input_line))
        elif _is_group(override, record.choices):
            defaults.append(_default(override))
        else:  # a mapping is merged into the existing one, as on the command line
            value = unquoted(override.value())
            OmegaConf.update(settings, override.key_or_group, value, merge=True, force_add=True)
    if record.own_folders:  # then --config-dir can't name ``folder``
        command = repeat_command(trial, record)
    else:
        own = JobRecord(own_folders=[str(folder)], entry=record.entry)
        command = _command([f"{layout.EXPERIMENT_FOLDER}={Path(layout.BEST_FILE).stem}", *beside], own)
    values = ", ".join(
        f"{name} {value:.4f}" for name, value in zip(log.objectives, trial.values or (), strict=True)
    )
    head = ["# @package _global_", f"# Trial {trial.number} of {log.name}: {values}", f"#   {command}"]
    # Hydra refuses two choices of a group: the last one counts
    groups = {next(iter(d)).removeprefix("override ") if isinstance(d, dict) else d: d for d in defaults}
    ordered = sorted(groups.values(), key=_place)
    content = OmegaConf.create({"defaults": [*ordered, "_self_"]} if groups else {})
    return "\n".join([*head, OmegaConf.to_yaml(OmegaConf.merge(content, settings))])


def _command(overrides: list[str], record: JobRecord) -> str:
    """Return the command as the report of a run shows it."""
    sources = [{"provider": "command-line", "path": path} for path in record.own_folders]
    hydra = {"job": {"config_name": record.entry}, "runtime": {"config_sources": sources}}
    run = RunLog(Path(), overrides=overrides, hydra={"hydra": hydra}, metrics={"seed": record.seed})
    return str(command_of(run))


def _is_earlier(override: Override) -> bool:
    """Return whether the override names the best settings of an earlier search, whose file has the same name."""
    is_experiment = override.get_key_element().lstrip("+") == layout.EXPERIMENT_FOLDER
    return is_experiment and unquoted(override.value()) == Path(layout.BEST_FILE).stem


def _earlier(overrides: list[Override], record: JobRecord) -> tuple[list[Any], dict[str, Any]] | None:
    """Return defaults and settings of the earlier search's file, if the trial used one."""
    if any(_is_earlier(override) for override in overrides):
        for folder in record.own_folders:
            if content := _yaml(Path(folder) / layout.EXPERIMENT_FOLDER / layout.BEST_FILE):
                return [each for each in content.pop("defaults", []) if each != "_self_"], content
    return None


def _is_group(override: Override, choices: dict[str, Any]) -> bool:
    key = override.get_key_element().lstrip("+")
    if choices:
        return key in choices
    # without Hydra's record: a single word that isn't a number, list or mapping
    return "." not in key and isinstance(unquoted(override.value()), str)


def _place(default: Any) -> int:
    """Return 0 for what comes first in a list of defaults: Hydra wants overrides at its end."""
    key = next(iter(default)) if isinstance(default, dict) else default
    return 2 if key.startswith("override ") else int(key == _DEBUG)


def _default(override: Override) -> Any:
    group = override.get_key_element().lstrip("+")
    choice = unquoted(override.value())
    if group == layout.EXPERIMENT_FOLDER:  # the group of the file itself, which includes the other one
        return choice
    # it comes after ``experiment``, which can't override it, but can include it as another group
    if group == "debug":
        return {_DEBUG: choice}
    return {f"/{group}" if override.is_add() else f"override /{group}": choice}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
