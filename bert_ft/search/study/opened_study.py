"""The study of a search: made, or found again and judged to be the same search."""

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
    """A study to work on.

    Attributes:
        study: with its sampler and pruner.
        storage: its database.
        url: address of the database, for others.
        folder: the sweep's.
        objective: what is optimized, e.g. ``val/accuracy``.
    """

    study: optuna.Study
    storage: CachedStorage
    url: str
    folder: Path
    objective: str


def open_study(
    settings: SearchSettings,
    config: DictConfig,
    space: Space,
    directions: Sequence[str],
    pruner: BasePruner,
    n_trials: int,
) -> OpenedStudy:
    """Make the study, or continue the one of that name.

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
        # counted from here on by the next one, so that no two draw from the same seed
        study.set_user_attr(Owner.this_process().heartbeat_key, 0.0)
    study = optuna.load_study(
        study_name=name,
        storage=storage,
        sampler=build_sampler(settings.sampler, space.distributions, turn),
        pruner=pruner,
    )
    folder = _folder(config, attributes, sweep)
    objectives = objectives_of(config) or []
    objective = str(OmegaConf.select(config, "objective.metric", default="objective"))
    notes = {
        "objective": objectives if len(objectives) > 1 else objective,
        "space": space.to_json(),
        "n_trials": n_trials,
        "n_jobs": settings.n_jobs,
        "keep_top_k": settings.keep_top_k,
        "command": command(),
        "folder": attributes.get("folder", str(folder)),
        "host": attributes.get("host", socket.gethostname()),
    }
    for key, value in notes.items():
        if key not in attributes or attributes[key] != value:
            study.set_user_attr(key, value)
    _warn_if_fixed_otherwise(study, attributes, space)
    return OpenedStudy(study, storage, url, folder, objective)


def command() -> str:
    """What was typed, which continues the search when it is typed again."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def _make_or_load(name: str, storage: CachedStorage, directions: Sequence[str], url: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce each step in a format of its own
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
        f"hydra.sweeper.study_name={name}: the study searches another space: {', '.join(changed)} "
        f"{'differs' if len(changed) == 1 else 'differ'}; give another name, or the same space again"
    )


def _warn_if_fixed_otherwise(study: optuna.Study, attributes: Mapping[str, Any], space: Space) -> None:
    """Other machines may have other paths, so this alone is no reason to refuse."""
    fixed = space.fixed_overrides()
    if attributes.get("fixed", fixed) != fixed:
        log.warning(
            f"The study was begun with {' '.join(attributes['fixed']) or 'nothing'} beside its space and goes on with "
            f"{' '.join(fixed) or 'nothing'}: are its trials still comparable?"
        )
    elif "fixed" not in attributes:
        study.set_user_attr("fixed", fixed)


def _folder(config: DictConfig, attributes: Mapping[str, Any], sweep: Path) -> Path:
    """The folder where the search was begun, on this machine and unless another one is asked for."""
    asked = any(str(each).startswith("hydra.sweep.dir=") for each in config.hydra.overrides.hydra)
    begun = attributes.get("folder")
    if not asked and begun and attributes.get("host") == socket.gethostname() and Path(begun).is_dir():
        if Path(begun) != sweep:
            log.info(f"The study goes on in its folder {begun}")
        return Path(begun)
    return sweep
