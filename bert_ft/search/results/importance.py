"""How much each parameter matters, by Optuna's evaluators, or why that is unknown."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

LEAST_TRIALS = 10  # complete ones; as many as a sampler draws at random first
TOP_SHARE = 0.1  # PED-ANOVA's best trials: default of its paper and of Optuna
TOP_LEAST = 5  # of them, as recommended by Optuna's documentation
NUM_TREES = 64  # of fANOVA's forest, Optuna's default
SEED = 0  # of the forest


@dataclass(frozen=True)
class Importances:
    """What the evaluators found for one objective."""

    objective: int  # its place among the values
    fanova: dict[str, float] = field(default_factory=dict)  # parameter → share of the value's variance
    ped_anova: dict[str, float] = field(default_factory=dict)  # parameter → share in being among the best
    missing: list[str] = field(default_factory=list)  # sentences: why an evaluator or a parameter is left out


def importances(study: Study) -> list[Importances]:
    """Return the importances by fANOVA and PED-ANOVA for each objective.

    fANOVA (Hutter et al. 2014) judges parameters that all complete trials have, PED-ANOVA (Watanabe et al. 2023,
    arXiv 2304.10255) also conditional ones. Both leave out parameters that never changed.
    """
    return [_of(study, place) for place in range(len(study.directions))]


def _of(study: Study, place: int) -> Importances:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < LEAST_TRIALS:
        reason = f"at least {LEAST_TRIALS} complete trials are needed, {len(trials)} so far"
        return Importances(place, missing=[f"not enough data: {reason}"])
    if len({trial.values[place] for trial in trials}) == 1:
        return Importances(place, missing=["not enough data: all complete trials have the same value"])
    varied, missing = _varied(trials)
    everywhere = [name for name in varied if all(name in trial.params for trial in trials)]
    if conditional := [name for name in varied if name not in everywhere]:
        missing.append(f"fANOVA doesn't judge what not every trial has: {', '.join(conditional)}")
    top_share = max(TOP_SHARE, TOP_LEAST / len(trials))
    found = {}
    for kind, evaluator, names in (
        ("fANOVA", FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=SEED), everywhere),
        ("PED-ANOVA", PedAnovaImportanceEvaluator(target_quantile=top_share), varied),
    ):
        found[kind], reason = _evaluate(study, evaluator, names, _target(study, place, kind))
        if reason:
            missing.append(f"{kind}: not enough data: {reason}")
    return Importances(place, found["fANOVA"], found["PED-ANOVA"], missing)


def _varied(trials: list[FrozenTrial]) -> tuple[list[str], list[str]]:
    """Return the parameters with several values, and a sentence on the others."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    constant = [name for name, seen in values.items() if len(seen) == 1]
    varied = [name for name in values if name not in constant]
    return varied, [f"the same in every complete trial: {', '.join(constant)}"] if constant else []


def _target(study: Study, place: int, kind: str) -> Callable[[FrozenTrial], float] | None:
    """Return the value to judge; ``None`` for a single objective, which Optuna takes itself."""
    if len(study.directions) == 1:
        return None
    # PED-ANOVA minimizes a target, whatever the direction
    sign = -1 if kind == "PED-ANOVA" and study.directions[place].name == "MAXIMIZE" else 1
    return lambda trial: sign * trial.values[place]


def _evaluate(
    study: Study,
    evaluator: BaseImportanceEvaluator,
    names: list[str],
    target: Callable[[FrozenTrial], float] | None,
) -> tuple[dict[str, float], str]:
    """Return the shares, or none and the reason."""
    if not names:
        return {}, "no parameter to judge"
    try:
        with warnings.catch_warnings():
            # that it is made for a target that is minimized, and that too few trials differ, which is said below
            warnings.simplefilter("ignore")
            found = get_param_importances(
                study, evaluator=evaluator, params=names, target=target, normalize=False
            )
    except (ValueError, RuntimeError) as error:
        return {}, str(error)
    total = sum(found.values())
    if not total > 0:
        return {}, "no parameter stands out"
    return {name: value / total for name, value in found.items()}, ""
