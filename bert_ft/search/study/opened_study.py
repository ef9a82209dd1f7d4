"""The study of a search: created, or found and checked to be the same search."""

from __future__ import annotations

import json
import logging
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import DuplicatedStudyError
from optuna.pruners import BasePruner

from bert_ft import layout
from bert_ft.atomic_file import new_folder
from bert_ft.compat.optuna import CachedStorage
from bert_ft.errors import ConfigError
from bert_ft.search.settings import SearchSettings, objectives_of
from bert_ft.search.space.samplers import RoundedSampler, build_sampler
from bert_ft.search.space.space import Space
from bert_ft.search.study.comparable import differences, digest, is_content, shared_settings
from bert_ft.search.study.liveness import Owner
from bert_ft.search.study.storage import absolute_url, locked, open_storage, without_password

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedStudy:
    """A study to work on."""

    study: optuna.Study  # with its sampler and pruner
    storage: CachedStorage
    url: str  # address of the database, for other processes
    folder: Path  # of the sweep
    objective: str  # e.g. ``val/accuracy``
    command: str  # that continues the search
    settings: str | None  # marks trials that differ from those of the first start in what isn't searched


def open_study(
    settings: SearchSettings,
    config: DictConfig,
    space: Space,
    directions: Sequence[str],
    pruner: BasePruner,
    n_trials: int,
    composed: DictConfig,
) -> OpenedStudy:
    """Create the study, or load the existing one; ``composed`` is a trial's configuration without searched values.

    Raises:
        ConfigError: the database can't be used, or holds another search under this name.
    """
    sweep = Path(config.hydra.sweep.dir).absolute()
    if settings.storage is None and not _is_folder_given(config):
        sweep = new_folder(sweep)  # named by a second, in which another search may have started
    storage_url = settings.storage or f"sqlite:///{sweep / layout.STUDY_DATABASE}"
    url = absolute_url(storage_url, Path(OmegaConf.select(config, "hydra.runtime.cwd") or Path.cwd()))
    storage = open_storage(url, create=True)
    name = settings.study_name or sweep.name
    if settings.storage is not None and settings.study_name is None:
        name = _own_name(name, storage, directions, sweep, _is_folder_given(config))
    shared = shared_settings(composed, space.distributions)
    with locked(storage, name):
        study = _make_or_load(name, storage, directions, url)
        attributes = study.user_attrs
        turn = sum(key.startswith("heartbeat ") for key in attributes)
        objectives = objectives_of(config) or []
        objective = str(OmegaConf.select(config, "objective.metric", default="objective"))
        noted = objectives if len(objectives) > 1 else objective
        if turn or len(study.get_trials(deepcopy=False)):
            _check_same_space(name, attributes, space)
            _check_same_objective(name, attributes, noted)
            _check_same_settings(name, attributes, shared)
        # the next process counts it, so that no two use the same seed
        study.set_user_attr(Owner.this_process().heartbeat_key, 0.0)
    sampler = build_sampler(settings.sampler, space.distributions, turn)
    study = optuna.load_study(
        study_name=name, storage=storage, sampler=RoundedSampler(sampler), pruner=pruner
    )
    folder = _folder(settings, config, attributes, sweep)
    notes: dict[str, Any] = {
        "objective": noted,
        "space": space.to_json(),
        "n_trials": n_trials,
        "n_jobs": settings.n_jobs,
        "keep_top_k": settings.keep_top_k,
        # typed again, it resumes the search
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "folder": attributes.get("folder", str(folder)),
        "host": attributes.get("host", socket.gethostname()),
        "fixed": attributes.get("fixed", space.fixed_overrides()),
        "settings": attributes.get("settings", shared),
    }
    for key, value in notes.items():
        if key not in attributes or attributes[key] != value:
            study.set_user_attr(key, value)
    mark = digest(shared) if differences(notes["settings"], shared) else None
    return OpenedStudy(study, storage, url, folder, objective, notes["command"], mark)


