"""After each trial: whose weights stay, where the link leads, what TensorBoard gets."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from bert_ft.search.results.outputs import trial_ended, write
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, kinds, new_study

CHECKOUT = Path(__file__).parents[3]


class Sweep:
    """Trials with folders as runs leave them."""

    def __init__(self, folder: Path, directions=("maximize",), **attributes) -> None:
        self.folder = folder
        self.study = new_study(directions, folder=str(folder), **attributes)

    def ended(self, state="complete", value=None, *, events=False, params=None, **attributes) -> Path:
        number = len(self.study.trials)
        own = self.folder / str(number)
        for name in ("model", "checkpoints", "pretraining/checkpoints"):
            (own / name).mkdir(parents=True)
            (own / name / "weights").write_text(str(number))
        (own / "metrics.json").write_text("{}")
        if events:
            (own / "tensorboard").mkdir()
            (own / "tensorboard/events.out.tfevents.1").touch()
        add(self.study, state, value, params, folder=str(own), **attributes)
        trial_ended(self.study, self.study.trials[-1], self.folder)
        return own

    def with_weights(self) -> list[int]:
        found = [
            int(path.name)
            for path in self.folder.iterdir()
            if (path / "checkpoints").is_dir() and not path.is_symlink()
        ]
        assert all((self.folder / str(number) / "model").is_dir() for number in found)
        stages = {int(path.parts[-3]) for path in self.folder.glob("*/pretraining/checkpoints")}
        assert stages == set(found)
        return sorted(found)


@pytest.mark.parametrize(
    ("directions", "keep", "values", "kept"),
    [
        (["maximize"], {"keep_top_k": 2}, (0.5, 0.6, 0.4, 0.7, 0.6), [1, 3]),  # the earlier of equal ones
        (["maximize"], {"keep_top_k": None}, range(5), [0, 1, 2, 3, 4]),
        (["maximize"], {}, range(5), [2, 3, 4]),
        (["minimize"], {"keep_top_k": 1}, (0.5, 0.6, 0.4), [2]),
        (["maximize", "minimize"], {"keep_top_k": 2}, ((1, 5), (3, 6), (2, 4)), [1, 2]),
    ],
)
def test_only_the_best_keep_their_weights(tmp_path, directions, keep, values, kept):
    sweep = Sweep(tmp_path, directions, **keep)
    for value in values:
        sweep.ended(value=value)
    assert sweep.with_weights() == kept
    assert all((tmp_path / str(number) / "metrics.json").exists() for number in range(len(values)))


def test_trials_with_equal_settings_count_once(tmp_path):
    sweep = Sweep(tmp_path, keep_top_k=2)
    best = sweep.ended(value=0.9)
    for _ in range(3):
        add(sweep.study, "complete", 0.9, folder=str(best), host=socket.gethostname())
    sweep.ended(value=0.5)
    sweep.ended(value=0.7)
    assert sweep.with_weights() == [0, 5]


@pytest.mark.parametrize("state", ["pruned", "failed"])
def test_what_did_not_complete_keeps_none(tmp_path, state):
    sweep = Sweep(tmp_path)
    sweep.ended(state)
    assert sweep.with_weights() == []
    assert not (tmp_path / "model").exists()


def test_a_trial_that_may_still_run_keeps_its_weights(tmp_path):
    """One whose process has just ended may have ended well, and the search is about to store that."""
    sweep = Sweep(tmp_path, keep_top_k=1)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    running = sweep.ended("running", pid=os.getpid(), host=socket.gethostname())
    gone = sweep.ended("running", pid=process.pid, host=socket.gethostname())
    sweep.ended(value=1.0)
    assert [trial.state for trial in read_study(sweep.study).trials] == ["running", "lost", "complete"]
    assert all((folder / "checkpoints/weights").exists() for folder in (running, gone))


def test_folders_of_another_machine_are_left_to_it(tmp_path):
    sweep = Sweep(tmp_path, keep_top_k=1)
    for value in (0.1, 0.2):
        sweep.ended(value=value, host="another")
    assert sweep.with_weights() == [0, 1]
    assert (tmp_path / "model/weights").read_text() == "1"  # in a folder that both see


def test_there_is_no_link_to_a_model_that_isnt_the_best(tmp_path):
    sweep = Sweep(tmp_path)
    sweep.ended(value=0.5)
    add(sweep.study, "complete", 0.9, folder="/on/its/own/disk", host="another")
    sweep.ended(value=0.4)
    assert not (tmp_path / "model").is_symlink()
    sweep.ended(value=0.95)
    assert (tmp_path / "model/weights").read_text() == "3"


def test_the_link_leads_to_the_best_model(tmp_path):
    sweep = Sweep(tmp_path)
    leads_to = []
    for value in (0.5, 0.6, 0.4):
        sweep.ended(value=value)
        leads_to.append((tmp_path / "model/weights").read_text())
    assert leads_to == ["0", "1", "1"]
    assert os.readlink(tmp_path / "model") == "1/model"  # so that the sweep's folder can be moved
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    add(sweep.study, "complete", 0.9, folder=str(tmp_path / "gone"))
    trial_ended(sweep.study, sweep.study.trials[-1], tmp_path)
    assert (tmp_path / "model/weights").read_text() == "1"  # a best trial without a model is skipped


def test_a_folder_in_the_links_place_is_not_removed(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine").touch()
    Sweep(tmp_path).ended(value=0.5)
    assert (tmp_path / "model/mine").exists()


def sessions(folder: Path) -> tuple[dict, int, dict[str, float]]:
    """Settings, status and scalars that TensorBoard finds in a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    plugins = {}
    for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG):
        content = events.SummaryMetadata(tag).plugin_data.content
        plugins[tag] = plugin_data_pb2.HParamsPluginData.FromString(content)
    start = plugins[metadata.SESSION_START_INFO_TAG].session_start_info.hparams
    settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.items()}
    scalars = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    return settings, plugins[metadata.SESSION_END_INFO_TAG].session_end_info.status, scalars


