"""Hydra's Optuna sweeper with free-running workers, pruning and resumption: ``--multirun hydra/sweeper=optuna``.

Hydra imports this file at each start, whatever is to be done, so what is heavy is imported in ``sweep``.
"""

from __future__ import annotations

import inspect
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as PluginSweeper
from omegaconf import DictConfig

from bert_ft.renamed_keys import sweeper_settings
from bert_ft.search.settings import SearchSettings


class OptunaSweeper(PluginSweeper):
    """Searches hyper-parameters; the keys are those of the plugin that it extends, and some more: see ``SearchSettings``."""

    def __init__(self, **settings: Any) -> None:
        # not the plugin's own, which builds the sampler before there is a space
        self.settings = sweeper_settings(settings)
        inspect.signature(SearchSettings).bind(**self.settings)
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
