"""Studies with known numbers, in memory."""

import random
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from bert_ft.search.results import study_log
from bert_ft.search.results.study_log import StudyLog, read_study

START = datetime(2026, 11, 25, 10)
SPACE: dict[str, BaseDistribution] = {
    "optimizer.lr": FloatDistribution(1e-5, 1e-3, log=True),
    "model.head.dropout": FloatDistribution(0.0, 0.5, step=0.1),
    "model.pooling_layers": IntDistribution(1, 4),
    "data.batch_size": CategoricalDistribution([8, 16, 32]),
    "model.head.hidden_sizes": CategoricalDistribution(["[384]", "[768,384]", "[]"]),
    "loss": CategoricalDistribution(["cross_entropy", "focal"]),
    "loss.gamma": FloatDistribution(0.5, 4.0),
}
STATES = {name: state for state, name in study_log.STATES.items()}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def new_study(directions: Sequence[str] = ("maximize",), **attributes: Any) -> optuna.Study:
    study = optuna.create_study(study_name="a search", directions=list(directions))
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return study


def add(
    study: optuna.Study,
    state: str = "complete",
    value: float | Sequence[float] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    span: tuple[float, float | None] | None = (0, 10),
    reported: Mapping[int, float] | None = None,
    space: Mapping[str, BaseDistribution] = SPACE,
    **attributes: Any,
) -> None:
    """A further trial, ``span`` in seconds from the start of the search."""
    params = dict(params or {})
    number = len(study.get_trials(deepcopy=False))
    values = [value] if isinstance(value, int | float) else value
    start, end = span or (None, None)
    study.add_trial(
        FrozenTrial(
            number=number,
            trial_id=number,
            state=STATES[state],
            value=None,
            values=None if values is None else list(values),
            datetime_start=None if start is None else at(start),
            datetime_complete=None if end is None or state in ("running", "waiting") else at(end),
            params=params,
            distributions={name: space[name] for name in params},
            user_attrs=attributes,
            system_attrs={},
            intermediate_values=dict(reported or {}),
        )
    )


def log_of(
    name: str, distribution: BaseDistribution, values: Sequence[Any], results: Sequence[float] | None = None
) -> StudyLog:
    """A study of one parameter; each trial is worse than the one before, unless there are ``results``."""
    study = new_study()
    for place, value in enumerate(values):
        result = results[place] if results else -place
        add(study, "complete", result, {name: value}, space={name: distribution})
    return read_study(study)


def searched(num_trials: int = 30, *, objectives: int = 1, seed: int = 0, **attributes: Any) -> optuna.Study:
    """A search as it may go: two workers, every fifth trial pruned, every ninth failed; the value falls with dropout."""
    rng = random.Random(seed)
    directions = ("maximize", "minimize", "maximize")[:objectives]
    study = new_study(directions, **attributes)
    ends = [0.0, 0.0]
    for number in range(num_trials):
        params = {
            "optimizer.lr": 10 ** rng.uniform(-5, -3),
            "model.head.dropout": rng.randint(0, 5) / 10,
            "model.pooling_layers": rng.randint(1, 4),
            "data.batch_size": rng.choice([8, 16, 32]),
            "model.head.hidden_sizes": rng.choice(["[384]", "[768,384]", "[]"]),
            "loss": rng.choice(["cross_entropy", "focal"]),
        }
        if params["loss"] == "focal":
            params["loss.gamma"] = rng.uniform(0.5, 4)
        quality = 0.95 - params["model.head.dropout"] * 0.1 + rng.gauss(0, 0.002)
        state = (
            "pruned" if number % 5 == 4 and objectives == 1 else "failed" if number % 9 == 8 else "complete"
        )
        steps = 100 if state == "complete" else 40
        worker = ends.index(min(ends))
        start, end = ends[worker] + 0.5, ends[worker] + 0.5 + steps / 10 + rng.random()
        ends[worker] = end
        notes = {"worker": worker, "host": socket.gethostname(), "steps": steps, "total_steps": 100}
        notes |= {
            "seconds_to_first_step": 0.5,
            "overrides": [f"{name}={each}" for name, each in params.items()],
        }
        if state == "failed":
            notes["reason"] = "loss is NaN at step 40"
        values = [quality, steps * rng.random(), rng.random()][:objectives] if state == "complete" else None
        reported = {step: quality - 1 / step for step in range(20, steps + 1, 20)} if objectives == 1 else {}
        add(study, state, values, params, span=(start, end), reported=reported, **notes)
    return study


