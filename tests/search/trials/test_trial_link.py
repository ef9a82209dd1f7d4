import optuna
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from optuna.pruners import MedianPruner, NopPruner, PatientPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from bert_ft.compat.optuna import trial_id, url_of
from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress, TrialLink, current_trial
from tests.search.trials.reporting_trials import reported


@pytest.fixture
def study(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}", create=True)
    study = optuna.create_study(study_name="study", storage=storage, direction="maximize")
    for _ in range(5):
        study.add_trial(reported({10: 0.8, 20: 0.9}, total_steps=20, value=0.9))
    yield study
    close(storage)


def link_to(study: optuna.Study, trial: optuna.Trial, pruner) -> TrialLink:
    url = str(url_of(study))
    return TrialLink(TrialAddress(url, study.study_name, trial_id(trial), 0.0), pruner)


def test_the_median_prunes_across_batch_sizes(study):
    """Twice as many steps, of half the size: there is no step that both report at."""
    for values, expected in (
        ((0.7, 0.95), [True]),
        ((0.85, 0.85), [False, True]),
        ((0.85, 0.95), [False] * 2),
    ):
        trial = study.ask()
        link = link_to(study, trial, MedianPruner(n_startup_trials=5))
        link.note(total_steps=40)
        decisions = []
        for value, step in zip(values, (23, 40), strict=True):
            decisions.append(link.report(value, step))
            if decisions[-1]:
                break
        assert decisions == expected
        close(link._trial.storage)
        study.tell(trial, state=TrialState.FAIL)


@pytest.mark.parametrize(("tolerance", "expected"), [(0.0, True), (0.04, True), (0.06, False)])
def test_who_is_behind_by_chance_goes_on(study, tolerance, expected):
    """The others have 0.8 there."""
    trial = study.ask()
    link = link_to(study, trial, MedianPruner(n_startup_trials=5))
    assert link.report(0.75, 10, tolerance=tolerance) is expected
    assert study.trials[-1].intermediate_values == {10: 0.75}
    close(link._trial.storage)


@pytest.mark.parametrize(
    ("directions", "expected"),
    [(["minimize"], True), (["minimize", "maximize"], False)],  # several are never pruned
)
def test_tolerance_is_for_what_is_maximized(tmp_path, directions, expected):
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}", create=True)
    study = optuna.create_study(study_name="study", storage=storage, directions=directions)
    results = {"value": 0.5} if len(directions) == 1 else {"state": TrialState.FAIL}
    for _ in range(3):  # fewer would stop none
        study.add_trial(reported({10: 0.5}, **results))
    link = link_to(study, study.ask(), MedianPruner(n_startup_trials=1))
    assert link.report(0.55, 10, tolerance=0.1) is expected
    close(link._trial.storage)
    close(storage)


@pytest.mark.parametrize(
    ("pruner", "expected"),
    [
        (NopPruner, False),
        (lambda: SuccessiveHalvingPruner(min_resource=5, reduction_factor=2), False),
        (lambda: PatientPruner(MedianPruner(n_startup_trials=1), patience=0), True),
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_other_pruners(study, pruner, expected):
    trial = study.ask()
    link = link_to(study, trial, pruner())
    link.note(total_steps=30)
    link.report(0.3, 14)
    decision = link.report(0.2, 16)
    assert decision is expected
    assert study.trials[-1].intermediate_values == {14: 0.3, 16: 0.2}
    close(link._trial.storage)


def test_outside_a_search_there_is_no_trial(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert current_trial() is None


@pytest.mark.slow
def test_the_pruner_travels_with_the_address(study, monkeypatch):
    """Nobody asks Hydra for the job that this process runs, nor is there one here."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # an earlier test may have left one
    pruner = {
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,
        "n_warmup_steps": "${schedule.warmup_steps}",
    }
    config = OmegaConf.create({"schedule": {"warmup_steps": 12}, "hydra": {"sweeper": {"pruner": pruner}}})
    url = str(url_of(study))
    address = TrialAddress(url, study.study_name, trial_id(study.ask()), 0.0).with_pruner_of(config)
    monkeypatch.setenv(VARIABLE, address.to_text())
    link = current_trial()
    assert link.address == address
    found = link._trial.study.pruner
    assert isinstance(found, MedianPruner)
    assert (found._n_startup_trials, found._n_warmup_steps) == (5, 12)  # as of the trial's own configuration
    assert [link.report(0.1, step) for step in (10, 20)] == [False, True]
    close(link._trial.storage)
    none = address.with_pruner_of(OmegaConf.create({"hydra": {"sweeper": {"pruner": None}}}))
    monkeypatch.setenv(VARIABLE, none.to_text())
    link = current_trial()
    assert isinstance(link._trial.study.pruner, NopPruner)
    close(link._trial.storage)
