"""The best trial as something that can be run again: a command, and a file of settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from omegaconf import DictConfig, OmegaConf

from bert_ft import layout
from bert_ft.reporting.command import repeat_command as command_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.search.results.study_log import StudyLog, TrialLog

SEARCH_ONLY = ("hydra.", "hydra/", "search=", "+search=")  # what a single run has no use for


@dataclass(frozen=True)
class JobRecord:
    """What Hydra noted of a trial's job.

    Attributes:
        choices: group → choice.
        own_folders: of the user's own configuration.
        seed: of the job; ``None`` where it isn't known.
        entry: the configuration that it started from, named as its command is.
    """

    choices: dict[str, Any] = field(default_factory=dict)
    own_folders: list[str] = field(default_factory=list)
    seed: int | None = None
    entry: str = "train"


def read_record(folder: str | None) -> JobRecord:
    """What is in ``.hydra`` of the job's folder; nothing where that isn't there or can't be read."""
    if folder is None:
        return JobRecord()
    hydra = _yaml(Path(folder) / layout.HYDRA_FILE).get("hydra", {})
    runtime = hydra.get("runtime", {})
    return JobRecord(
        choices=runtime.get("choices") or {},
        own_folders=[
            source["path"]
            for source in runtime.get("config_sources") or []
            if source.get("provider") == "command-line"
        ],
        seed=_yaml(Path(folder) / layout.CONFIG_FILE).get("seed"),
        entry=hydra.get("job", {}).get("config_name") or "train",
    )


def overrides_of(trial: TrialLog) -> list[str]:
    """What makes a run the trial; where that wasn't noted, its parameters."""
    given = trial.overrides
    if given is None:
        given = [f"{name}={_spelt(value)}" for name, value in trial.params.items()]
    return [str(override) for override in given if not str(override).startswith(SEARCH_ONLY)]


def repeat_command(trial: TrialLog, record: JobRecord) -> str:
    """The command that runs the trial again, in a folder of its own."""
    return _command(overrides_of(trial), record)


def experiment(log: StudyLog, trial: TrialLog, record: JobRecord, folder: Path) -> str:
    """A file for Hydra's group ``experiment`` that makes a run the trial.

    Groups stand in its list of defaults, keys below. What no file can say (a deletion, and what is trusted)
    is in the command that it names.
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
        else:
            _set(settings, override)
    if record.own_folders:  # which --config-dir then can't name
        command = repeat_command(trial, record)
    else:
        own = JobRecord(own_folders=[str(folder)], entry=record.entry)
        command = _command([f"{layout.EXPERIMENT_FOLDER}={Path(layout.BEST_FILE).stem}", *beside], own)
    values = ", ".join(
        f"{name} {value:.4f}" for name, value in zip(log.objectives, trial.values or (), strict=True)
    )
    head = ["# @package _global_", f"# Trial {trial.number} of {log.name}: {values}", f"#   {command}"]
    content = OmegaConf.create({"defaults": [*_last_of_each(defaults), "_self_"]} if defaults else {})
    return "\n".join([*head, OmegaConf.to_yaml(OmegaConf.merge(content, settings))])


def _command(overrides: list[str], record: JobRecord) -> str:
    """As the report of a run has it."""
    sources = [{"provider": "command-line", "path": path} for path in record.own_folders]
    hydra = {"job": {"config_name": record.entry}, "runtime": {"config_sources": sources}}
    run = RunLog(Path(), overrides=overrides, hydra={"hydra": hydra}, metrics={"seed": record.seed})
    return str(command_of(run))


def _last_of_each(defaults: list[Any]) -> list[Any]:
    """Hydra refuses two choices of a group."""
    by_group = {
        next(iter(each)).removeprefix("override ") if isinstance(each, dict) else each: each
        for each in defaults
    }
    return list(by_group.values())


def _is_earlier(override: Override) -> bool:
    """Whether it takes an earlier search's file, which has the name of the one that is written."""
    return (
        override.get_key_element().lstrip("+") == layout.EXPERIMENT_FOLDER
        and _unquoted(override.value()) == Path(layout.BEST_FILE).stem
    )


def _earlier(overrides: list[Override], record: JobRecord) -> tuple[list[Any], dict[str, Any]] | None:
    """Defaults and settings of an earlier search's file, if it is there: to name it would name the new one."""
    if any(_is_earlier(override) for override in overrides):
        for folder in record.own_folders:
            if content := _yaml(Path(folder) / layout.EXPERIMENT_FOLDER / layout.BEST_FILE):
                return [each for each in content.pop("defaults", []) if each != "_self_"], content
    return None


def _is_group(override: Override, choices: dict[str, Any]) -> bool:
    key = override.get_key_element().lstrip("+")
    if choices:
        return key in choices
    # without Hydra's record: one word that is no number, list or mapping
    return "." not in key and isinstance(_unquoted(override.value()), str)


def _default(override: Override) -> Any:
    group = override.get_key_element().lstrip("+")
    choice = _unquoted(override.value())
    if (
        group == layout.EXPERIMENT_FOLDER
    ):  # the file itself takes this group's place, so it brings the other in
        return choice
    return {f"/{group}" if override.is_add() else f"override /{group}": choice}


def _set(settings: DictConfig, override: Override) -> None:
    value = _unquoted(override.value())
    # a mapping is merged into what stands there, as on the command line
    OmegaConf.update(settings, override.key_or_group, value, merge=True, force_add=True)


def _unquoted(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {_unquoted(key): _unquoted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_unquoted(each) for each in value]
    return value


def _spelt(value: Any) -> str:
    """A value as an override has it."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return f"[{','.join(_spelt(each) for each in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
