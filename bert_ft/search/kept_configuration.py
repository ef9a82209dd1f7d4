"""The configuration files as they were when a search began, whatever becomes of them while it runs."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext


def keep_configuration(context: HydraContext) -> None:
    """Read all configuration files now, and compose every later job of what was read.

    Hydra reads them anew for each job of a sweep: an edit would reach the trials that begin after it.
    """
    loader = context.config_loader
    if isinstance(loader, ConfigLoaderImpl):
        loader.repository = KeptConfiguration(loader.repository)  # type: ignore[assignment]  # used by its interface


class KeptConfiguration(CachingConfigRepository):
    """Hydra's repository with every file read."""

    def __init__(self, files: IConfigRepository) -> None:
        super().__init__(files)
        self._read("")

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy, since composition changes what it is given."""
        return copy.deepcopy(super().load_config(config_path))

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Likewise for other places, which ``hydra.searchpath`` adds at each composition."""
        before = self._places()
        super().initialize_sources(config_search_path)
        if self._places() != before:
            self.cache.clear()
            self._read("")

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptConfiguration:
        return self  # Hydra copies its repository for each composition

    def _places(self) -> list[str]:
        return [source.path for source in self.get_sources()]

    def _read(self, group: str) -> None:
        prefix = f"{group}/" if group else ""
        for name in self.get_group_options(group, ObjectType.CONFIG):
            with contextlib.suppress(Exception):  # a broken file is told where it is chosen
                super().load_config(prefix + name)
        for name in self.get_group_options(group, ObjectType.GROUP):
            self._read(prefix + name)
