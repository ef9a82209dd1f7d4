"""Callbacks of a study, those of ``optuna_integration`` among them."""

import logging
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import optuna
import pytest

from bert_ft.errors import ConfigError
from bert_ft.search.results import outputs
from bert_ft.search.space.samplers import build_callbacks


class MLflow(SimpleNamespace):
    """As much of mlflow as the callback calls; it isn't installed here."""

    def __init__(self):
        super().__init__(runs=[], utils=SimpleNamespace(validation=SimpleNamespace(MAX_TAG_VAL_LENGTH=5000)))

    @contextmanager
    def start_run(self, **settings):
        self.runs.append(settings)
        yield

    def set_experiment(self, name):
        self.experiment = name

    def set_tracking_uri(self, address):
        self.address = address

    def log_params(self, values):
        self.runs[-1]["params"] = values

    def log_metrics(self, values):
        self.runs[-1]["metrics"] = values

    def set_tags(self, values):
        self.runs[-1]["state"] = values["state"]


@pytest.fixture
def mlflow(monkeypatch):
    fake = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for name in ("optuna_integration.mlflow", "optuna_integration.mlflow.mlflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("optuna_integration.MLflowCallback", raising=False)
    return fake


def ended_trial():
    study = optuna.create_study(study_name="rates")
    trial = study.ask({"lr": optuna.distributions.FloatDistribution(0.1, 0.1)})
    return study, study.tell(trial, 0.5)


@pytest.mark.filterwarnings("ignore:MLflowCallback has been deprecated:FutureWarning")
def test_a_search_is_tracked_in_mlflow(mlflow, tmp_path):
    settings = {
        "_target_": "optuna_integration.MLflowCallback",
        "tracking_uri": "http://server",
        "metric_name": "acc",
    }
    callbacks = build_callbacks({"mlflow": settings, "none": None})
    study, trial = ended_trial()
    outputs.trial_ended(study, trial, tmp_path, callbacks)
    (run,) = mlflow.runs
    assert (mlflow.address, mlflow.experiment) == ("http://server", "rates")
    assert (run["params"], run["metrics"], run["state"]) == ({"lr": 0.1}, {"acc": 0.5}, "COMPLETE")


def test_one_that_fails_does_not_end_the_search(tmp_path, caplog):
    seen = []

    def fail(study, trial):
        raise OSError("no connection")

    study, trial = ended_trial()
    with caplog.at_level(logging.ERROR):
        outputs.trial_ended(study, trial, tmp_path, [fail, lambda study, trial: seen.append(trial.number)])
    assert seen == [0]
    assert "after trial 0: function failed" in caplog.text


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("optuna_integration.WeightsAndBiasesCallback", "wandb"),  # isn't installed
        ("os.system", "os.system"),
        ("optuna.samplers.RandomSampler", "gives a RandomSampler, which can't be called"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has been deprecated:FutureWarning")
def test_refused(target, words):
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.callbacks\.mine") as refusal:
        build_callbacks({"mine": {"_target_": target}})
    assert words in str(refusal.value)
