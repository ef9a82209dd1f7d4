"""A parameter's values as places on an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.results.study_log import StudyLog, TrialLog

EDGE = 0.05  # of the range, at either end of it


@dataclass(frozen=True)
class Parameter:
    """What a search varies.

    Attributes:
        name: its key.
        choices: what a categorical one is drawn from, as texts; numbers in their order; empty for the others.
        low: the least value; of a categorical one 0.
        high: the largest; of a categorical one the place of its last choice.
        is_log: whether equal distances are equal ratios.
        step: between two values; ``None``: there are values in between.
        is_ordered: whether more and less have a meaning.
    """

    name: str
    choices: Sequence[str]
    low: float
    high: float
    is_log: bool = False
    step: float | None = None
    is_ordered: bool = True

    def place(self, value: Any) -> float:
        """Where the value stands: itself, or of a categorical one the number of its choice."""
        return float(self.choices.index(_text(value))) if self.choices else float(value)

    def share(self, value: Any) -> float:
        """Where the value stands between the ends of the range, from 0 to 1; 0.5 where it has only one."""
        low, high, at = self.low, self.high, self.place(value)
        if not low < high:
            return 0.5
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    @property
    def num_values(self) -> float:
        """How many values it may take."""
        if self.choices:
            return len(self.choices)
        if not self.low < self.high:
            return 1
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1


def parameters(log: StudyLog) -> list[Parameter]:
    """The parameters of the study, in the order in which they appeared."""
    return [_parameter(name, distribution, log.trials) for name, distribution in log.distributions.items()]


def _parameter(name: str, distribution: BaseDistribution, trials: Sequence[TrialLog]) -> Parameter:
    if isinstance(distribution, CategoricalDistribution):
        given = list(distribution.choices)
        # an earlier start of the search may have had other choices, which its trials keep
        given += [trial.params[name] for trial in trials if name in trial.params]
        is_ordered = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
        choices = list(
            dict.fromkeys(
                _text(value)
                for value in (sorted(given, key=lambda value: float(value or 0)) if is_ordered else given)
            )
        )
        return Parameter(name, choices, 0, len(choices) - 1, step=1, is_ordered=is_ordered)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    seen = [float(trial.params[name]) for trial in trials if name in trial.params]  # likewise
    low, high = min([distribution.low, *seen]), max([distribution.high, *seen])
    step = distribution.step if isinstance(distribution, FloatDistribution) or not distribution.log else 1
    return Parameter(name, [], low, high, is_log=distribution.log and low > 0, step=step)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
