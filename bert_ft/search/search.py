"""A search from its configuration to its results."""

from __future__ import annotations

import functools
import gc
import logging
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from bert_ft.compat.hydra import is_basic_launcher, keep_files, quoted
from bert_ft.compat.optuna import engine_of
from bert_ft.errors import ConfigError, Interrupted, SearchError, UserError
from bert_ft.search.results import outputs
from bert_ft.search.settings import SearchSettings, direction_names
from bert_ft.search.space.first_trial import configured
from bert_ft.search.space.samplers import build_pruner, build_sampler, is_grid, plain_values
from bert_ft.search.space.sampling import Sampling, extension, value_problems
from bert_ft.search.space.space import Space, as_written, grid, space_of, text_key
from bert_ft.search.study.opened_study import OpenedStudy, open_study
from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.study.trial_queue import TrialQueue, queue_as_configured
from bert_ft.search.trials.batches import run_in_batches
from bert_ft.search.trials.fork_server import ForkServer, Send
from bert_ft.search.trials.kept_configuration import read_choices
from bert_ft.search.trials.resources import divide, usable_threads, visible_gpus
from bert_ft.search.trials.trial_process import Sweep
from bert_ft.search.trials.workers import Workers

RESULTS = "optimization_results.yaml"  # the plugin's name for it

log = logging.getLogger(__name__)


def search(
    given: Mapping[str, Any],
    *,
    hydra_context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    launcher: Launcher,
    arguments: Sequence[str],
) -> None:
    """Run the search that ``hydra.sweeper`` describes; see ``OptunaSweeper``.

    The task may have attributes that this asks for: ``problems(config)`` judges a configuration, ``warm(config)`` imports
    what its trials need.

    Raises:
        UserError: something about it is wrong, which is told before a trial starts, or too many trials fail.
    """
    gc.enable()  # a command of this package has it off until its heavy imports, which are the trials' here
    keep_files(hydra_context.config_loader)
    _check_choice(config, hydra_context)
    settings = SearchSettings(**{name: plain_values(value) for name, value in _named(given).items()})
    space = space_of(settings.params, arguments)
    if not space.distributions and settings.custom_search_space is None:
        log.warning(
            "Nothing is searched, so all trials are alike; give e.g. 'optimizer.lr=interval(1e-5,1e-3)'"
        )
    directions = settings.directions(config)
    pruner = build_pruner(settings.pruner)
    build_sampler(settings.sampler, space.distributions)
    extend = extension(settings.custom_search_space)
    n_trials = _num_trials(settings, space)
    sweep = Sweep(config, hydra_context, task, len(directions))
    typed = [text_key(word) for word in arguments]
    draw = Sampling(space, sweep.compose, config, typed, settings.only_with, extend)
    fixed = [*space.fixed_overrides(), *settings.trial_overrides]
    composed = _check_values(sweep, space, fixed)
    read_choices(sweep.compose, fixed, space.distributions, composed.hydra.runtime.choices)
    is_basic = is_basic_launcher(launcher) and hasattr(os, "fork")
    # before there is a database, whose connections don't survive a fork
    server = _server(sweep, fixed, space) if is_basic else None
    try:
        opened = open_study(settings, config, space, directions, pruner, n_trials)
        if settings.begin_as_configured and not is_grid(settings.sampler):
            values = configured(space, composed)
            drawn = [name for name in space.distributions if name not in values]
            queue_as_configured(opened.study, opened.storage, values, drawn)
        queue = TrialQueue(opened.study, opened.storage, n_trials=n_trials, retry=settings.retry, draw=draw)
        _announce(opened, queue)
        _run(settings, opened, queue, server, launcher, sweep, space)
        close(opened.storage)
    finally:
        if server is not None:
            server.stop()


def _check_choice(config: DictConfig, context: HydraContext) -> None:
    """Refuse a space file that isn't there: the group is optional, so Hydra itself would leave it out.

    Raises:
        ConfigError: naming those that are there.
    """
    choice = OmegaConf.select(config, "hydra.runtime.choices").get("search")
    names = [name for name in context.config_loader.get_group_options("search") if not name.startswith("_")]
    if names and choice is not None and choice not in (*names, config.hydra.runtime.choices["hydra/sweeper"]):
        shown = [name for name in names if name != config.hydra.runtime.choices["hydra/sweeper"]]
        raise ConfigError(f"search={choice}: must be one of {', '.join(shown)}")


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**given, "direction": direction_names(given["direction"])}


def _num_trials(settings: SearchSettings, space: Space) -> int:
    """As asked for, but a grid has no more than its points."""
    if not is_grid(settings.sampler):
        return settings.n_trials
    points = 1
    for values in grid(space.distributions).values():
        points *= len(values)
    return min(settings.n_trials, points)


def _server(sweep: Sweep, fixed: Sequence[str], space: Space) -> ForkServer:
    server = ForkServer(functools.partial(_prepare, sweep, fixed, space), functools.partial(_run_job, sweep))
    server.start()
    return server


