"""What a study's page and a search's end say, against numbers worked out by hand."""

import math

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.search.results.answers import how_sure
from bert_ft.search.results.certainty import differ, equals_of_best, error_of
from bert_ft.search.results.next_space import next_space, widened
from bert_ft.search.results.outputs import verdict
from bert_ft.search.results.study_log import read_study
from bert_ft.search.space.space import space_of
from bert_ft.search.study.sweep_folder import study_of
from tests.search.results.studies import add, new_study


def validated(folder, values, rows=400, **attributes):
    """Trials of as many validation rows; the first is as configured."""
    study = new_study(objective="val/accuracy")
    for number, value in enumerate(values):
        own = {"as_configured": []} if number == 0 else {}
        add(
            study,
            value=value,
            folder=str(folder),
            overrides=["optimizer.lr=1e-4"],
            validated_rows=rows,
            **own,
        )
    return study


def test_what_differs_by_more_than_chance(tmp_path):
    log = read_study(validated(tmp_path, [0.80, 0.90, 0.87, 0.85, 0.82]))
    _, best, near, far, _ = log.trials
    assert error_of(log, best) == pytest.approx(math.sqrt(0.9 * 0.1 / 400))
    # z of 0.90 against 0.87 is 1.33, against 0.85 2.14
    assert (differ(log, best, near), differ(log, best, far)) == (False, True)
    assert [trial.number for trial in equals_of_best(log)] == [1, 2]
    assert how_sure(log) == (
        "trial 1 has val/accuracy 0.9000 ± 0.0150 (standard error); 1 of the 4 other complete trials can't be told apart "
        "from it. The configured settings (trial 0) have 0.8000 ± 0.0200, worse by more than chance."
    )


def test_the_end_of_a_search_has_a_command_and_what_is_not_measured(tmp_path):
    text = verdict(validated(tmp_path, [0.80, 0.90]))
    assert "the test split" in text
    assert text.splitlines()[-1] == "  python -m bert_ft.train optimizer.lr=1e-4"
    other = new_study(["minimize"])  # of another task, whose values are no shares
    add(other, value=3.0, params={})
    assert "the test split" not in verdict(other)
    assert "standard error is unknown" in verdict(other)
    two = new_study(["minimize", "minimize"], objective=["val/loss", "fit_seconds"])
    for values in ((1.0, 2.0), (2.0, 1.0), (3.0, 3.0)):
        add(two, value=values)
    assert verdict(two).startswith(
        "2 trials are dominated by no other; one of them is trial 0: val/loss 1.0000, fit_seconds 2.0000."
    )


def test_the_next_space_spans_the_good_trials_and_goes_beyond_an_end():
    space = {
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "layers": IntDistribution(1, 12),
        "pooling": CategoricalDistribution(["cls", "mean", "max"]),
        "rate": FloatDistribution(0.0, 0.9),
    }
    study = new_study()
    for number in range(20):  # the five best are the last five
        params = {"lr": 2e-4, "dropout": 0.5, "layers": 9, "pooling": "cls", "rate": 0.1}
        if number >= 15:
            params = {
                "lr": 9.9e-3,
                "dropout": 0.1 * (number % 2 + 2),
                "layers": number - 12,
                "pooling": "max",
                "rate": 0.0,
            }
        add(study, value=number / 100, params=params, space=space)
    log = read_study(study)
    found = yaml.safe_load(next_space(log))["params"]
    assert found == {
        "lr": "tag(log, interval(0.0099, 0.1))",  # half of two decades beyond 0.01
        "dropout": "range(0.2, 0.35, 0.1)",  # without its end, so 0.2 and 0.3
        "layers": "range(3, 8, 1)",
        "pooling": "max",
        "rate": 0.0,  # a rate ends at 0
    }
    assert [edge.parameter for edge in widened(log)] == ["lr"]


def test_the_next_space_can_be_read_and_contains_the_good_trials():
    space = {
        "lr": FloatDistribution(1e-5, 1e-2, log=True),
        "head_lr": CategoricalDistribution(["null", 0.001, "'a,b'"]),
    }
    own = FloatDistribution(0.5, 0.5)  # of the last trial, by custom_search_space
    study = new_study()
    for number in range(20):
        space["own"] = FloatDistribution(0.0, 1.0) if number < 19 else own
        lr = 3.3271e-5 if number % 2 else 9.7284e-4
        params = {
            "lr": lr,
            "head_lr": ["null", "'a,b'"][number % 2],
            "own": 0.5 if number == 19 else number / 20,
        }
        add(study, value=number / 20, params=params, space=space)
    params = yaml.safe_load(next_space(read_study(study)))["params"]
    assert params == {
        "lr": "tag(log, interval(3.32e-05, 0.000973))",
        "head_lr": "null,'a,b'",
        "own": "interval(0.5, 0.9)",
    }
    assert space_of(params, []).distributions["head_lr"] == CategoricalDistribution(["null", "'a,b'"])


def test_a_search_is_found_by_its_folder(tmp_path):
    assert study_of(tmp_path) is None
    (tmp_path / "0/.hydra").mkdir(parents=True)
    hydra = {
        "sweeper": {"storage": "sqlite:///all.db", "study_name": None},
        "sweep": {"dir": "outputs/mine"},
        "runtime": {"cwd": "/started/here"},
    }
    (tmp_path / "0/.hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    assert study_of(tmp_path) == ("mine", "sqlite:////started/here/all.db")
    (tmp_path / "study.db").touch()
    assert study_of(tmp_path) == (None, f"sqlite:///{tmp_path}/study.db")
