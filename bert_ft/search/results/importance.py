"""How much each parameter matters, by Optuna's evaluators, and how sure that is, or why it is unknown."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

LEAST_TRIALS = 10  # with a value; as many as a sampler draws at random first
TOP_SHARE = 0.1  # PED-ANOVA's best trials: default of its paper and of Optuna
TOP_LEAST = 5  # of them, as recommended by Optuna's documentation
NUM_TREES = 64  # of fANOVA's forest, Optuna's default
RESAMPLES = 20  # of the trials with replacement, for the spread
RESAMPLE_TREES = 16  # of each resample's forest
SEED = 0  # of the forest and the resamples
NO_SPREAD = "± is computed when the search ends"  # it takes most of a page's time


@dataclass(frozen=True)
class Importances:
    """The findings of the evaluators for one objective."""

    objective: int  # its place among the values
    fanova: dict[str, float] = field(default_factory=dict)  # parameter → share of the value's variance
    ped_anova: dict[str, float] = field(default_factory=dict)  # parameter → share in being among the best
    missing: list[str] = field(default_factory=list)  # sentences: why an evaluator or a parameter is left out
    # parameter → standard deviation of its share over resamples of the trials
    fanova_spread: dict[str, float] = field(default_factory=dict)
    ped_anova_spread: dict[str, float] = field(default_factory=dict)
    num_pruned: int = 0  # trials judged by the last value that they reported


def importances(study: Study, *, with_spread: bool = True) -> list[Importances]:
    """Return the importances by fANOVA and PED-ANOVA for each objective.

    fANOVA (Hutter et al. 2014) judges parameters that all trials have, PED-ANOVA (Watanabe et al. 2023,
    arXiv 2304.10255) also conditional ones. Both leave out parameters that never changed. A pruned trial counts with the
    last value that it reported: without the pruned ones, a parameter whose bad values are always pruned seems not to
    matter.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would log each study that is made below
    return [_of(study, place, with_spread) for place in range(len(study.directions))]


def _of(study: Study, place: int, with_spread: bool) -> Importances:
    trials, num_pruned = _with_values(study, place)
    if len(trials) < LEAST_TRIALS:
        reason = f"at least {LEAST_TRIALS} complete or pruned trials are needed, {len(trials)} so far"
        return Importances(place, missing=[f"not enough data: {reason}"])
    if len({trial.value for trial in trials}) == 1:
        return Importances(place, missing=["not enough data: all trials have the same value"])
    varied, missing = _varied(trials)
    everywhere = [name for name in varied if all(name in trial.params for trial in trials)]
    if conditional := [name for name in varied if name not in everywhere]:
        missing.append(f"fANOVA doesn't judge parameters that some trials lack: {', '.join(conditional)}")
    top_share = max(TOP_SHARE, TOP_LEAST / len(trials))
    shares, spreads = {}, {}
    ped_anova = PedAnovaImportanceEvaluator(target_quantile=top_share)
    judges: list[tuple[str, BaseImportanceEvaluator, BaseImportanceEvaluator, list[str]]] = [
        (
            "fANOVA",
            FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=SEED),
            FanovaImportanceEvaluator(n_trees=RESAMPLE_TREES, seed=SEED),
            everywhere,
        ),
        ("PED-ANOVA", ped_anova, ped_anova, varied),
    ]
    for kind, evaluator, quick, names in judges:
        shares[kind], reason = _evaluate(trials, study.directions[place], evaluator, names)
        is_judged = with_spread and bool(shares[kind])
        spreads[kind] = _spread(trials, study.directions[place], quick, names) if is_judged else {}
        if reason:
            missing.append(f"{kind}: not enough data: {reason}")
    if not with_spread:
        missing.append(NO_SPREAD)
    return Importances(
        place,
        shares["fANOVA"],
        shares["PED-ANOVA"],
        missing,
        spreads["fANOVA"],
        spreads["PED-ANOVA"],
        num_pruned,
    )


def _with_values(study: Study, place: int) -> tuple[list[FrozenTrial], int]:
    """Return the trials as complete ones of a single objective, and how many of them were pruned."""
    found, num_pruned = [], 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if trial.state == TrialState.COMPLETE:
            value = trial.values[place]
        else:
            value = trial.intermediate_values[trial.last_step] if trial.last_step is not None else math.nan
        if math.isfinite(value):
            num_pruned += trial.state == TrialState.PRUNED
            found.append(create_trial(value=value, params=trial.params, distributions=trial.distributions))
    return found, num_pruned


def _varied(trials: list[FrozenTrial]) -> tuple[list[str], list[str]]:
    """Return the parameters with several values, and a sentence on the others."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    constant = [name for name, seen in values.items() if len(seen) == 1]
    varied = [name for name in values if name not in constant]
    return varied, [f"the same in every trial: {', '.join(constant)}"] if constant else []


def _evaluate(
    trials: Sequence[FrozenTrial],
    direction: StudyDirection,
    evaluator: BaseImportanceEvaluator,
    names: list[str],
) -> tuple[dict[str, float], str]:
    """Return the shares, or none and the reason."""
    if not names:
        return {}, "no parameter to judge"
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that too few trials differ, which is said below
            found = get_param_importances(study, evaluator=evaluator, params=names, normalize=False)
    except (ValueError, RuntimeError) as error:
        return {}, str(error).rstrip(".")
    total = sum(found.values())
    if not total > 0:
        return {}, "no parameter stands out"
    return {name: value / total for name, value in found.items()}, ""


def _spread(
    trials: Sequence[FrozenTrial],
    direction: StudyDirection,
    evaluator: BaseImportanceEvaluator,
    names: list[str],
) -> dict[str, float]:
    """Return the standard deviation of each share over resamples of the trials (bootstrap)."""
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(RESAMPLES):
        sample = [trials[place] for place in rng.integers(len(trials), size=len(trials))]
        shares, _ = _evaluate(sample, direction, evaluator, names)
        if shares:
            found.append([shares.get(name, 0.0) for name in names])
    return dict(zip(names, np.std(found, axis=0, ddof=1).tolist(), strict=True)) if len(found) > 1 else {}
