"""A parameter's values as positions on an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.results.study_log import StudyLog


@dataclass(frozen=True)
class Parameter:
    """A parameter that is searched."""

    name: str
    choices: Sequence[str]  # as text, numbers in their order; empty unless categorical
    low: float  # for choices 0
    high: float  # for choices the place of the last one
    is_log: bool = False
    step: float | None = None  # None: continuous
    is_ordered: bool = True  # False: the choices have no order

    def place(self, value: Any) -> float:
        """Return the value's position: the value itself, or the index of its choice."""
        return float(self.choices.index(_text(value))) if self.choices else float(value)

    def share(self, value: Any) -> float:
        """Return where the value lies between the ends of the range, from 0 to 1; 0.5 if the range is one value."""
        low, high, at = self.low, self.high, self.place(value)
        if not low < high:
            return 0.5
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    @property
    def num_values(self) -> float:
        """Number of values that it may take."""
        if self.choices:
            return len(self.choices)
        if not self.low < self.high:
            return 1
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1


def parameters(log: StudyLog) -> list[Parameter]:
    """Return the parameters of the study, in the order in which they appeared."""
    return [
        # an earlier start of the search may have had another range, which its trials keep
        _parameter(name, each, [trial.params[name] for trial in log.trials if name in trial.params])
        for name, each in log.distributions.items()
    ]


def _parameter(name: str, distribution: BaseDistribution, seen: Sequence[Any]) -> Parameter:
    if isinstance(distribution, CategoricalDistribution):
        values: list[Any] = [*distribution.choices, *seen]
        is_ordered = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        choices = list(dict.fromkeys(map(_text, sorted(values) if is_ordered else values)))
        return Parameter(name, choices, 0, len(choices) - 1, step=1, is_ordered=is_ordered)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(min([distribution.low, *seen])), float(max([distribution.high, *seen]))
    step = distribution.step if isinstance(distribution, FloatDistribution) or not distribution.log else 1
    return Parameter(name, [], low, high, is_log=distribution.log and low > 0, step=step)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