def with_lists() -> optuna.Study:
    """Choices that are lists, one parameter that never changes, and a range that is a single value."""
    study = new_study()
    space = {
        "sizes": CategoricalDistribution(["[384]", "[768,384]"]),
        "always": CategoricalDistribution(["cls"]),
        "point": FloatDistribution(0.1, 0.1),
        "layers": IntDistribution(1, 64, log=True),
    }
    for number in range(12):
        params = {
            "sizes": ["[384]", "[768,384]"][number % 2],
            "always": "cls",
            "point": 0.1,
            "layers": [1, 2, 8, 64][number % 4],
        }
        add(study, "complete", 0.5 + number / 100, params, span=(number, number + 1), space=space)
    return study


def kinds() -> dict[str, optuna.Study]:
    """One study of every kind."""
    found = {"empty": new_study()}
    found["one trial"] = new_study()
    add(found["one trial"], "complete", 0.9, {"optimizer.lr": 1e-4})
    found["all failed"] = new_study()
    for number in range(3):
        add(found["all failed"], "failed", None, {"optimizer.lr": 1e-4}, span=(number, number + 1))
    found["only pruned"] = new_study(["minimize"])
    for number in range(3):
        add(found["only pruned"], "pruned", None, {"optimizer.lr": 1e-4}, reported={10: 0.5 + number})
    found["only waiting"] = new_study()
    add(found["only waiting"], "waiting", None, span=None)
    found["all the same"] = new_study()
    for _ in range(12):
        add(found["all the same"], "complete", 0.5, {"optimizer.lr": 1e-4, "data.batch_size": 8})
    found["no parameters"] = new_study()
    for number in range(12):
        add(found["no parameters"], "complete", number)
    found["infinite and diverged"] = new_study(["minimize"])
    for number in range(12):
        value = float("inf") if number == 3 else 1e9 if number == 5 else number / 100
        lr = 10 ** (-3 - number / 6)
        reported = {1: float("nan"), 2: float("inf"), 3: 1e30, 4: 0.5}
        add(found["infinite and diverged"], "complete", value, {"optimizer.lr": lr}, reported=reported)
    found["lists and constants"] = with_lists()
    found["searched"] = searched(storage="nowhere")
    found["two objectives"] = searched(16, objectives=2, objective=["val/accuracy", "seconds"])
    found["three objectives"] = searched(12, objectives=3)
    return found


FEW = {
    "lr": FloatDistribution(1e-4, 1e-2, log=True),
    "sizes": CategoricalDistribution(["[384]", "[768,384]"]),
    "gamma": FloatDistribution(0.0, 4.0),
}


def five_trials() -> StudyLog:
    """Two complete trials, one pruned, one failed and one lost, in two workers."""
    study = new_study(objective="val/accuracy", n_trials=10, folder="/sweep")
    notes = {"worker": 0, "folder": "/sweep/0", "steps": 10, "total_steps": 10, "seconds_to_first_step": 2.0}
    params = {"lr": 1e-3, "sizes": "[768,384]"}
    add(study, "complete", 0.91, params, space=FEW, span=(0, 100), reported={5: 0.5, 10: 0.91}, **notes)
    notes |= {"worker": 1, "folder": "/sweep/1", "steps": 5}
    params = {"lr": 1e-4, "sizes": "[384]"}
    add(study, "pruned", None, params, space=FEW, span=(0, 27), reported={5: 0.4}, **notes)
    params = {"lr": 1e-2, "sizes": "[384]", "gamma": 2.0}
    add(study, "complete", 0.95, params, space=FEW, span=(27, 127), worker=1, folder="/elsewhere/2")
    add(study, "failed", None, span=(100, 103), worker=0, reason="loss is NaN at step 7", folder="/sweep/3")
    add(study, "failed", None, span=(103, 104), worker=0, lost=True)
    return read_study(study, now=at(127))
