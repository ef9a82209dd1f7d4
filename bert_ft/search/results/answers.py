"""A search's results in sentences: how certain they are, which parameters mattered, what to try next, the cost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bert_ft import layout
from bert_ft.reporting.table import duration
from bert_ft.search.results.best_settings import overrides_of, read_record
from bert_ft.search.results.certainty import differ, equals_of_best, error_of, shown
from bert_ft.search.results.confirmation import confirmation, failed
from bert_ft.search.results.importance import NO_SPREAD, RESAMPLES, Importances
from bert_ft.search.results.next_space import NAME, sentence, widened
from bert_ft.search.results.ranking import ranked
from bert_ft.search.results.statistics import Statistics
from bert_ft.search.results.study_log import StudyLog, TrialLog

MAX_PARAMETERS = 3  # that mattered most


def answers(
    log: StudyLog, found: Statistics, importances: Sequence[Importances], next_file: Path | None
) -> dict[str, str]:
    """Return question → answer, for the questions that the study can answer."""
    lines = {
        "how sure": how_sure(log),
        "confirmed": confirmed(log),
        "what mattered": _what_mattered(log, importances),
        "what next": _what_next(log, next_file),
        "what it cost": _what_it_cost(found),
        "not measured": NOT_MEASURED if log.complete and log.objectives[0].startswith(layout.VAL) else "",
    }
    return {question: answer for question, answer in lines.items() if answer}


NOT_MEASURED = (
    "the test split, which no trial reads. The best of many trials looks a little better on the validation "
    "rows than it is; "
    "the command below runs it again and tests it."
)


def how_sure(log: StudyLog) -> str:
    """Return whether the best differs from the others and from the configured settings by more than chance."""
    trials = ranked(log)
    if not trials or len(log.objectives) > 1:
        return ""
    best = trials[0]
    text = f"trial {best.number} has {log.objectives[0]} {shown(log, best)}"
    equal = equals_of_best(log)
    if equal is None:
        text += "; its standard error is unknown (it is known for shares of the validation rows, such as an accuracy)"
    elif len(trials) > 1:
        text += f" (standard error); {len(equal) - 1} of the {len(trials) - 1} other complete trials can't be told apart from it"
    first = next((trial for trial in trials if trial.as_configured is not None), None)
    if first is best:
        return f"{text}. These are the configured settings: no other trial is better."
    if first is None:
        return f"{text}."
    return f"{text}. The configured settings (trial {first.number}) have {shown(log, first)}, {_compared(log, best, first)}."


def confirmed(log: StudyLog) -> str:
    """Return what further seeds say about the best settings, or why they weren't trained with any."""
    found = confirmation(log)
    runs = failed(log)
    parts = [] if found is None else [found.sentence()]
    if runs:
        parts.append(f"{len(runs)} of the runs with further seeds failed ({runs[0]})")
    if not parts and log.not_confirmed:
        parts.append(f"not measured with further seeds: {log.not_confirmed}")
    return "; ".join(parts)


def _compared(log: StudyLog, best: TrialLog, first: TrialLog) -> str:
    is_other = differ(log, best, first)
    if is_other is None:
        return "which is worse"
    return (
        "worse by more than chance" if is_other else "which may be as good: the difference is within chance"
    )


def _what_mattered(log: StudyLog, importances: Sequence[Importances]) -> str:
    parts = []
    for each in importances:
        judged = [("fANOVA", each.fanova, each.fanova_spread)] if each.fanova else []
        if not judged and each.ped_anova:
            judged = [("PED-ANOVA", each.ped_anova, each.ped_anova_spread)]
        for kind, shares, spread in judged:
            top = sorted(shares, key=lambda name: -shares[name])[:MAX_PARAMETERS]
            texts = [
                f"{name} {shares[name]:.2f}" + (f" ± {spread[name]:.2f}" if name in spread else "")
                for name in top
            ]
            of = f"{log.objectives[each.objective]}: " if len(importances) > 1 else ""
            of_spread = f" ± its spread over {RESAMPLES} resamples" if spread else ""
            left = f"; {NO_SPREAD}" if NO_SPREAD in each.missing else ""
            pruned = f", with {each.num_pruned} pruned trials" if each.num_pruned else ""
            parts.append(f"{of}{', '.join(texts)} (share by {kind}{of_spread}{pruned}{left})")
    if not parts:
        return "; ".join(dict.fromkeys(reason for each in importances for reason in each.missing))
    return "; ".join(parts)


def _what_next(log: StudyLog, next_file: Path | None) -> str:
    expected = _more_trials(log)
    if next_file is None:
        return expected
    trial = ranked(log)[0]
    record = read_record(trial.folder)
    kept = [each for each in overrides_of(trial) if each.split("=")[0].lstrip("+") not in trial.params]
    words = [f"bert_ft.{record.entry}", "--multirun", "--config-dir", str(next_file.parent.parent.resolve())]
    words += ["hydra/sweeper=optuna", f"search={NAME}", *kept]
    command = f"python -m {shlex.join(words)}"
    return f"{expected} A next search could have {sentence(widened(log))}: {command}"


def _more_trials(log: StudyLog) -> str:
    """Return whether more trials in the same space are likely to improve the result, judging by the second half."""
    trials = ranked(log)
    if len(trials) < 10 or len(log.objectives) > 1:
        return ""
    best = trials[0]
    numbers = sorted(trial.number for trial in trials)
    middle = numbers[len(numbers) // 2]
    before = next((trial for trial in trials if trial.number < middle), best)
    assert best.values
    assert before.values
    gain, error = abs(best.values[0] - before.values[0]), error_of(log, best)
    if gain == 0:
        return f"The trials since {middle} brought no improvement: more in this space are unlikely to."
    if error is not None and gain < error:
        return (
            f"The trials since {middle} brought an improvement of {gain:.4f}, less than the standard error: "
            "more in this space are unlikely to bring a measurable one."
        )
    return f"The trials since {middle} brought an improvement of {gain:.4f}: more in this space may bring another."


def _what_it_cost(found: Statistics) -> str:
    spent = sum(spread.total for spread in found.durations.values())
    if not spent:
        return ""
    text = f"{duration(spent)} of worker time in {duration(found.wall_seconds)}"
    if found.seconds_saved:
        text += f"; pruning saved about {duration(found.seconds_saved)} of worker time"
    return text
