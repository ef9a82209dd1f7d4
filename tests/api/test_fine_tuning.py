"""``bert_ft.fine_tune`` and ``bert_ft.run_search``: twins of the commands that leave the process as it was."""

import os
import signal
import threading

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig

import bert_ft
from bert_ft.training.module import ClassificationModule
from tests import commands
from tests.api.conftest import WORDS
from tests.api.watching import unchanged

FILES = ["data=files", "data.train_file=reviews.csv", "encoder=any", "encoder.name_or_path=tiny_encoder"]


def test_what_cant_run_is_said_and_leaves_no_folder(workplace):
    with unchanged():
        with pytest.raises(ValueError, match=r"optimizer\.lr=-1: must be"):
            bert_ft.fine_tune([*FILES, "optimizer.lr=-1"], folder="a")
        with pytest.raises(ValueError, match=r"train_file=none\.csv: no such file"):
            bert_ft.fine_tune(["data=files", "data.train_file=none.csv"])
        with pytest.raises(TypeError, match="pass a list"):
            bert_ft.fine_tune("data=files")
        with pytest.raises(ValueError, match=r"sqlite:///optuna\.db"):
            bert_ft.run_search(FILES, storage="optuna.db")
    assert not {"a", "outputs"} & set(os.listdir(workplace))


@pytest.mark.slow
def test_a_run_is_that_of_the_command(workplace, capfd):
    with unchanged():
        run = bert_ft.fine_tune([*FILES, *WORDS], folder="a")
    assert capfd.readouterr().out == ""
    done = commands.run("bert_ft.train", *FILES, *WORDS, "hydra.run.dir=b", cwd=workplace, env={**os.environ})
    assert done.returncode == 0, done.stderr
    theirs = bert_ft.load("b")
    assert (run.model.predict_proba(["a lovely film"]) == theirs.predict_proba(["a lovely film"])).all()
    assert set(run.metrics) >= {"val", "test", "objective"}
    # in a thread of its own, and longer
    found = []
    more = ["resume_from=a", "trainer.max_epochs=4"]
    thread = threading.Thread(target=lambda: found.append(bert_ft.fine_tune(more)))
    thread.start()
    thread.join(120)
    assert found[0].folder == run.folder
    assert found[0].metrics["checkpoint"]["step"] >= run.metrics["checkpoint"]["step"]


@pytest.mark.slow
def test_within_the_callers_own_hydra_application(workplace, monkeypatch):
    monkeypatch.setattr("sys.argv", ["app.py", "hydra.run.dir=own"])
    seen = []

    @hydra.main(config_path=None)
    def application(config):
        own = HydraConfig.get().runtime.output_dir
        with unchanged():
            seen.append(bert_ft.fine_tune([*FILES, *WORDS], folder="a").metrics)
        assert HydraConfig.get().runtime.output_dir == own

    application()
    assert seen


@pytest.mark.slow
def test_stopping_it_ends_the_call(workplace, monkeypatch):
    step = ClassificationModule.training_step

    def stop(module, batch, batch_index):
        if module.trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(module, batch, batch_index)

    monkeypatch.setattr(ClassificationModule, "training_step", stop)
    with unchanged(), pytest.raises(KeyboardInterrupt):
        bert_ft.fine_tune([*FILES, *WORDS], folder="a")
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    assert bert_ft.fine_tune(["resume_from=a"]).metrics["val"]


@pytest.mark.slow
def test_a_search_returns_its_study(workplace):
    ranges = ["search=none", "optimizer.lr=choice(1e-3,3e-3)"]
    with unchanged():
        study = bert_ft.run_search([*FILES, *WORDS, *ranges], n_trials=2, storage="sqlite:///optuna.db")
    assert len(study.trials) == 2
    assert study.best_params.keys() == {"optimizer.lr"}
    assert os.path.exists(os.path.join(study.user_attrs["folder"], "trials.csv"))
    with pytest.raises(ValueError, match=r"optimizer\.lrr"):
        bert_ft.run_search([*FILES, "optimizer.lrr=choice(1,2)"])
