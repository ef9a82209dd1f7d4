"""What Hydra has no public way for (as of 1.4)."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher


def command_line() -> argparse.Namespace:
    """Read the command line as ``hydra.main`` will.

    The public way that is missing: ``hydra.main`` reads it and acts at once, where a command is to be judged before
    anything is written.
    """
    return get_args_parser().parse_intermixed_args()


def quoted(text: str) -> str:
    """Return a text as a value of an override, whatever is in it.

    The public way that is missing: the grammar of overrides is documented, but nothing that writes it.
    """
    return QuotedString(text, Quote.single).with_quotes()


def is_basic_launcher(launcher: Launcher) -> bool:
    """Return whether jobs run in this process, one after the other; a user's own launcher may build on Hydra's basic one.

    The public way that is missing: the class of ``hydra/launcher=basic`` isn't exported.
    """
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return type(launcher) is BasicLauncher


def returned(result: JobReturn) -> Any:
    """Return what a job has returned, or the exception that it has raised.

    The public way that is missing: ``JobReturn.return_value`` prints and raises the exception of a failed job.
    """
    return result._return_value


def set_hydra_config(config: Any) -> None:
    """Let ``${hydra:...}`` and ``HydraConfig.get`` answer from the configuration of a job that Hydra doesn't run yet.

    The public way that is missing: only ``run_job`` does it, which has read the name of the job's folder by then.
    """
    HydraConfig.instance().set_config(config)


def keep_files(loader: ConfigLoader) -> None:
    """Compose every later job of the files that are read now; others are read when they are needed.

    The public way that is missing: a ``ConfigLoader`` reads its files again for each job of a sweep, and can't be given
    another source of them.
    """
    if isinstance(loader, ConfigLoaderImpl):
        loader.repository = _KeptFiles(loader.repository)  # type: ignore[assignment]  # used by its interface


class _KeptFiles(CachingConfigRepository):
    """Hydra's repository that answers each question once.

    Hydra's own cache keeps contents, hands out the kept object itself, which composition changes, and asks the disk each
    time whether a file is there.
    """

    def __init__(self, files: IConfigRepository) -> None:
        super().__init__(files)
        self._is_there: dict[tuple[str, str], bool] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy, since composition changes what it is given."""
        return copy.deepcopy(super().load_config(config_path))

    def config_exists(self, config_path: str) -> bool:
        return self._answered("config", config_path, super().config_exists)

    def group_exists(self, config_path: str) -> bool:
        return self._answered("group", config_path, super().group_exists)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Look in other places, which ``hydra.searchpath`` adds at each composition; new ones may have other files."""
        before = self._places()
        super().initialize_sources(config_search_path)
        if self._places() != before:
            self.cache.clear()
            self._is_there.clear()

    def __deepcopy__(self, memo: dict[int, Any]) -> _KeptFiles:
        return self  # Hydra copies its repository for each composition

    def _places(self) -> list[str]:
        return [source.path for source in self.get_sources()]

    def _answered(self, kind: str, path: str, ask: Callable[[str], bool]) -> bool:
        if (kind, path) not in self._is_there:
            self._is_there[kind, path] = ask(path)
        return self._is_there[kind, path]