def _is_folder_given(config: DictConfig) -> bool:
    return any(str(each).startswith("hydra.sweep.dir=") for each in config.hydra.overrides.hydra)


def _own_name(
    name: str, storage: CachedStorage, directions: Sequence[str], folder: Path, is_given: bool
) -> str:
    """Return the study's name for a search that sets a database but no name.

    Raises:
        ConfigError: the given folder has the name of a study that belongs to another one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    number, wanted = 1, name
    while True:
        try:
            optuna.create_study(study_name=name, storage=storage, directions=list(directions))  # type: ignore[arg-type]
        except DuplicatedStudyError:
            theirs = optuna.load_study(study_name=name, storage=storage).user_attrs.get("folder")
            if is_given and theirs in (None, str(folder)):
                return name
            if is_given:
                raise ConfigError(
                    f"hydra.sweep.dir={folder}: hydra.sweeper.storage holds a study {name} of another "
                    f"folder, {theirs}; give hydra.sweeper.study_name ({name} to continue that study)"
                ) from None
            number += 1
            name = f"{wanted}_{number}"
        else:
            return name


def _make_or_load(name: str, storage: CachedStorage, directions: Sequence[str], url: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log each step in its own format
    try:
        return optuna.create_study(study_name=name, storage=storage, directions=list(directions))  # type: ignore[arg-type]
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
    theirs = [direction.name.lower() for direction in study.directions]
    if theirs != list(directions):
        raise ConfigError(
            f"hydra.sweeper.study_name={name}: the study in {without_password(url)} is to "
            f"{' and '.join(theirs)}, but this search is to {' and '.join(directions)}; give another name"
        )
    return study


def _check_same_objective(name: str, attributes: Mapping[str, Any], objective: Any) -> None:
    stored = attributes.get("objective")
    if stored is not None and stored != objective:
        theirs, ours = (each if isinstance(each, str) else ", ".join(each) for each in (stored, objective))
        raise ConfigError(
            f"objective.metric={ours}: the study {name} has values of {theirs}, which can't be compared with it; "
            "give another hydra.sweeper.study_name, or the same objective"
        )


def _check_same_settings(name: str, attributes: Mapping[str, Any], shared: Mapping[str, str]) -> None:
    """Refuse other data, and warn of other settings, since those may be intended (a model in another folder)."""
    different = differences(attributes.get("settings") or {}, shared)
    for key, values in sorted(different.items()):
        if all(map(is_content, values)):
            raise ConfigError(
                f"{key}: has different content ({values[1]}) than when the study {name} was started "
                f"({values[0]}), so its "
                "values can't be compared; give another hydra.sweeper.study_name, or the same file"
            )
    if different:
        listed = ", ".join(
            f"{key}={ours} (before: {theirs})" for key, (theirs, ours) in sorted(different.items())
        )
        log.warning(f"The study continues with {listed}: are its trials still comparable?")


def _check_same_space(name: str, attributes: Mapping[str, Any], space: Space) -> None:
    stored = attributes.get("space")
    if stored is None or stored == space.to_json():
        return
    theirs, ours = json.loads(stored), json.loads(space.to_json())
    changed = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    raise ConfigError(
        f"hydra.sweeper.study_name={name}: the study has a different search space: {', '.join(changed)} "
        f"{'differs' if len(changed) == 1 else 'differ'}; give another name, or the same space"
    )


def _folder(settings: SearchSettings, config: DictConfig, attributes: Mapping[str, Any], sweep: Path) -> Path:
    """Return the folder where the search started, if it is on this machine and no other one is given."""
    started = attributes.get("folder")
    if _is_folder_given(config) or settings.storage is None:
        return sweep
    if not started or attributes.get("host") != socket.gethostname() or not Path(started).is_dir():
        return new_folder(sweep)
    if Path(started) != sweep:
        log.info(f"The study continues in its folder {started}")
    return Path(started)
