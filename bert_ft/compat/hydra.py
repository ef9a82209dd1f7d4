"""Uses of Hydra (1.4) that have no public API."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core import utils
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.core.utils import JobReturn
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf


def command_line() -> argparse.Namespace:
    """Read the command line as ``hydra.main`` will."""
    # no public API: ``hydra.main`` reads it and acts at once, before a command can be checked.
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # otherwise it prints the usage of Hydra's flags
    return parser.parse_intermixed_args()


def _refuse(message: str) -> NoReturn:
    print(f"{message}; --help lists the flags", file=sys.stderr)
    sys.exit(2)


def quoted(text: str) -> str:
    """Return any text as a value of an override."""
    # no public API: the grammar of overrides is documented, but nothing writes it.
    return QuotedString(text, Quote.single).with_quotes()


def unquoted(value: Any) -> Any:
    """Return the value of an override with its quoted texts as plain ones."""
    # no public API: ``Override.value`` documents that such texts are of a type of its own, but nothing converts them.
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {unquoted(key): unquoted(each) for key, each in value.items()}
    return [unquoted(each) for each in value] if isinstance(value, list) else value


def choices_of(override: str) -> list[Any]:
    """Return the values of a sweep: texts, numbers, lists and mappings."""
    # no public API: ``Override.value`` documents a sweep's class, but not how to list its values.
    parsed = OverridesParser.create().parse_override(override)
    values = parsed.sweep_iterator(transformer=Transformer.identity)
    return [value.text if isinstance(value, QuotedString) else value for value in values]


def encoded(value: Any) -> Any:
    """Return a number as it is, and any other value of a sweep as an override spells it."""
    # no public API: the same class reads and writes overrides.
    return Transformer.encode(value)


def is_basic_launcher(launcher: Launcher) -> bool:
    """Return whether jobs run in this process, one after the other; a user's launcher may extend Hydra's basic one."""
    # no public API: the class of ``hydra/launcher=basic`` isn't exported.
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return type(launcher) is BasicLauncher


def returned(result: JobReturn) -> Any:
    """Return what a job returned, or the exception that it raised."""
    # no public API: ``JobReturn.return_value`` prints and raises the exception.
    return result._return_value


def set_hydra_config(config: Any) -> None:
    """Let ``${hydra:...}`` and ``HydraConfig.get`` answer from the configuration of a job that isn't running yet."""
    # no public API: only ``run_job`` sets it, after it has read the name of the job's folder.
    HydraConfig.instance().set_config(config)


@contextmanager
def beside_the_callers_hydra() -> Iterator[None]:
    """Compose inside the context although the caller is a Hydra application, which is as before afterwards."""
    # no public API: ``initialize_config_dir`` refuses to work inside an application, and clearing it loses it.
    found = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = found


@contextmanager
def whole_records(write: Callable[[Path, bytes], None]) -> Iterator[None]:
    """Let ``write`` replace whole files of a job's record (``.hydra``): a resumed run must not lose its own."""
    # no public API: ``run_job`` writes it over the one before, whatever callbacks there are.

    def save(cfg: DictConfig, filename: str, output_dir: Path) -> None:
        output_dir.mkdir(parents=True, exist_ok=True)
        write(output_dir / filename, OmegaConf.to_yaml(cfg).encode())

    before, utils._save_config = utils._save_config, save
    try:
        yield
    finally:
        utils._save_config = before


def keep_files(loader: ConfigLoader) -> None:
    """Compose every later job from the files as they are read now; others are read when needed."""
    # no public API: a ``ConfigLoader`` reads its files for each job of a sweep, and takes no other source.
    if isinstance(loader, ConfigLoaderImpl):
        loader.repository = _KeptFiles(loader.repository)  # type: ignore[assignment]  # used by its interface


class _KeptFiles(CachingConfigRepository):
    """A repository of Hydra that looks up each file only once.

    Hydra's own cache returns the cached object itself, which composition changes, and checks each time whether a file
    exists.
    """

    def __init__(self, files: IConfigRepository) -> None:
        super().__init__(files)
        self._is_there: dict[tuple[str, str], bool] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy, since composition changes it."""
        return copy.deepcopy(super().load_config(config_path))

    def config_exists(self, config_path: str) -> bool:
        return self._answered("config", config_path, super().config_exists)

    def group_exists(self, config_path: str) -> bool:
        return self._answered("group", config_path, super().group_exists)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Forget what was looked up if ``hydra.searchpath`` has changed: other folders may have other files."""
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
