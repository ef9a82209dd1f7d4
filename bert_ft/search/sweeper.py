"""Hydra's Optuna sweeper with free-running workers, pruning and resumption: ``--multirun hydra/sweeper=optuna``.

Hydra imports this file at each start, whatever is to be done, so what is heavy is imported in ``sweep``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as PluginSweeper
from omegaconf import DictConfig


class OptunaSweeper(PluginSweeper):
    """Searches hyper-parameters; the keys are those of the plugin that it extends, and some more.

    Args:
        sampler: configuration of Optuna's sampler.
        direction: ``minimize`` or ``maximize``, or one for each objective; ``None``: as ``objective.mode`` says.
        storage: address of the database; ``None``: a SQLite file in the sweep's folder.
        study_name: what is continued when it is there; ``None``: the name of the sweep's folder.
        n_trials: trials in all, over all processes and machines that work on the study.
        n_jobs: trials at a time on this machine.
        max_failure_rate: the search ends when more fail.
        custom_search_space: name of a function ``(config, trial)`` that draws more.
        params: key → override that is searched.
        pruner: configuration of Optuna's pruner.
        timeout: seconds after which no more trials are begun.
        retry: how often a trial whose process was killed is run again.
        keep_best: of how many of the best trials the folders are kept whole; ``None``: all.
        begin_as_configured: the first trial is the configuration as it stands.
        report: draw the study's page while the search runs and at its end.
        only_with: parameter → key or keys without which (0, null or false) it means nothing, and isn't drawn.
        trial_overrides: what is set in trials only.
    """

    def __init__(
        self,
        sampler: Any,
        direction: Any = None,
        storage: Any | None = None,
        study_name: str | None = None,
        n_trials: int = 20,
        n_jobs: int = 2,
        max_failure_rate: float = 0.5,
        custom_search_space: str | None = None,
        params: DictConfig | None = None,
        pruner: Any | None = None,
        timeout: float | None = None,
        retry: int = 3,
        keep_best: int | None = 3,
        begin_as_configured: bool = False,
        report: bool = True,
        only_with: DictConfig | None = None,
        trial_overrides: Sequence[str] = (),
    ) -> None:
        # not the plugin's own, which builds the sampler before there is a space
        self.settings = {
            "sampler": sampler,
            "pruner": pruner,
            "direction": direction,
            "storage": storage,
            "study_name": study_name,
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "max_failure_rate": max_failure_rate,
            "timeout": timeout,
            "retry": retry,
            "keep_best": keep_best,
            "params": params or {},
            "begin_as_configured": begin_as_configured,
            "report": report,
            "only_with": only_with or {},
            "custom_search_space": custom_search_space,
            "trial_overrides": trial_overrides,
        }
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search.

        Args:
            arguments: the overrides of the command line.

        Raises:
            UserError: something about the search is wrong, or too many trials fail.
        """
        from bert_ft.search.search import search

        assert self.launcher is not None
        assert self.config is not None
        assert self.hydra_context is not None
        search(
            self.settings,
            hydra_context=self.hydra_context,
            task=self.task_function,
            config=self.config,
            launcher=self.launcher,
            arguments=arguments,
        )