def _prepare(sweep: Sweep, fixed: Sequence[str], space: Space, send: Send) -> None:
    """In the fork server: load what trials need, to reach their study and for the task itself.

    Where trials differ in what they read, only the first of these is looked at, and no error of it is the search's.
    """
    engine_of(RDBStorage("sqlite://")).dispose()  # which imports what it needs when it is first made
    warm: Callable[[DictConfig], None] | None = getattr(sweep.task, "warm", None)
    if warm is None:
        return
    inputs = [
        f"{name}={as_written(distribution.choices[0])}"
        for name, distribution in space.distributions.items()
        if _INPUT.fullmatch(name) and isinstance(distribution, CategoricalDistribution)
    ]
    try:
        config = sweep.compose([*fixed, *inputs])
    except (HydraException, OmegaConfBaseException):  # the first choices don't go together
        config = sweep.compose(fixed)
    try:
        warm(config)
    except UserError as error:
        if not inputs:
            send({"error": str(error)[:900]})


# what says which data and which encoder are read
_INPUT = re.compile(
    r"data|encoder|(data|encoder)\.(source\b.*|dataset|subset|revision|name_or_path|\w+_(file|column|split))"
)


def _run_job(sweep: Sweep, content: dict[str, Any], send: Send) -> None:
    """In a process of the fork server: a trial, or the report of the search."""
    if "report" in content:
        os.nice(10)
        study = optuna.load_study(study_name=content["report"], storage=open_storage(content["url"]))
        outputs.write(study, Path(content["folder"]))
    else:
        sweep.run_trial(**content, send=send)


def _check_values(sweep: Sweep, space: Space, fixed: Sequence[str]) -> DictConfig:
    """Compose a trial as it will be, searched values aside, and judge the ends of what is searched."""
    try:
        composed = sweep.compose(fixed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(str(error).split())) from error
    problems: Callable[[DictConfig], list[str]] | None = getattr(sweep.task, "problems", None)
    found = [] if problems is None else value_problems(space, composed, problems)
    if found:
        raise ConfigError("\n".join(found))
    return composed


def _run(
    settings: SearchSettings,
    opened: OpenedStudy,
    queue: TrialQueue,
    server: ForkServer | None,
    launcher: Launcher,
    sweep: Sweep,
    space: Space,
) -> None:
    def overrides(params: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        shown = space.overrides(params)
        return shown, [*shown, *settings.trial_overrides, f"hydra.sweep.dir={quoted(str(opened.folder))}"]

    def trial_ended(trial: FrozenTrial) -> None:
        outputs.trial_ended(opened.study, trial, opened.folder)

    opened.folder.mkdir(parents=True, exist_ok=True)
    try:
        if server is None:
            run_in_batches(launcher, sweep.compose, opened, queue, overrides, settings, trial_ended)
        else:
            slots = divide(settings.n_jobs, usable_threads(), visible_gpus())
            Workers(server, opened, queue, slots, overrides, settings, trial_ended).run()
            server.stop()  # it may be drawing a report, older than the one that is due now
    except (KeyboardInterrupt, Interrupted):
        _conclude(opened, settings)
        print(
            f"\nInterrupted; what ran is run again when the search goes on:\n  {_how_to_go_on(opened, settings)}"
        )
        raise
    except SearchError as error:
        _conclude(opened, settings)
        raise SearchError(f"{error}\nThe search goes on with:\n  {_how_to_go_on(opened, settings)}") from None
    _conclude(opened, settings)


def _announce(opened: OpenedStudy, queue: TrialQueue) -> None:
    trials = opened.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    where = f"study {opened.study.study_name}, folder {opened.folder}"
    if trials:
        log.info(f"The search goes on with {len(trials)} of {queue.n_trials} trials done; {where}")
    else:
        log.info(f"A search of {queue.n_trials} trials; {where}")


def _how_to_go_on(opened: OpenedStudy, settings: SearchSettings) -> str:
    """The command, with what finds the study again where its name and its storage aren't given."""
    command = str(opened.study.user_attrs["command"])
    is_found = settings.study_name and settings.storage
    if not is_found and "hydra.sweep.dir=" not in command:
        command += f" {shlex.quote(f'hydra.sweep.dir={quoted(str(opened.folder))}')}"
    return command


def _conclude(opened: OpenedStudy, settings: SearchSettings) -> None:
    """Say what was found, and write it."""
    found = results(opened.study)
    if found is None:
        log.info("No trial has been completed")
    else:
        OmegaConf.save(OmegaConf.create(found), Path(opened.folder, RESULTS))
        if "best_value" in found:
            log.info(f"Best {opened.objective}: {found['best_value']:.6g} by {found['best_params']}")
        else:
            log.info(f"Trials that no other one beats in all objectives: {len(found['solutions'])}")
    page = outputs.write(opened.study, opened.folder) if settings.report else None
    if page is not None:
        log.info(f"Report: {page}")


def results(study: Study) -> dict[str, Any] | None:
    """The best parameters and values in the form of Hydra's plugin; ``None`` if no trial is complete."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return None
    if len(study.directions) == 1:
        best = study.best_trial
        return {"name": "optuna", "best_params": best.params, "best_value": best.value}
    solutions = [{"params": dict(trial.params), "values": list(trial.values)} for trial in study.best_trials]
    return {"name": "optuna", "solutions": solutions}
