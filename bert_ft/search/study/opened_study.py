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
from bert_ft.compat.optuna import CachedStorage
from bert_ft.errors import ConfigError
from bert_ft.search.settings import SearchSettings, objectives_of
from bert_ft.search.space.samplers import build_sampler
from bert_ft.search.space.space import Space
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


def open_study(
    settings: SearchSettings,
    config: DictConfig,
    space: Space,
    directions: Sequence[str],
    pruner: BasePruner,
    n_trials: int,
) -> OpenedStudy:
    """Create the study, or load the one of that name.

    Raises:
        ConfigError: the database can't be used, or holds another search under this name.
    """
    sweep = Path(config.hydra.sweep.dir).absolute()
    storage_url = settings.storage or f"sqlite:///{sweep / layout.STUDY_DATABASE}"
    url = absolute_url(storage_url, Path(OmegaConf.select(config, "hydra.runtime.cwd") or Path.cwd()))
    storage = open_storage(url, create=True)
    name = settings.study_name or sweep.name
    with locked(storage, name):
        study = _make_or_load(name, storage, directions, url)
        attributes = study.user_attrs
        turn = sum(key.startswith("heartbeat ") for key in attributes)
        if turn or len(study.get_trials(deepcopy=False)):
            _check_same_space(name, attributes, space)
        # the next process counts it, so that no two use the same seed
        study.set_user_attr(Owner.this_process().heartbeat_key, 0.0)
    sampler = build_sampler(settings.sampler, space.distributions, turn)
    study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
    folder = _folder(config, attributes, sweep)
    objectives = objectives_of(config) or []
    objective = str(OmegaConf.select(config, "objective.metric", default="objective"))
    notes: dict[str, Any] = {
        "objective": objectives if len(objectives) > 1 else objective,
        "space": space.to_json(),
        "n_trials": n_trials,
        "n_jobs": settings.n_jobs,
        "keep_top_k": settings.keep_top_k,
        # typed again, it resumes the search
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "folder": attributes.get("folder", str(folder)),
        "host": attributes.get("host", socket.gethostname()),
        "fixed": attributes.get("fixed", space.fixed_overrides()),
    }
    for key, value in notes.items():
        if key not in attributes or attributes[key] != value:
            study.set_user_attr(key, value)
    if notes["fixed"] != space.fixed_overrides():
        # other machines may have other paths, so this is no error
        log.warning(
            f"The study was started with {' '.join(notes['fixed']) or 'nothing'} beside its space and continues with "
            f"{' '.join(space.fixed_overrides()) or 'nothing'}: are its trials still comparable?"
        )
    return OpenedStudy(study, storage, url, folder, objective)


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
            f"{' and '.join(theirs)}, this search is to {' and '.join(directions)}; give another name"
        )
    return study


def _check_same_space(name: str, attributes: Mapping[str, Any], space: Space) -> None:
    stored = attributes.get("space")
    if stored is None or stored == space.to_json():
        return
    theirs, ours = json.loads(stored), json.loads(space.to_json())
    changed = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    raise ConfigError(
        f"hydra.sweeper.study_name={name}: the study has another search space: {', '.join(changed)} "
        f"{'differs' if len(changed) == 1 else 'differ'}; give another name, or the same space"
    )


def _folder(config: DictConfig, attributes: Mapping[str, Any], sweep: Path) -> Path:
    """Return the folder where the search started, if it is on this machine and no other one is given."""
    given = any(str(each).startswith("hydra.sweep.dir=") for each in config.hydra.overrides.hydra)
    started = attributes.get("folder")
    if given or not started or attributes.get("host") != socket.gethostname() or not Path(started).is_dir():
        return sweep
    if Path(started) != sweep:
        log.info(f"The study continues in its folder {started}")
    return Path(started)
