"""A search, from its configuration to its results."""

from __future__ import annotations

import functools
import gc
import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import CategoricalDistribution
from optuna.pruners import NopPruner
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from bert_ft.compat.hydra import is_basic_launcher, keep_files, quoted
from bert_ft.compat.optuna import engine_of
from bert_ft.errors import ConfigError, Interrupted, OutageError, SearchError, UserError, in_one_line
from bert_ft.search.announcements import (
    announce,
    conclude,
    conclude_if_possible,
    resume_command,
    say_interrupted,
    say_time_is_up,
)
from bert_ft.search.confirming import confirm, forked, launched
from bert_ft.search.results import outputs
from bert_ft.search.settings import SearchSettings
from bert_ft.search.space.first_trial import configured, left_null
from bert_ft.search.space.samplers import Callback, build_callbacks, build_pruner, check_sampler, is_grid
from bert_ft.search.space.sampling import Sampling, check_choice, extension, unsearchable, value_problems
from bert_ft.search.space.space import Space, grid, space_of, text_key
from bert_ft.search.spelling import as_written
from bert_ft.search.study.opened_study import OpenedStudy, open_study
from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.study.trial_queue import TrialQueue, queue_as_configured
from bert_ft.search.trials.batches import run_in_batches
from bert_ft.search.trials.fork_server import ForkServer, Send
from bert_ft.search.trials.interruption import interruptible
from bert_ft.search.trials.kept_configuration import read_choices
from bert_ft.search.trials.launched_task import LaunchedTask
from bert_ft.search.trials.resources import check_is_one_process, divide, usable_threads, visible_gpus
from bert_ft.search.trials.trial_process import Sweep
from bert_ft.search.trials.workers import Workers

