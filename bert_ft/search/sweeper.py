"""Hydra's Optuna sweeper with free-running workers, pruning and resumption: ``--multirun hydra/sweeper=optuna``.

Hydra imports this file at every start, so heavy imports are in ``sweep``.
"""

from __future__ import annotations

import inspect
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as PluginSweeper
from omegaconf import DictConfig

from bert_ft.errors import SearchError, UserError, in_one_line, is_of_a_library
from bert_ft.renamed_keys import sweeper_settings
from bert_ft.search.settings import SearchSettings


class OptunaSweeper(PluginSweeper):
    """Searches hyper-parameters; takes the keys of Hydra's plugin and some more, see ``SearchSettings``."""

    def __init__(self, **settings: Any) -> None:
        # not the plugin's __init__, which builds the sampler before there is a space
        self.settings = sweeper_settings(settings)
        inspect.signature(SearchSettings).bind(**self.settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )
        self._given: dict[str, Any] = {"hydra_context": hydra_context, "task": task_function}
        self._given |= {"config": config, "launcher": launcher}

    def sweep(self, arguments: list[str]) -> None:
        """Search; ``arguments`` are the overrides of the command line.

        Raises:
            UserError: the search is misconfigured, or too many trials fail.
        """
        from bert_ft.search.search import search

        try:
            search(self.settings, arguments=arguments, **self._given)
        except UserError:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not is_of_a_library(error):
                raise
            raise SearchError(f"The search has ended: {in_one_line(error)}") from error
