import random

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

from bert_ft.search.results.importance import LEAST_TRIALS, SEED, importances
from tests.search.results.studies import add, new_study

pytestmark = pytest.mark.slow  # scikit-learn is loaded
SPACE = {
    "large": FloatDistribution(0, 1),
    "small": FloatDistribution(0, 1),
    "none": FloatDistribution(0, 1),
    "always": CategoricalDistribution(["cls"]),
    "sometimes": FloatDistribution(0, 1),
}


def known(num_trials=60):
    """The variance is 16/17 of ``large`` and 1/17 of ``small``."""
    rng = random.Random(0)
    study = new_study(["minimize"])
    for number in range(num_trials):
        params = {name: rng.random() for name in ("large", "small", "none")} | {"always": "cls"}
        if number % 2:
            params["sometimes"] = rng.random()
        add(study, "complete", 4 * params["large"] + params["small"], params, space=SPACE)
    return study


def test_they_are_optunas_own():
    study = known()
    (found,) = importances(study)
    names = ["large", "small", "none"]
    expected = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=SEED), params=names)
    assert found.fanova == pytest.approx(expected)
    assert list(found.fanova) == list(expected) == names
    assert found.fanova["large"] == pytest.approx(16 / 17, abs=0.08)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=0.1)  # 6 of 60 trials
    assert found.ped_anova == pytest.approx(
        get_param_importances(study, evaluator=evaluator, params=[*names, "sometimes"])
    )
    assert max(found.ped_anova, key=found.ped_anova.get) == "large"
    assert sum(found.fanova.values()) == pytest.approx(1)
    assert found.missing == [
        "the same in every trial: always",
        "fANOVA doesn't judge parameters that some trials lack: sometimes",
    ]
    (quick,) = importances(study, with_spread=False)  # during a search
    assert (quick.fanova, quick.fanova_spread, quick.ped_anova_spread) == (found.fanova, {}, {})
    assert quick.missing == [*found.missing, "± is computed when the search ends"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_ped_anova_looks_at_the_good_end_of_each_objective(direction):
    """``edge`` decides whether a trial is among the lowest, ``slope`` among the highest."""
    rng = np.random.default_rng(0)
    study = new_study([direction, "minimize"])
    space = {"edge": FloatDistribution(0, 1), "slope": FloatDistribution(0, 1)}
    for edge, slope in rng.random((120, 2)):
        add(
            study,
            "complete",
            [-10 * (edge < 0.1) + 5 * (slope > 0.9), edge],
            {"edge": edge, "slope": slope},
            space=space,
        )
    first, second = importances(study)
    assert max(first.ped_anova, key=first.ped_anova.get) == ("edge" if direction == "minimize" else "slope")
    assert max(second.ped_anova, key=second.ped_anova.get) == "edge"
    assert max(second.fanova, key=second.fanova.get) == "edge"
    assert (first.objective, second.objective) == (0, 1)


def test_too_few_trials():
    (found,) = importances(known(LEAST_TRIALS - 1))
    assert (found.fanova, found.ped_anova) == ({}, {})
    assert found.missing == ["not enough data: at least 10 complete or pruned trials are needed, 9 so far"]
    (found,) = importances(known(LEAST_TRIALS))
    assert found.fanova


def test_values_that_are_all_the_same():
    study = new_study()
    for number in range(12):
        add(study, "complete", 1.0, {"large": number / 12}, space=SPACE)
    assert importances(study)[0].missing == ["not enough data: all trials have the same value"]


def test_a_range_that_changed_is_said():
    study = known()
    wider = SPACE | {"large": FloatDistribution(0, 2)}
    add(study, "complete", 1.0, {"large": 1.5, "small": 0.5, "none": 0.5}, space=wider)
    (found,) = importances(study)
    assert found.fanova == {}
    assert any(reason.startswith("fANOVA: not enough data: ") for reason in found.missing)


def test_a_parameter_whose_bad_values_are_always_pruned_matters():
    """Among the complete trials alone it would have no share at all."""
    rng = random.Random(0)
    study = new_study(["maximize"])
    for _ in range(50):
        params = {name: rng.random() for name in ("large", "small", "none")}
        if params["large"] > 0.4:
            add(study, "pruned", None, params, space=SPACE, reported={1: 0.2, 2: 0.5 - params["large"] / 10})
        else:
            add(study, "complete", 0.9 + 0.001 * params["small"], params, space=SPACE)
    add(study, "pruned", None, params, space=SPACE)  # before its first report: it has no value
    (found,) = importances(study)
    assert 20 < found.num_pruned < 40
    assert found.fanova["large"] > 0.95
    assert max(found.ped_anova, key=found.ped_anova.get) == "large"


def test_the_spread_is_that_of_further_studies():
    """The same search with other draws: its shares differ about as much as the resamples say."""

    def noisy(seed):
        rng = random.Random(seed)
        study = new_study(["minimize"])
        for _ in range(30):
            params = {name: rng.random() for name in ("large", "small", "none")}
            value = params["large"] + params["small"] + rng.gauss(0, 0.3)
            add(study, "complete", value, params, space=SPACE)
        return importances(study)[0]

    found = [noisy(seed) for seed in range(6)]
    for name in ("large", "small"):
        among = np.std([each.fanova[name] for each in found], ddof=1)
        assert 0.4 < np.mean([each.fanova_spread[name] for each in found]) / among < 2.5
    assert set(found[0].ped_anova_spread) == {"large", "small", "none"}
