"""What is private in Optuna and used: each test fails where Optuna has changed it."""

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, PatientPruner
from optuna.samplers import GridSampler, RandomSampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from bert_ft.compat import optuna as compat


@pytest.fixture
def database(tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def study_in(storage, **settings):
    return optuna.create_study(study_name="study", storage=storage, **settings)


def test_a_cache_is_the_one_that_studies_use(database):
    storage = compat.cached(database)
    study = study_in(storage)
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert [trial.value for trial in storage.get_all_trials(study._study_id)] == [1.0], (
        "Optuna changed its cache"
    )
    assert study._storage is storage, "Optuna changed whether a study takes a cache as it is"
    assert compat.database_of(storage) is database, "Optuna changed where a cache has its database"


def test_the_engine_is_the_databases(database):
    for storage in (database, compat.cached(database)):
        with compat.engine_of(storage).connect() as connection:
            found = connection.exec_driver_sql("SELECT count(*) FROM studies").scalar_one()
            assert found == 0, "Optuna changed the engine of its databases"


def test_a_study_has_the_address_of_its_database(database, tmp_path):
    for storage in (database, compat.cached(database), str(database.url)):
        study = optuna.create_study(storage=storage)
        assert compat.url_of(study) == f"sqlite:///{tmp_path / 'study.db'}", "Optuna changed Study's storage"
    assert compat.url_of(optuna.create_study(storage=InMemoryStorage())) is None


@pytest.mark.slow
def test_the_storage_knows_a_trial_by_its_id(database):
    storage = compat.cached(database)
    for name in ("other", "study"):  # so that the number within the study isn't the storage's
        study = optuna.create_study(study_name=name, storage=storage)
        trial = study.ask()
    trial.set_user_attr("mark", 1)
    found = storage.get_trial(compat.trial_id(trial))
    assert found.user_attrs == {"mark": 1}, "Optuna changed Trial's id"
    assert compat.trial_id(found) == compat.trial_id(trial) != trial.number, "Optuna changed FrozenTrial's id"


def test_another_process_reports_to_a_trial(database):
    storage = compat.cached(database)
    number = compat.trial_id(study_in(storage).ask())
    study = optuna.load_study(study_name="study", storage=storage, sampler=RandomSampler())
    compat.running_trial(study, number).report(0.5, step=3)
    assert study.trials[0].intermediate_values == {3: 0.5}, "Optuna changed how a Trial is constructed"


def test_the_last_point_of_a_grid_ends_outside_of_optunas_loop():
    study = optuna.create_study(sampler=GridSampler({"x": [1]}))
    trial = study.ask()
    trial.suggest_int("x", 1, 1)
    compat.tell(study, trial.number, TrialState.COMPLETE, (2.0,))
    assert [trial.value for trial in study.trials] == [2.0], "Optuna changed when a grid's last trial is told"
    compat.tell(study, trial.number, TrialState.FAIL)
    assert study.trials[0].state == TrialState.COMPLETE, "Optuna changed skip_if_finished"


def test_other_errors_of_telling_come_through():
    study = optuna.create_study()
    with pytest.raises(RuntimeError, match=r"Study\.stop"):  # the one that is caught
        study.stop()

    def refuse(*arguments, **settings):
        raise RuntimeError("something else")

    study.tell = refuse
    with pytest.raises(RuntimeError, match="something else"):
        compat.tell(study, 0, TrialState.FAIL)


def repeated(study, trial):
    """A trial that draws what ``trial`` was to draw."""
    attributes = compat.attributes_to_repeat(trial)
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=attributes))
    return study.ask()


def test_a_trial_is_repeated_with_its_values():
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    trial = study.ask()
    value = trial.suggest_float("x", 0, 1)
    study.tell(trial, state=TrialState.FAIL)
    again = repeated(study, study.trials[0])
    assert again.suggest_float("x", 0, 1) == value, "Optuna changed how a waiting trial has its values"


def test_a_queued_trial_is_repeated_though_it_had_drawn_nothing():
    study = optuna.create_study()
    study.enqueue_trial({"x": 0.25})
    study.tell(study.ask(), state=TrialState.FAIL)
    again = repeated(study, study.trials[0])
    assert again.suggest_float("x", 0, 1) == 0.25, "Optuna changed what enqueue_trial notes"


def test_a_point_of_a_grid_is_repeated():
    study = optuna.create_study(sampler=GridSampler({"x": [1, 2, 3]}, seed=0))
    trial = study.ask()
    trial.suggest_int("x", 1, 3)
    study.tell(trial, state=TrialState.FAIL)
    repeated(study, study.trials[0])
    again = study.trials[1].system_attrs
    assert {"grid_id", "search_space"} <= again.keys(), "Optuna changed what a grid notes of a trial"
    assert again["grid_id"] == study.trials[0].system_attrs["grid_id"]


@pytest.mark.parametrize(
    ("distribution", "inside", "outside"),
    [
        (FloatDistribution(0.0, 1.0), 0.3, 1.1),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.75, 0.8),
        (IntDistribution(1, 9, step=2), 3, 4),
    ],
)
def test_a_range_has_the_numbers_of_its_steps(distribution, inside, outside):
    assert compat.is_in_range(distribution, inside), "Optuna changed what a range has"
    assert not compat.is_in_range(distribution, outside), "Optuna changed what a range has"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_innermost_pruner():
    median = MedianPruner()
    twice = PatientPruner(PatientPruner(median, patience=1), patience=1)
    assert compat.innermost_pruner(twice) is median, "Optuna changed PatientPruner"
    assert compat.innermost_pruner(median) is median
    assert compat.innermost_pruner(PatientPruner(None, patience=1)) is None
