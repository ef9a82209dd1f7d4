"""The only caller of ``hydra.utils.instantiate``: from a node of the configuration to the object that it describes."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import execution_whitelist, get_object, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from bert_ft.compat.omegaconf import detached
from bert_ft.errors import ConfigError, UserError
from bert_ft.trust import IN_CONFIGURATIONS, is_trusted, targets

# patterns that `trust` adds to what may be constructed, while a configuration is built
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(patterns: Sequence[str]) -> Iterator[None]:
    """Inside, classes with these names may be constructed, too."""
    token = _trusted.set(tuple(patterns))
    try:
        yield
    finally:
        _trusted.reset(token)


def build(node: Any, **arguments: Any) -> Any:
    """``hydra.utils.instantiate`` of trusted classes (``bert_ft.trust``); lists and mappings arrive as Python's own.

    Raises:
        ConfigError: the constructor refuses its arguments.
    """
    try:
        with execution_whitelist([*IN_CONFIGURATIONS, *_trusted.get()]):
            if isinstance(node, DictConfig):
                node = detached(node)
            return instantiate(node, _convert_="all", **arguments)
    except UserError:
        raise
    except (TypeError, ValueError, ImportError, InstantiationException, MisconfigurationException) as error:
        raise ConfigError(f"{node.get('_target_')}: {error}") from error


def build_kind(key: str, node: Any, kind: type, **arguments: Any) -> Any:
    """As ``build``, and of that kind.

    Raises:
        ConfigError: it is of another.
    """
    result = build(node, **arguments)
    if not isinstance(result, kind):
        raise ConfigError(
            f"{key}._target_={node['_target_']}: gives a {type(result).__name__}, not a {kind.__name__}"
        )
    return result


def entries(node: DictConfig, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The entries of a node but for some, interpolations resolved: a part of it would lose what they point to."""
    found = OmegaConf.to_container(node, resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if name not in without}


def own_code(settings: Any) -> dict[str, str]:
    """Each class in ``settings`` that ``trust`` alone allows → a digest of the file that it stands in."""
    found: dict[str, str] = {}
    for _, target in targets(settings):
        if not is_trusted(target, IN_CONFIGURATIONS):
            file = inspect.getsourcefile(get_object(target))
            found[target] = "" if file is None else sha256(Path(file).read_bytes()).hexdigest()
    return found
