"""Build objects from nodes of the configuration; the only caller of ``hydra.utils.instantiate``."""

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

# the patterns of `trust`, while a configuration is built
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(patterns: Sequence[str]) -> Iterator[None]:
    """Also allow classes whose names match these patterns, inside the context."""
    token = _trusted.set(tuple(patterns))
    try:
        yield
    finally:
        _trusted.reset(token)


def build(node: Any, **arguments: Any) -> Any:
    """Call ``hydra.utils.instantiate`` for trusted classes (``bert_ft.trust``), with Python's own lists and mappings.

    Raises:
        ConfigError: the constructor rejects its arguments.
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
    """Build an object and check its type.

    Raises:
        ConfigError: it isn't an instance of ``kind``.
    """
    result = build(node, **arguments)
    if not isinstance(result, kind):
        raise ConfigError(
            f"{key}._target_={node['_target_']}: builds a {type(result).__name__}, not a {kind.__name__}"
        )
    return result


def entries(node: DictConfig, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the resolved entries of a node except ``without``; resolved here, since interpolations need the whole node."""
    found = OmegaConf.to_container(node, resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items() if name not in without}


def own_code(settings: Any) -> dict[str, str]:
    """Return each class in ``settings`` that only ``trust`` allows → a digest of its source file."""
    found: dict[str, str] = {}
    for _, target in targets(settings):
        if not is_trusted(target, IN_CONFIGURATIONS):
            file = inspect.getsourcefile(get_object(target))
            found[target] = "" if file is None else sha256(Path(file).read_bytes()).hexdigest()
    return found
