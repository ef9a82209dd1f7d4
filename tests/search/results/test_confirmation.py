"""The best settings against the configured ones, with further seeds."""

import pytest
from scipy.stats import ttest_rel

from bert_ft.search.results.answers import confirmed
from bert_ft.search.results.confirmation import attribute, confirmation, cost, failed, why_not
from bert_ft.search.results.study_log import read_study
from bert_ft.search.results.study_report import write_study_report

from .studies import add, new_study

BEST, OURS = (0.94, 0.95, 0.97), (0.91, 0.93, 0.93)


def study_of(best=BEST, ours=OURS, directions=("maximize",), **trial):
    study = new_study(directions)
    value = 0.9 if directions == ("maximize",) else 0.5
    add(study, "complete", value, {"optimizer.lr": 1e-4}, as_configured=[], validated_rows=200)
    add(study, "complete", 0.95 if value == 0.9 else 0.1, {"optimizer.lr": 3e-4}, validated_rows=200, **trial)
    for settings, values in (("trial 1", best), ("configured", ours)):
        for seed, each in enumerate(values, 1):
            record = {"value": each, "reason": None if each is not None else "OutOfMemoryError: x"}
            study.set_user_attr(attribute(settings, seed), record)
    return study


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (OURS, "better by more than chance"),
        ((0.94, 0.91, 0.98), "can't be told apart"),
        ((0.97, 0.985, 0.99), "worse by more than chance"),
    ],
)
def test_a_paired_interval(ours, verdict):
    found = confirmation(read_study(study_of(ours=ours)))
    assert (found.trial, found.seeds, found.best, found.configured) == (1, (1, 2, 3), BEST, ours)
    expected = ttest_rel(BEST, ours).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == verdict
    assert verdict in confirmed(read_study(study_of(ours=ours)))


def test_less_is_better():
    found = confirmation(read_study(study_of((0.1, 0.11, 0.1), (0.2, 0.21, 0.22), ("minimize",))))
    assert found.gain == pytest.approx(0.32 / 3)
    assert found.verdict == "better by more than chance"


def test_equal_differences_of_few_rows_arent_certain():
    """Of 200 rows, one more is 0.005: the interval isn't a point."""
    found = confirmation(read_study(study_of(ours=tuple(value - 0.01 for value in BEST))))
    assert found.high - found.gain == pytest.approx(4.303 * 0.005 / 3**0.5, rel=1e-3)
    assert found.verdict == "can't be told apart"
    same = confirmation(read_study(study_of(ours=BEST)))
    assert (same.gain, same.verdict) == (0, "can't be told apart")


def test_runs_that_failed_are_left_out():
    log = read_study(study_of(ours=(0.93, None, 0.92)))
    assert confirmation(log).seeds == (1, 3)
    assert failed(log) == ["configured, seed 2: OutOfMemoryError: x"]
    assert "1 of the runs with further seeds failed (configured, seed 2: OutOfMemoryError" in confirmed(log)
    assert confirmation(read_study(study_of(ours=(0.9, None, None)))).low is None
    assert confirmation(read_study(study_of(ours=(None,) * 3))) is None


def test_another_best_trial_has_no_runs_yet():
    study = study_of()
    add(study, "complete", 0.99, {"optimizer.lr": 5e-4})
    assert confirmation(read_study(study)) is None


def test_what_isnt_confirmed():
    study = new_study()
    assert why_not(read_study(study), "true") == "no trial has a value"
    add(study, "complete", 0.9, as_configured=[], span=(0, 10))
    assert why_not(read_study(study), "true") == "the configured settings are the best"
    add(study, "complete", 0.95, span=(10, 40))
    log = read_study(study)
    assert cost(log) == 3
    assert "would add 300% to the time of the search, more than 15%; hydra.sweeper.confirm=true" in why_not(
        log, "auto"
    )
    assert why_not(log, "true") is None
    for place in range(100):
        add(study, "pruned", None, span=(40 + 10 * place, 50 + 10 * place))
    assert cost(read_study(study)) == pytest.approx(3 * 40 / 1040)
    assert why_not(read_study(study), "auto") is None
    assert "several objectives" in why_not(read_study(two_objectives()), "true")


def two_objectives():
    study = new_study(("maximize", "minimize"))
    add(study, "complete", (0.9, 1.0))
    return study


@pytest.mark.slow
def test_the_page_shows_it(tmp_path):
    page = write_study_report(study_of(), tmp_path).read_text(encoding="utf-8")
    assert "Further seeds: better by more than chance" not in page  # in the picture
    assert "better by more than chance" in page
    assert (tmp_path / "study/further_seeds.png").is_file()
    study = new_study()
    add(study, "complete", 0.9)
    study.set_user_attr("not confirmed", "it would cost too much")
    assert "it would cost too much" in write_study_report(study, tmp_path).read_text(encoding="utf-8")
