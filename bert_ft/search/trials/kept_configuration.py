"""The configuration files as they were when a search began, though they are edited while it runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution

from bert_ft.errors import SearchError


def keep_configuration(context: HydraContext) -> None:
    """Compose every later job of what is read now; files that were not read before are read when they are needed.

    Hydra reads all of them anew for each job of a sweep: an edit would reach the trials that begin after it.
    """
    loader = context.config_loader
    if isinstance(loader, ConfigLoaderImpl):
        loader.repository = KeptConfiguration(loader.repository)  # type: ignore[assignment]  # used by its interface


def read_choices(
    compose: Callable[[list[str]], DictConfig],
    fixed: Sequence[str],
    space: Mapping[str, BaseDistribution],
    groups: Mapping[str, Any],
) -> None:
    """Compose a job with each choice of a group that is searched, so that its files are read.

    Args:
        compose: gives the configuration of a job by its overrides.
        fixed: overrides that all trials have.
        space: parameter → its range.
        groups: those that there are.

    Raises:
        SearchError: a file is broken, or isn't there.
    """
    for name, distribution in space.items():
        if name in groups and isinstance(distribution, CategoricalDistribution):
            for choice in distribution.choices:
                try:
                    compose([*fixed, f"{name}={choice}"])
                except yaml.YAMLError as error:
                    raise SearchError(f"{name}={choice}: {' '.join(str(error).split())}") from error
                except MissingConfigException as error:
                    if error.missing_cfg_file == f"{name.split('@')[0]}/{choice}":
                        raise SearchError(f"{name}={choice}: there is no such choice") from error
                except (HydraException, OmegaConfBaseException, ValueError):
                    pass  # one that needs more than itself is told where it is chosen


class KeptConfiguration(CachingConfigRepository):
    """Hydra's repository that answers each question once."""

    def __init__(self, files: IConfigRepository) -> None:
        super().__init__(files)
        self._is_there: dict[tuple[str, str], bool] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy, since composition changes what it is given."""
        return copy.deepcopy(super().load_config(config_path))

    def config_exists(self, config_path: str) -> bool:
        return self._answered("config", config_path, super().config_exists)

    def group_exists(self, config_path: str) -> bool:
        return self._answered("group", config_path, super().group_exists)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Other places, which ``hydra.searchpath`` adds at each composition; the first time what is kept may differ there."""
        before = self._places()
        super().initialize_sources(config_search_path)
        if self._places() != before:
            self.cache.clear()
            self._is_there.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptConfiguration:
        return self  # Hydra copies its repository for each composition

    def _places(self) -> list[str]:
        return [source.path for source in self.get_sources()]

    def _answered(self, kind: str, path: str, ask: Callable[[str], bool]) -> bool:
        if (kind, path) not in self._is_there:
            self._is_there[kind, path] = ask(path)
        return self._is_there[kind, path]