def test_a_pruned_trial_gets_its_line_in_tensorboard(tmp_path):
    params = {"optimizer.lr": 1e-4, "data.batch_size": 8, "model.head.hidden_sizes": "[384]"}
    own = Sweep(tmp_path, objective="val/accuracy").ended(
        "pruned", params=params, reported={20: 0.5, 40: 0.75}, steps=40
    )
    settings, status, scalars = sessions(own / "tensorboard")
    assert settings == {
        "optimizer/lr": 1e-4,
        "data/batch_size": 8,
        "model/head/hidden_sizes": "[384]",
        "search/state": "pruned",
    }
    assert status == 0  # unknown: neither a success nor a failure
    assert scalars == {"search/last_report": 0.75, "kept/val_accuracy": 0.75}


def test_a_trial_has_one_line(tmp_path):
    sweep = Sweep(tmp_path, objective="val/accuracy")
    own = sweep.ended(value=0.875, params={"optimizer.lr": 1e-4})  # it has logged nothing itself
    settings, status, scalars = sessions(own / "tensorboard")
    assert (settings["search/state"], status, scalars) == ("complete", 1, {"search/val/accuracy": 0.875})
    own = sweep.ended(value=0.9, events=True)  # it has written its own
    assert len(list((own / "tensorboard").iterdir())) == 1
    failed = sweep.ended("failed", events=True)  # its scalars, but no line
    trial_ended(sweep.study, sweep.study.trials[-1], tmp_path)
    assert len(list((failed / "tensorboard").iterdir())) == 2
    assert sessions(failed / "tensorboard")[1] == 2
    add(
        sweep.study, "failed", folder=str(tmp_path / "3"), params={"optimizer.lr": 1e-4}
    )  # it has no folder yet
    trial_ended(sweep.study, sweep.study.trials[3], tmp_path)
    assert sessions(tmp_path / "3/tensorboard")[0] == {"optimizer/lr": 1e-4, "search/state": "failed"}


@pytest.mark.parametrize("name", ["one trial", "all failed", "only waiting", "three objectives"])
def test_trials_without_a_folder(tmp_path, name, caplog):
    study = kinds()[name]
    for trial in study.trials:
        trial_ended(study, trial, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("call", [lambda study, at: trial_ended(study, study.trials[0], at), write])
def test_what_goes_wrong_is_logged_and_ends_nothing(tmp_path, monkeypatch, caplog, call):
    study = new_study()
    add(study, value=0.5, folder=str(tmp_path / "0"))

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("bert_ft.search.results.outputs.read_study", broken)
    monkeypatch.setattr("bert_ft.search.results.study_report.write_study_report", broken)
    with caplog.at_level(logging.ERROR):
        assert call(study, tmp_path) is None
    assert "disk full" in caplog.text


@pytest.mark.slow
def test_nothing_heavy_is_loaded(tmp_path):
    """The process that gives out the trials stays small: only the workers load torch and the like."""
    script = """
import sys; from bert_ft.search.results.outputs import trial_ended, write
from tests.search.results.studies import add, new_study
study = new_study(); add(study, value=1, folder=sys.argv[1] + '/0'); add(study, 'pruned', folder=sys.argv[1] + '/1')
heavy = {'torch', 'lightning', 'transformers', 'tensorflow'}
[trial_ended(study, trial, sys.argv[1]) for trial in study.trials]
assert not (heavy | {'matplotlib', 'sklearn', 'jinja2'}) & set(sys.modules), sys.modules.keys()
assert write(study, sys.argv[1])
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
