"""A trial with the settings of an earlier one isn't trained: it takes the outcome of that one."""

import optuna
import pytest
from optuna.trial import TrialState

from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.study.trial_counts import equal_to, num_claimed
from bert_ft.search.study.trial_queue import TrialQueue


@pytest.fixture
def queue_of(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}", create=True)
    study = optuna.create_study(study_name="study", storage=storage)

    def make(**settings) -> TrialQueue:
        settings = {"n_trials": 4, "retry": 1, "reuse": True, "draw": lambda trial: draw(trial)} | settings
        return TrialQueue(study, storage, **settings)

    values = iter("abab" * 9)

    def draw(trial):
        study.sampler = optuna.samplers.PartialFixedSampler(
            {"x": next(values)}, optuna.samplers.RandomSampler()
        )
        trial.study.sampler = study.sampler
        trial.suggest_categorical("x", ["a", "b"])

    yield make
    close(storage)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_outcome_of_the_first_is_taken_when_it_has_ended(queue_of):
    queue = queue_of()
    first, second = queue.next(), queue.next()
    assert (first.params, second.params) == ({"x": "a"}, {"x": "b"})
    queue.note(first, overrides=["x=a"], folder="/somewhere/0")
    assert queue.next() is None  # two more were drawn, which needn't be run
    assert queue.equal.are_left
    assert num_claimed(queue.study.trials) == 4
    queue.end(queue.frozen(first), {"values": [0.5]})
    (ended,) = queue.equal.ended()
    assert (ended.number, ended.value, equal_to(ended)) == (2, 0.5, 0)
    assert (ended.user_attrs["folder"], ended.user_attrs["overrides"]) == ("/somewhere/0", ["x=a"])
    second.report(0.9, 10)
    queue.end(queue.frozen(second), {"pruned": True})
    (ended,) = queue.equal.ended()
    assert (ended.state, ended.intermediate_values) == (TrialState.PRUNED, {10: 0.9})
    assert not queue.equal.are_left
    assert queue.equal.ended() == []


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_failed_is_trained_again_and_so_is_what_had_other_settings(queue_of):
    queue = queue_of()
    first, second = queue.next(), queue.next()
    assert queue.next() is None
    queue.end(queue.frozen(first), {"reason": "it raised"})
    queue.end(queue.frozen(second), {"values": [1.0]})
    assert [trial.number for trial in queue.equal.ended()] == [3]
    assert queue.next().params == {"x": "a"}  # the equal of the one that failed
    other = queue_of(n_trials=9, settings="other epochs")
    assert {other.next().params["x"], other.next().params["x"]} == {"a", "b"}


def test_failed_trials_are_run_again_on_request(queue_of):
    queue = queue_of(reuse=False, draw=lambda trial: trial.suggest_float("y", 0, 1), n_trials=2)
    failed, complete = queue.next(), queue.next()
    queue.end(queue.frozen(failed), {"reason": "the disk was full"})
    queue.end(queue.frozen(complete), {"values": [1.0]})
    assert queue.next() is None
    assert queue.retry_failed() == 1
    assert queue.retry_failed() == 0  # it is queued
    assert num_claimed(queue.study.trials) == 1
    again = queue.next()
    assert again.params == failed.params
    assert queue.next() is None