log = logging.getLogger(__name__)
# the keys that choose which data and which encoder are read
_INPUT = re.compile(
    r"data|encoder|(data|encoder)\.(source\b.*|dataset|subset|revision|name_or_path|\w+_(file|column|split))"
)


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

    Three attributes of the task are used if it has them: ``problems(config)`` checks a configuration, ``warm(config)``
    imports what trials need, ``derived(config)`` returns settings that a run derives, by key.

    Raises:
        UserError: the search is misconfigured (raised before any trial starts), or too many trials fail.
    """
    gc.enable()  # commands of this package disable it until their heavy imports, which happen in trials here
    keep_files(hydra_context.config_loader)
    check_choice(config, hydra_context)
    check_is_one_process()
    settings = SearchSettings.of(given)
    if settings.n_jobs == -1:
        settings = replace(settings, n_jobs=len(visible_gpus()) or usable_threads())
    space = space_of(settings.params, arguments)
    if found := unsearchable(space.distributions, config):
        raise ConfigError("\n".join(found))
    if not space.distributions and settings.custom_search_space is None:
        log.warning(
            "The search space is empty, so one trial is run, and the others take its value; give e.g. "
            "'optimizer.lr=interval(1e-5,1e-3)'"
        )
    directions = settings.directions(config)
    pruner = build_pruner(settings.pruner)
    if len(directions) > 1 and not isinstance(pruner, NopPruner):
        log.info("With several objectives no trial is pruned: hydra/sweeper/pruner is ignored")
    check_sampler(settings.sampler, space.distributions, directions)
    callbacks = build_callbacks(settings.callbacks)
    extend = extension(settings.custom_search_space)
    n_trials = _num_trials(settings, space)
    fixed = [*space.fixed_overrides(), *settings.trial_overrides]
    if not is_basic_launcher(launcher):
        launcher.setup(hydra_context=hydra_context, task_function=LaunchedTask(task), config=config)
    sweep = Sweep(config, hydra_context, task, len(directions))
    typed = [text_key(word) for word in arguments]
    draw = Sampling(space, sweep.compose, config, typed, settings.conditions, extend)
    composed = _check_values(sweep, space, fixed)
    read_choices(sweep.compose, fixed, space.distributions, composed.hydra.runtime.choices)
    server = None
    if is_basic_launcher(launcher) and hasattr(os, "fork"):
        # before there is a database, whose connections don't survive a fork
        prepare = functools.partial(_prepare, sweep, fixed, space)
        server = ForkServer(prepare, functools.partial(_run_job, sweep))
        server.start()
    try:
        begins_as_configured = settings.begin_as_configured and not is_grid(settings.sampler)
        # while the server prepares, and before there is a database
        first = _with_derived(sweep, space, composed) if begins_as_configured else composed
        opened = open_study(settings, config, space, directions, pruner, n_trials, composed)
        if begins_as_configured:
            values, nulls = configured(space, first), left_null(space, first)
            drawn = [name for name in space.distributions if name not in values and name not in nulls]
            queue_as_configured(opened.study, opened.storage, values, drawn, nulls)
        queue = TrialQueue(
            opened.study,
            opened.storage,
            n_trials=n_trials,
            retry=settings.retry,
            draw=draw,
            reuse=True,
            settings=opened.settings,
        )
        if settings.retry_failed and (num_failed := queue.retry_failed()):
            log.info(f"Running {num_failed} failed trials again (hydra.sweeper.retry_failed)")
        announce(opened, queue)
        with interruptible(lambda: say_interrupted(opened, settings)):
            seed = OmegaConf.select(composed, "seed", default=None)
            _run(settings, opened, queue, server, launcher, sweep, space, callbacks, seed)
        close(opened.storage)
    finally:
        if server is not None:
            server.stop()


def _num_trials(settings: SearchSettings, space: Space) -> int:
    """Return ``n_trials``, or the number of points of a smaller grid."""
    if not is_grid(settings.sampler):
        return settings.n_trials
    return min(settings.n_trials, math.prod(len(values) for values in grid(space.distributions).values()))


def _prepare(sweep: Sweep, fixed: Sequence[str], space: Space, send: Send) -> None:
    """Load, in the fork server, what trials need for their study and for the task.

    If trials read different things, only the first choices are loaded, and their errors don't end the search.
    """
    engine_of(RDBStorage("sqlite://")).dispose()  # the first storage imports what it needs
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
    except (HydraException, OmegaConfBaseException):  # the first choices contradict each other
        config = sweep.compose(fixed)
    try:
        warm(config)
    except UserError as error:
        if not inputs:
            send({"error": str(error)[:900]})


def _run_job(sweep: Sweep, content: dict[str, Any], send: Send) -> None:
    """Run a trial, or write the report, in a process of the fork server."""
    if "report" in content:
        os.nice(10)
        study = optuna.load_study(study_name=content["report"], storage=open_storage(content["url"]))
        outputs.write(study, Path(content["folder"]), is_running=True)
    else:
        sweep.run_trial(**content, send=send)


def _check_values(sweep: Sweep, space: Space, fixed: Sequence[str]) -> DictConfig:
    """Check the ends of the searched ranges, and return the configuration of a trial without searched values."""
    try:
        composed = sweep.compose(fixed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(in_one_line(error)) from error
    problems: Callable[[DictConfig], list[str]] | None = getattr(sweep.task, "problems", None)
    if problems is not None and (found := value_problems(space, composed, problems)):
        raise ConfigError("\n".join(found))
    return composed


def _with_derived(sweep: Sweep, space: Space, composed: DictConfig) -> DictConfig:
    """Return the configuration with the values that a run derives for searched keys that are null."""
    derived: Callable[[DictConfig], dict[str, Any]] | None = getattr(sweep.task, "derived", None)
    is_open = any(OmegaConf.select(composed, name, default=0) is None for name in space.distributions)
    if derived is None or not is_open:
        return composed
    found = composed.copy()
    for key, value in derived(composed).items():
        OmegaConf.update(found, key, value)
    return found


def _run(
    settings: SearchSettings,
    opened: OpenedStudy,
    queue: TrialQueue,
    server: ForkServer | None,
    launcher: Launcher,
    sweep: Sweep,
    space: Space,
    callbacks: Sequence[Callback],
    seed: int | None,
) -> None:
    own = [text_key(each).lstrip("+") for each in settings.trial_overrides]

    def overrides(params: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        shown = space.overrides(params)
        typed = {text_key(each).lstrip("+") for each in shown}
        excluded = ",".join(key for key in own if key not in typed)
        complete = [*shown, *settings.trial_overrides, f"hydra.sweep.dir={quoted(str(opened.folder))}"]
        return shown, [*complete, f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]"]

    def trial_ended(trial: FrozenTrial) -> None:
        outputs.trial_ended(opened.study, trial, opened.folder, callbacks)

    opened.folder.mkdir(parents=True, exist_ok=True)
    try:
        if server is None:
            run_in_batches(launcher, sweep.compose, opened, queue, overrides, settings, trial_ended)
            runner = launched(launcher, settings.n_jobs, queue)
            confirm(opened, settings, queue, overrides, seed, runner)
        else:
            slots = divide(settings.n_jobs, usable_threads(), visible_gpus())
            Workers(server, opened, queue, slots, overrides, settings, trial_ended).run()
            confirm(opened, settings, queue, overrides, seed, forked(server, slots, queue))
            server.stop()  # it may still be drawing an older report
    except (KeyboardInterrupt, Interrupted):
        conclude_if_possible(opened, settings)
        raise
    except SearchError as error:
        command = resume_command(opened, settings)
        if not isinstance(error, OutageError):
            conclude_if_possible(opened, settings)
        raise SearchError(f"{error}\nResume the search with:\n  {command}") from None
    conclude(opened, settings)
    say_time_is_up(opened, settings, queue)
