"""The line that shows the progress of a search."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.live import Live
from rich.text import Text

from bert_ft.search.study.trial_counts import equal_to, is_lost, run_again

log = logging.getLogger(__name__)
SECOND = 1.0


@dataclass(frozen=True)
class Standing:
    """Number of trials of each kind, and the best one."""

    complete: int
    pruned: int
    failed: int  # without those that are run again
    running: int  # in any process
    best: tuple[int, float] | None  # number and value; None without one, or with several objectives
    seconds_each: float  # mean duration of a trial; NaN before one has ended

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed

    def seconds_left(self, n_trials: int) -> float:
        """Return the seconds until all trials have ended, if the pace and the number of running trials stay the same."""
        left = n_trials - self.ended
        return self.seconds_each * left / max(1, self.running) if left > 0 else 0.0


def standing(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> Standing:
    """Return the standing of a study with these trials."""
    by_state = {state: [trial for trial in trials if trial.state == state] for state in TrialState}
    again = run_again(trials)
    complete, pruned = by_state[TrialState.COMPLETE], by_state[TrialState.PRUNED]
    best = None
    if complete and len(directions) == 1:
        choose = max if directions[0] == StudyDirection.MAXIMIZE else min
        trial = choose(complete, key=lambda trial: trial.values[0])  # the first of equal ones
        best = (trial.number, trial.values[0])
    seconds = [trial.duration.total_seconds() for trial in [*complete, *pruned] if trial.duration is not None]
    return Standing(
        complete=len(complete),
        pruned=len(pruned),
        failed=sum(not is_lost(trial) and trial.number not in again for trial in by_state[TrialState.FAIL]),
        running=len(by_state[TrialState.RUNNING]),
        best=best,
        seconds_each=sum(seconds) / len(seconds) if seconds else math.nan,
    )


def line(now: Standing, n_trials: int, objective: str) -> str:
    """Return e.g. ``12 of 20 trials done (3 pruned) · 2 running · best val/accuracy 0.9775 (trial 7) · 4:10 left``."""
    details = [f"{count} {name}" for name, count in (("pruned", now.pruned), ("failed", now.failed)) if count]
    parts = [f"{now.ended} of {n_trials} trials done" + (f" ({', '.join(details)})" if details else "")]
    parts.append(f"{now.running} running")
    if now.best is not None:
        parts.append(f"best {objective} {now.best[1]:.6g} (trial {now.best[0]})")
    left = now.seconds_left(n_trials)
    if math.isfinite(left) and now.ended < n_trials:
        parts.append(f"{_clock(left)} left")
    return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Shows the progress line: redrawn in a terminal, otherwise logged whenever a trial ends."""

    def __init__(self, study: Study, n_trials: int, objective: str) -> None:
        self._study = study
        self._n_trials = n_trials
        self._objective = objective
        console = Console()
        # no refresh thread: the process may have to fork
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._shown_at = -math.inf

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._show(self._live)
            self._live.stop()

    def tick(self) -> None:
        """Update the line every second; cheap enough for a loop."""
        if self._live is not None and time.monotonic() - self._shown_at > SECOND:
            self._show(self._live)

    def ended(self, trial: FrozenTrial) -> None:
        """Show that a trial has ended."""
        if self._live is None:
            log.info(f"Trial {trial.number} {_how(trial)}; {self._line()}")
            return
        if trial.state == TrialState.FAIL or equal_to(trial) is not None:
            self._live.console.print(f"Trial {trial.number} {_how(trial)}", markup=False, highlight=False)
        self._show(self._live)

    def _line(self) -> str:
        trials = self._study.get_trials(deepcopy=False)
        return line(standing(trials, self._study.directions), self._n_trials, self._objective)

    def _show(self, live: Live) -> None:
        self._shown_at = time.monotonic()
        live.update(Text(self._line()), refresh=True)


def _how(trial: FrozenTrial) -> str:
    equal = equal_to(trial)
    same = "" if equal is None else f", as trial {equal} with the same settings (not trained again)"
    if trial.state == TrialState.COMPLETE:
        return "= " + ", ".join(f"{value:.6g}" for value in trial.values) + same
    if trial.state == TrialState.PRUNED:
        return f"was pruned{same}"
    reason = trial.user_attrs.get("reason", "")
    return f"was lost and will be run again: {reason}" if is_lost(trial) else f"failed: {reason}"
