"""How much each parameter matters, by Optuna's evaluators, or why that can't be said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

LEAST_TRIALS = 10  # complete ones; as many as are drawn at random before a sampler learns
TOP_SHARE = 0.1  # PED-ANOVA's best ones, by its paper's and Optuna's default
TOP_LEAST = 5  # of them, as Optuna's documentation asks for
NUM_TREES = 64  # of fANOVA's forest, by Optuna's default
SEED = 0  # likewise


@dataclass(frozen=True)
class Importances:
    """What the evaluators say of one objective.

    Attributes:
        objective: its place among the values.
        fanova: parameter → its share of the variance of the value; empty where it isn't known.
        ped_anova: parameter → its share in being among the best; likewise.
        missing: why an evaluator says nothing, or a parameter isn't judged, in sentences.
    """

    objective: int
    fanova: dict[str, float]
    ped_anova: dict[str, float]
    missing: list[str]


def importances(study: Study) -> list[Importances]:
    """For each objective what fANOVA and PED-ANOVA say.

    fANOVA (Hutter et al. 2014) judges parameters that all complete trials have, PED-ANOVA (Watanabe et al. 2023,
    arXiv 2304.10255) conditional ones too. What never changed has no importance and is left out of both.
    """
    return [_of(study, place) for place in range(len(study.directions))]


def _of(study: Study, place: int) -> Importances:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < LEAST_TRIALS:
        return Importances(
            place,
            {},
            {},
            [f"not enough data: at least {LEAST_TRIALS} complete trials are needed, {len(trials)} so far"],
        )
    if len({trial.values[place] for trial in trials}) == 1:
        return Importances(place, {}, {}, ["not enough data: all complete trials have the same value"])
    varied, missing = _varied(trials)
    everywhere = [name for name in varied if all(name in trial.params for trial in trials)]
    conditional = [name for name in varied if name not in everywhere]
    if conditional:
        missing.append(f"fANOVA doesn't judge what not every trial has: {', '.join(conditional)}")
    top_share = max(TOP_SHARE, TOP_LEAST / len(trials))
    found = {}
    for kind, evaluator, names in (
        ("fANOVA", FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=SEED), everywhere),
        ("PED-ANOVA", PedAnovaImportanceEvaluator(target_quantile=top_share), varied),
    ):
        found[kind], reason = _evaluate(study, evaluator, names, _target(study, place, kind))
        if reason:
            missing.append(f"{kind}: {reason}")
    return Importances(place, found["fANOVA"], found["PED-ANOVA"], missing)


def _varied(trials: list[FrozenTrial]) -> tuple[list[str], list[str]]:
    """The parameters that take several values, and a sentence on the others."""
    values: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(repr(value))
    constant = [name for name, seen in values.items() if len(seen) == 1]
    varied = [name for name in values if name not in constant]
    return varied, [f"the same in every complete trial: {', '.join(constant)}"] if constant else []


def _target(study: Study, place: int, kind: str) -> Callable[[FrozenTrial], float] | None:
    """The value that counts; of a single objective Optuna takes its own."""
    if len(study.directions) == 1:
        return None
    # PED-ANOVA takes less of a target for better, whatever the direction
    sign = -1 if kind == "PED-ANOVA" and study.directions[place].name == "MAXIMIZE" else 1
    return lambda trial: sign * trial.values[place]


def _evaluate(
    study: Study,
    evaluator: BaseImportanceEvaluator,
    names: list[str],
    target: Callable[[FrozenTrial], float] | None,
) -> tuple[dict[str, float], str]:
    if not names:
        return {}, "not enough data: no parameter to judge"
    with warnings.catch_warnings():
        # that the target is minimized, for which it is made, and that too few trials differ, which is said below
        warnings.simplefilter("ignore")
        try:
            found = get_param_importances(
                study, evaluator=evaluator, params=names, target=target, normalize=False
            )
        except (ValueError, RuntimeError) as error:
            return {}, f"not enough data: {error}"
    total = sum(found.values())
    if not total > 0:
        return {}, "not enough data: no parameter stands out"
    return {name: value / total for name, value in found.items()}, ""
