"""A task as a saved folder names it: by its short name, or by its class if it is the user's own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.task import OPTIONAL_KEYS, Task
from bert_ft.tasks.votes import Votes
from bert_ft.trust import TARGET, is_trusted, refusal

# saved folders use these names: a class may move, but its name here stays
TASKS: dict[str, type[Task]] = {
    task.name: task for task in (SingleLabel, MultiLabel, Regression, Ordinal, Votes)
}


_REQUIRED = ("name", "objectives", "problem_type", "prediction_columns")  # attributes of each task class


def described(task: Task) -> dict[str, Any]:
    """Return how a saved folder describes its task, in types that YAML has.

    Raises:
        ConfigError: a setting can't be written.
    """
    kind = type(task)
    target = {} if TASKS.get(task.name) is kind else {TARGET: f"{kind.__module__}.{kind.__qualname__}"}
    settings = {name: _as_yaml(name, value) for name, value in task.settings().items()}
    return {"name": task.name, **target, **settings}


def restored(description: Mapping[str, Any], names: Sequence[str], trust: Sequence[str] = ()) -> Task:
    """Return the task from the description that ``described`` returned.

    Args:
        description: the task's description in the saved folder.
        names: names of the outputs in ``config.json``.
        trust: patterns of names that may be imported.

    Raises:
        ConfigError: the task is a user's class that isn't trusted.
        CheckpointError: there is no such task, or it rejects its settings.
    """
    settings = dict(description)
    name, target = settings.pop("name"), settings.pop(TARGET, None)
    if target is None and name not in TASKS:
        raise CheckpointError(f"task={name}: unknown; this version has {', '.join(TASKS)}")
    try:
        kind = TASKS[name] if target is None else task_class(target, trust)
        return kind(**settings, names=tuple(names))
    except TypeError as error:
        raise CheckpointError(f"task={name}: {error}") from error


def task_class(target: str, trust: Sequence[str] = ()) -> type[Task]:
    """Return the task class of this full name.

    Raises:
        ConfigError: it isn't trusted, can't be imported, or isn't a task.
    """
    key = f"task.{TARGET}"
    if not is_trusted(target, ("bert_ft.*", *trust)):
        raise ConfigError(refusal(key, target))
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}={target}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"{key}={target}: isn't a class derived from bert_ft.tasks.task.Task")
    if lacking := [attribute for attribute in _REQUIRED if not hasattr(found, attribute)]:
        raise ConfigError(
            f"{key}={target}: the class lacks {', '.join(lacking)}; see bert_ft.tasks.task.Task"
        )
    if unknown := found.supports - OPTIONAL_KEYS.keys():
        raise ConfigError(
            f"{key}={target}: `supports` names {', '.join(sorted(unknown))}; it may name {', '.join(OPTIONAL_KEYS)}"
        )
    return found


def _as_yaml(name: str, value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_as_yaml(name, each) for each in value]
    if isinstance(value, dict):
        return {str(key): _as_yaml(name, each) for key, each in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ConfigError(
        f"task.{name}={value!r}: a saved folder can't hold a {type(value).__name__}; use numbers, texts, lists or "
        "mappings"
    )
