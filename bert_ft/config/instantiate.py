"""Build objects from nodes of the configuration; the only caller of ``hydra.utils.instantiate``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import execution_whitelist, get_object, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from bert_ft.compat.omegaconf import detached
from bert_ft.errors import ConfigError, UserError
from bert_ft.limits import hints_of, problems_of
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


def build_callback(key: str, node: Any, **arguments: Any) -> Any:
    """Build a callback, monitor or logger, and check its arguments against their annotated types.

    Raises:
        ConfigError: the constructor has no such argument, or rejects its value.
    """
    settings = {str(name): value for name, value in node.items() if not str(name).startswith("_")}
    if found := list(problems_of(key, _annotated(build(node, _partial_=True).func), settings)):
        raise ConfigError("\n".join(found))
    callback = build_named(key, node, **arguments)
    with suppress(AttributeError):  # a class with slots
        callback.config_key = key  # for messages (bert_ft.training.dry_run)
    return callback


def build_named(key: str, node: Any, **arguments: Any) -> Any:
    """Build an object, naming its key in messages about its constructor.

    Raises:
        ConfigError: the constructor has no such argument, or rejects its arguments.
    """
    try:
        return build(node, **arguments)
    except ConfigError as error:
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            cls = build(node, _partial_=True).func
            name, names = match[1], sorted(_annotated(cls))
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
            if node.get(name) is None:
                hint = f"remove it by ~{key}.{name}"
            text = f"{key}.{name}={node.get(name)}: {cls.__name__} has no such argument; {hint}"
            raise ConfigError(text) from error
        text = str(error)
        raise ConfigError(text if text.startswith(f"{key}.") else f"{key}: {text}") from error


def _annotated(cls: Any) -> dict[str, Any]:
    """Return argument → type of a class, including arguments that it passes to its bases."""
    found: dict[str, Any] = {}
    for each in reversed(inspect.getmro(cls) if inspect.isclass(cls) else ()):
        if constructor := vars(each).get("__init__"):
            with suppress(NameError, TypeError, ValueError):  # a type that exists for type checkers only
                names = inspect.signature(constructor).parameters.values()
                passes_on = any(name.kind is name.VAR_KEYWORD for name in names)
                own = hints_of(inspect.unwrap(constructor))
                found = {**(found if passes_on else {}), **{n: own.get(n) for n in _named(names)}}
    return found


def _named(parameters: Iterable[inspect.Parameter]) -> list[str]:
    return [
        each.name
        for each in parameters
        if each.name != "self" and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]


def build_kind(key: str, node: Any, kind: type, **arguments: Any) -> Any:
    """Build an object and check its type.

    Raises:
        ConfigError: it isn't an instance of ``kind``.
    """
    result = build_named(key, node, **arguments)
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
