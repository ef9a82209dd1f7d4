"""A search is of the configuration that it began with."""

import shutil
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution

from bert_ft.compat.hydra import keep_files
from bert_ft.config.paths import conf_dir
from bert_ft.errors import SearchError
from bert_ft.search.trials.kept_configuration import read_choices
from tests.search.sweeping import TASK, counts, study_in


@pytest.fixture
def composer():
    """A function from a folder of configurations to one that composes, and one that keeps what is read."""
    with ExitStack() as stack:

        def enter(folder):
            stack.enter_context(initialize_config_dir(str(folder)))
            loader = GlobalHydra.instance().config_loader()

            def compose(*overrides, name="config"):
                return loader.load_configuration(name, list(overrides), RunMode.RUN)

            return compose, lambda: keep_files(loader)

        yield enter


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [_self_, group: a]\nx: 1\n")
    (tmp_path / "group" / "a.yaml").write_text("y: 1\n")
    (tmp_path / "group" / "b.yaml").write_text("y: 2\n")
    return tmp_path


def read(compose, **space):
    """Everything that jobs over a space of choices need."""
    choices = {name: CategoricalDistribution(values) for name, values in space.items()}
    read_choices(lambda overrides: compose(*overrides), [], choices, compose().hydra.runtime.choices)


def test_files_are_as_they_were(folder, composer):
    compose, keep = composer(folder)
    assert compose("group=b").group.y == 2
    (folder / "group" / "b.yaml").write_text("y: 3\n")
    assert compose("group=b").group.y == 3  # without it each composition reads them
    keep()
    read(compose, group=["a", "b"], x=["1", "2"])
    for path in folder.rglob("*.yaml"):
        path.write_text("[half an edit")
    assert compose().x == 1
    assert compose("group=b", "x=5").group.y == 3
    assert compose("group.y=7").group.y == 7
    assert compose().group.y == 1  # what one composition changes isn't kept
    shutil.rmtree(folder / "group")
    (folder / "config.yaml").unlink()
    assert compose("group=b").group.y == 3


def test_a_broken_choice_is_an_error_where_it_is_searched(folder, composer):
    (folder / "group" / "b.yaml").write_text("[half an edit")
    (folder / "notes.yml").write_text("not Hydra's")  # which it refuses to list
    compose, keep = composer(folder)
    keep()
    assert compose().group.y == 1
    with pytest.raises(SearchError, match=r"^group=c: there is no such choice$"):
        read(compose, group=["a", "c"])
    with pytest.raises(SearchError, match=r"group=b: .*b\.yaml"):
        read(compose, group=["a", "b"])
    with pytest.raises(HydraException, match="'group/c'"):
        compose("group=c")


def test_places_that_the_configuration_adds(folder, tmp_path_factory, composer):
    added = tmp_path_factory.mktemp("added")
    (added / "group").mkdir()
    (added / "group" / "c.yaml").write_text("y: 4\n")
    compose, keep = composer(folder)
    keep()
    there = f"hydra.searchpath=[file://{added}]"
    assert compose(there, "group=c").group.y == 4
    (added / "group" / "c.yaml").write_text("[half an edit")
    assert compose(there, "group=c").group.y == 4


def test_own_configurations_are_composed_alike(composer):
    compose, keep = composer(conf_dir())
    overrides = [
        "model=bert_linear",
        "pretrain=mlm_contrastive",
        "loss=r_drop",
        "averaging=swa",
        "monitor=full",
    ]

    def composed():
        return OmegaConf.to_container(compose(*overrides, name="train"), resolve=False)

    expected = composed()
    keep()
    assert composed() == expected
    assert composed() == expected


@pytest.mark.slow
def test_an_edit_reaches_no_trial(tmp_path):
    task = shutil.copytree(TASK.parent, tmp_path / "cheap") / TASK.name
    folder = tmp_path / "search"
    words = [sys.executable, str(task), "--multirun", f"hydra.sweep.dir={folder}", "seconds=0.5"]
    process = subprocess.Popen([*words, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1"])
    while not (folder / "0" / "began").exists():
        assert process.poll() is None
        time.sleep(0.02)
    config = task.with_name("config.yaml")
    config.write_text(config.read_text().replace("fails: null", "fails: error"))
    assert process.wait(timeout=60) == 0
    assert counts(study_in(folder)) == {"complete": 2}
