"""Callbacks of a study, those of ``optuna_integration`` among them."""

import logging
import sys
from unittest.mock import MagicMock

import optuna
import pytest

from bert_ft.errors import ConfigError
from bert_ft.search.results import outputs
from bert_ft.search.space.samplers import build_callbacks


@pytest.fixture
def mlflow(monkeypatch):
    """What the callback calls; it isn't installed here."""
    fake = MagicMock()
    fake.utils.validation.MAX_TAG_VAL_LENGTH = 5000
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
    target = {"_target_": "optuna_integration.MLflowCallback", "tracking_uri": "http://server"}
    callbacks = build_callbacks({"mlflow": {**target, "metric_name": "acc"}, "none": None})
    study, trial = ended_trial()
    outputs.trial_ended(study, trial, tmp_path, callbacks)
    mlflow.set_tracking_uri.assert_called_once_with("http://server")
    mlflow.set_experiment.assert_called_once_with("rates")
    mlflow.log_params.assert_called_once_with({"lr": 0.1})
    mlflow.log_metrics.assert_called_once_with({"acc": 0.5})
    assert mlflow.set_tags.call_args.args[0]["state"] == "COMPLETE"


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
