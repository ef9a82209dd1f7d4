"""Check a run's settings against its task: objectives, callbacks, and keys that the task doesn't support."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import ListConfig

from bert_ft import layout
from bert_ft.config.check_callbacks import callback_problems
from bert_ft.errors import ConfigError
from bert_ft.tasks.saved import task_class
from bert_ft.tasks.task import OPTIONAL_KEYS, Task, unsupported
from bert_ft.trust import TARGET

Get = Callable[[str], Any]


def task_problems(get: Get, metrics: Mapping[Any, Any]) -> Iterator[str]:
    """Yield one sentence per problem.

    Args:
        get: returns a value, or None if the key is absent or already reported.
        metrics: the configured metrics; ``null`` ones are disabled.
    """
    target = get(f"task.{TARGET}")
    if target is None:
        yield from callback_problems(get, None)
        return
    try:
        task = task_class(str(target), get("trust") or ())
    except ConfigError as error:
        if "isn't among the trusted classes" not in str(error):  # reported once, for all classes
            yield str(error)
        return
    for key, off in OPTIONAL_KEYS.items():
        value = get(key)
        if key in task.supports or key.startswith("monitor."):  # monitors that don't apply are left out
            continue
        if value is not None and value != off:
            yield unsupported(task, key, value)
    for name in metrics:
        if name in task.objectives:
            yield f"metrics.{name}: this name is built in; choose another"
    modes = _modes(task, metrics)
    yield from _objective(get, modes)
    yield from callback_problems(get, modes if str(target).startswith("bert_ft.") else None)


def _modes(task: type[Task], metrics: Mapping[Any, Any]) -> dict[str, str | None]:
    """Return the possible values of ``objective.metric`` → ``max``, ``min``, or ``None`` if the user must choose."""
    own: dict[str, str | None] = {f"{layout.VAL}{name}": mode for name, mode in task.objectives.items()}
    return own | {
        f"{layout.VAL}{name}": None
        for name, node in metrics.items()
        if node is not None and name not in task.objectives
    }


def _objective(get: Get, modes: Mapping[str, str | None]) -> Iterator[str]:
    metric, mode = get("objective.metric"), get("objective.mode")
    if metric and metric not in modes:
        yield f"objective.metric={metric}: must be one of {', '.join(modes)}"
    elif metric and mode and (modes[metric] or mode) != mode:
        yield f"objective.mode={mode}: contradicts objective.metric={metric}; set it to {modes[metric]}"
    allowed = {**modes, "fit_seconds": "min"}
    directions = get("hydra.sweeper.direction")
    for place, other in enumerate(get("objective.others") or (), start=1):
        if other not in allowed:
            yield f"objective.others={other}: must be among {', '.join(allowed)}"
        elif isinstance(directions, list | ListConfig) and place < len(directions):
            direction = getattr(directions[place], "name", directions[place])
            if not str(direction).startswith(allowed[other] or ""):
                yield (
                    f"hydra.sweeper.direction={direction}: contradicts objective.others={other}, which is "
                    f"better when {'lower' if allowed[other] == 'min' else 'higher'}; set it to {allowed[other]}imize"
                )
