"""What is private in Hydra and used: each test fails where Hydra has changed it. More of ``keep_files`` is in the search."""

import argparse
import copy
import sys

import hydra
import pytest
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core import utils
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import OmegaConf

from bert_ft.compat import hydra as compat


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text("x: 1\n")
    return tmp_path


def test_the_command_line_is_read_as_hydra_reads_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "a=1", "--multirun", "b=2", "--config-dir", "mine"])
    found = compat.command_line()
    assert isinstance(found, argparse.Namespace)
    assert found.overrides == ["a=1", "b=2"], "Hydra changed its argument parser"
    assert found.multirun, "Hydra changed its argument parser"
    assert found.config_dir == "mine", "Hydra changed its argument parser"
    asked = ("cfg", "help", "hydra_help", "info", "config_path", "config_name", "shell_completion")
    for name in (*asked, "experimental_rerun"):
        assert not getattr(found, name), f"Hydra changed --{name}"


def test_choices_keep_their_types():
    values = compat.choices_of("key=choice('1',1,true,['a b'],{a:1})")
    assert [compat.unquoted(value) for value in values] == ["1", 1, True, ["a b"], {"a": 1}]
    assert [compat.encoded(value) for value in values[1:]] == [1, True, "['a b']", "{a:1}"]
    assert compat.choices_of("key='1',null") == ["1", None], "Hydra changed the values of a sweep"


@pytest.mark.parametrize(
    "text", ["plain", "a b", "it's", "with \"both\" 'kinds'", "a\\", "x=[1,{y:2}]", "${z}", ""]
)
def test_a_quoted_text_comes_back(text):
    override = OverridesParser.create().parse_override(f"key={compat.quoted(text)}")
    assert override.value() == text, "Hydra changed how texts are quoted"


def test_hydras_own_launcher_is_the_basic_one():
    class Own(BasicLauncher):
        pass

    assert BasicLauncher in Plugins.instance().discover(Launcher), "Hydra changed its basic launcher"
    assert compat.is_basic_launcher(BasicLauncher())
    assert not compat.is_basic_launcher(Own())


def test_what_a_job_returned():
    done, failed = JobReturn(status=JobStatus.COMPLETED), JobReturn(status=JobStatus.FAILED)
    error = ValueError("refused")
    done.return_value, failed.return_value = 3, error
    assert compat.returned(done) == 3, "Hydra changed JobReturn"
    assert compat.returned(failed) is error, "Hydra changed JobReturn"


def test_resolvers_answer_from_the_configuration_that_is_set(folder, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with initialize_config_dir(str(folder)):
        config = GlobalHydra.instance().config_loader().load_configuration("config", [], RunMode.RUN)
    config.hydra.job.num = 7
    compat.set_hydra_config(config)
    assert HydraConfig.get().job.num == 7, "Hydra changed HydraConfig"
    assert OmegaConf.create({"x": "${hydra:job.num}"}).x == 7, "Hydra changed the resolver hydra:"


def test_files_are_kept(folder):
    with initialize_config_dir(str(folder)):
        loader = GlobalHydra.instance().config_loader()
        compat.keep_files(loader)
        kept = loader.repository
        assert copy.deepcopy(kept) is kept

        def compose():
            return loader.load_configuration("config", [], RunMode.RUN).x

        assert compose() == 1
        (folder / "config.yaml").write_text("x: 2\n")
        assert compose() == 1, "Hydra changed where a ConfigLoader has its files"
    compat.keep_files(object())  # a loader of another kind stays as it is


def test_a_jobs_record_is_replaced_as_a_whole(tmp_path, monkeypatch):
    written = []
    before = utils._save_config
    with compat.whole_records(lambda *given: written.append(given)):
        quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
        monkeypatch.setattr(sys, "argv", ["job", f"hydra.run.dir={tmp_path / 'run'}", "x=2", *quiet])
        (tmp_path / "config.yaml").write_text("x: 1\n")
        hydra.main(config_path=str(tmp_path), config_name="config")(lambda config: None)()
    assert utils._save_config is before
    names = [path.relative_to(tmp_path / "run/.hydra").name for path, _ in written]
    assert names == ["config.yaml", "hydra.yaml", "overrides.yaml"], (
        "Hydra changed how it saves a job's record"
    )
    assert written[-1][1] == b"- x=2\n"
