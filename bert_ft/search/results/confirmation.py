"""Whether the best settings beat the configured ones by more than chance, measured again with further seeds.

The best of many trials looks better than it is: its value was chosen because it is high. So its settings and the configured
ones are trained with seeds that chose nothing, in pairs of equal seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bert_ft.search.results.certainty import error_of
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.study_log import CONFIRMED, StudyLog, TrialLog

NUM_SEEDS = 3
MOST_OF_THE_SEARCH = 0.15  # share of the search's time that confirm=auto may take
LEVEL = 0.95
CONFIGURED = "configured"


@dataclass(frozen=True)
class Confirmation:
    """Values with the same further seeds.

    Attributes:
        trial: number of the best trial.
        seeds: seeds with which both have a value.
        best: values of the best settings, one for each seed.
        configured: values of the configured ones.
        gain: mean of the differences; above 0 the best settings are better.
        low, high: 95% interval of the mean (paired t); ``None`` for fewer than two pairs.
    """

    trial: int
    seeds: tuple[int, ...]
    best: tuple[float, ...]
    configured: tuple[float, ...]
    gain: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """Return whether the difference is more than chance, in words."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "can't be told apart"
        return "better by more than chance" if self.low > 0 else "worse by more than chance"

    def sentence(self) -> str:
        """Return the result in words."""
        best, configured = (
            ", ".join(f"{value:.4f}" for value in values) for values in (self.best, self.configured)
        )
        interval = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        said = {
            "can't be told apart": "they can't be told apart",
            "better by more than chance": "the best ones are better by more than chance",
            "worse by more than chance": "the best ones are worse by more than chance",
        }
        return (
            f"trained again with {seeds}, the settings of trial {self.trial} reach {best}, the configured ones {configured}: "
            f"a gain of {self.gain:+.4f}{interval} (paired 95% interval), {said[self.verdict]}"
        )


def attribute(settings: str, seed: int, mark: str | None = None) -> str:
    """Return the name of the study's attribute with a run: ``CONFIGURED`` or ``trial 12``, and its seed.

    ``mark`` tells starts of the search apart that differ in what isn't searched.
    """
    return f"{CONFIRMED}{settings}, seed {seed}" + (f", {mark}" if mark else "")


def of_trial(trial: TrialLog) -> str:
    """Return how ``attribute`` calls the settings of a trial."""
    return f"trial {trial.number}"


def confirmation(log: StudyLog) -> Confirmation | None:
    """Return the comparison of the best trial's settings with the configured ones; ``None`` without a pair of runs."""
    best = ranked(log)[:1]
    if not best or len(log.objectives) > 1:
        return None
    found = {name: _values(log.confirming, name) for name in (of_trial(best[0]), CONFIGURED)}
    theirs, ours = found[of_trial(best[0])], found[CONFIGURED]
    keys = [key for key in theirs if key in ours]
    if not keys:
        return None
    sign = 1 if log.maximize[0] else -1
    differences = [sign * (theirs[key] - ours[key]) for key in keys]
    gain = statistics.fmean(differences)
    margin = _margin(differences, log, best[0])
    return Confirmation(
        best[0].number,
        tuple(int(key.partition(",")[0]) for key in keys),
        tuple(theirs[key] for key in keys),
        tuple(ours[key] for key in keys),
        gain,
        None if margin is None else gain - margin,
        None if margin is None else gain + margin,
    )


def failed(log: StudyLog) -> list[str]:
    """Return what failed and why, of the best trial's runs and the configured ones."""
    names = (CONFIGURED, *(of_trial(trial) for trial in ranked(log)[:1]))
    return [
        f"{name.removeprefix(CONFIRMED)}: {run['reason']}"
        for name, run in log.confirming.items()
        if run.get("reason") and name.removeprefix(CONFIRMED).startswith(tuple(f"{each}, " for each in names))
    ]


def why_not(log: StudyLog, confirm: str) -> str | None:
    """Return why the best settings aren't confirmed, or ``None`` if they should be."""
    trials = ranked(log)
    if not trials:
        return "no trial has a value"
    if len(log.objectives) > 1:
        return "there are several objectives, so no trial is the best"
    if trials[0].as_configured is not None and not trials[0].as_configured:
        return "the configured settings are the best"
    if confirm == "auto" and (share := cost(log)) > MOST_OF_THE_SEARCH:
        return (
            f"training the best and the configured settings with {NUM_SEEDS} further seeds would add {share:.0%} to the time of "
            f"the search, more than {MOST_OF_THE_SEARCH:.0%}; hydra.sweeper.confirm=true does it"
        )
    return None


def cost(log: StudyLog) -> float:
    """Return the time of all runs as a share of the trials' time; infinity if it is unknown."""
    best = ranked(log)[0]
    spent = sum(trial.seconds or 0.0 for trial in log.trials if trial.state not in ("running", "waiting"))
    whole = [trial.seconds for trial in log.complete if trial.seconds is not None]
    first = next((each.seconds for each in log.complete if each.as_configured is not None), None)
    if not spent or not whole:
        return math.inf
    usual = statistics.median(whole)
    return NUM_SEEDS * ((best.seconds or usual) + (first or usual)) / spent


def _values(runs: Mapping[str, Mapping[str, Any]], settings: str) -> dict[str, float]:
    """Return ``seed`` or ``seed, mark`` → value."""
    start = f"{CONFIRMED}{settings}, seed "
    found = {
        name.removeprefix(start): run.get("value") for name, run in runs.items() if name.startswith(start)
    }
    return {key: float(value) for key, value in sorted(found.items()) if value is not None}


def _margin(differences: list[float], log: StudyLog, trial: TrialLog) -> float | None:
    """Return the half width of the 95% interval of the mean difference."""
    if len(differences) < 2:
        return None
    from scipy.stats import t  # takes a while to import

    spread = statistics.stdev(differences)
    if error_of(log, trial) is not None and trial.validated_rows:
        # equal differences of a share are chance: a row more or less is possible in each
        spread = max(spread, 1 / trial.validated_rows)
    quantile = float(t.ppf((1 + LEVEL) / 2, len(differences) - 1))
    return quantile * spread / math.sqrt(len(differences))
