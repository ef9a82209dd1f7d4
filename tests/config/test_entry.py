"""The command line as a user meets it: exit codes, messages, and what is left on the disk."""

import subprocess
import sys

import pytest
from omegaconf.errors import ConfigKeyError
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from bert_ft.config import composition
from bert_ft.config.composition import judged
from bert_ft.errors import ConfigError
from bert_ft.train import main
from tests import commands


def run(*arguments: str, cwd, module: str = "bert_ft.train") -> subprocess.CompletedProcess:
    return commands.run(module, *arguments, cwd=cwd)


def refused(result: subprocess.CompletedProcess, cwd) -> str:
    """The message of a run that must have been refused cleanly."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert not (cwd / "outputs").exists()
    return result.stderr


def test_a_misspelt_key_names_the_right_one(tmp_path):
    message = refused(run("trainer.max_epoch=3", cwd=tmp_path), tmp_path)
    assert message == (
        "trainer.max_epoch=3: there is no key trainer.max_epoch; did you mean trainer.max_epochs?\n"
    )


def test_misspelt_keys_wrong_values_and_unknown_choices_together(tmp_path):
    message = refused(run("optimizer.lrr=1", "optimizer.lr=-1", "model=tree", cwd=tmp_path), tmp_path)
    assert message.startswith("3 problems in the configuration:\n")
    assert "did you mean optimizer.lr?" in message
    assert "optimizer.lr=-1: must be a number > 0" in message
    assert "model=tree: model has no such choice; it has bert_linear, bert_residual" in message


def test_a_wrong_value(tmp_path):
    message = refused(run("trainer.max_epochs=abc", cwd=tmp_path), tmp_path)
    assert message == "trainer.max_epochs=abc: must be an integer ≥ 1 or -1 or null\n"


def test_a_broken_override(tmp_path):
    assert "optimizer.lr=[1" in refused(run("optimizer.lr=[1", cwd=tmp_path), tmp_path)


@pytest.mark.slow
def test_a_file_cannot_vouch_for_itself(tmp_path):
    """A configuration from a stranger can neither trust its own names nor have Hydra construct them."""
    (tmp_path / "theirs/experiment").mkdir(parents=True)
    for name, lines in {
        "trusting": "trust: [os.*]\n",
        "calling": "hydra:\n  callbacks:\n    x: {_target_: numpy.save, file: made, arr: [1]}\n",
    }.items():
        (tmp_path / f"theirs/experiment/{name}.yaml").write_text(f"# @package _global_\n{lines}")
    message = refused(run("--config-dir=theirs", "experiment=trusting", cwd=tmp_path), tmp_path)
    assert message == "trust=['os.*']: is set in a config file; `trust` must be given on the command line\n"
    result = run("--config-dir=theirs", "experiment=calling", "debug=fast", cwd=tmp_path)
    assert result.returncode != 0
    assert "numpy.save" in result.stderr
    assert not list(tmp_path.rglob("made*"))


def tree(folder) -> dict[str, bytes | None]:
    """Everything below a folder: files with their content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.slow
@pytest.mark.parametrize("override", ["seed=-1", "seed=7", "data.source._target_=bert_ft.errors.DataError"])
def test_a_folder_that_was_there_is_left_alone(tmp_path, override):
    """Neither a wrong value nor a sound command nor refused data touch what is in the folder."""
    folder = tmp_path / "mine"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text("seed: 1")
    (folder / "train.log").write_text("keep me")
    before = tree(tmp_path)
    result = run(override, f"hydra.run.dir={folder}", cwd=tmp_path)
    assert result.returncode == 2
    assert tree(tmp_path) == before


def test_empty_folders_that_were_there_stay(tmp_path):
    folder = tmp_path / "a/b/mine"
    folder.mkdir(parents=True)
    run("seed=-1", f"hydra.run.dir={folder}", cwd=tmp_path)
    assert folder.is_dir()


def test_every_value_of_a_sweep_is_judged_before_the_first_job(tmp_path):
    message = refused(run("--multirun", "seed=0,-1,2", "optimizer.lr=1e-4,0", cwd=tmp_path), tmp_path)
    assert "seed=-1: must be an integer ≥ 0" in message
    assert "optimizer.lr=0: must be a number > 0" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_keys_of_a_search_may_belong_to_a_choice():
    """Trials that don't have them aren't given them, which the search sees to."""
    overrides = ["loss=choice(cross_entropy,focal)", "loss.gamma=choice(1.0,2.0)"]
    assert judged("train", ["hydra/sweeper=optuna", *overrides], sweep=True).hydra.sweeper
    assert judged("train", ["hydra/sweeper=optuna", "loss=choice(focal,r_drop)", overrides[1]], sweep=True)
    with pytest.raises(ConfigError, match=r"there is no key loss\.gamma"):
        judged("train", overrides, sweep=True)
    wrong = [
        "loss=choice(cross_entropy,focal)",
        "loss.gamma=choice(1.0,-1.0)",
        "encoder.hidden_dropout=choice(0.1,1.5)",
    ]
    with pytest.raises(ConfigError, match=r"encoder\.hidden_dropout=1\.5: must be"):
        judged("train", ["hydra/sweeper=optuna", *wrong], sweep=True)
    for choice in ("tree", "_terms"):  # a part of other files is none
        with pytest.raises(
            ConfigError, match=rf"loss={choice}: loss has no such choice; it has adversarial, (?!.* _)"
        ):
            judged("train", ["hydra/sweeper=optuna", f"loss=choice(focal,{choice})"], sweep=True)


def test_cfg_with_a_wrong_key_names_it_alone(tmp_path):
    message = refused(run("--cfg", "job", "seeed=1", cwd=tmp_path), tmp_path)
    assert "seeed" in message
    assert "job" not in message


@pytest.mark.slow
def test_predict_leaves_an_empty_folder_alone(tmp_path):
    (tmp_path / "x.csv").write_text("text\nfine\n")
    result = run("bundle=nowhere", "input=x.csv", "output=y.csv", cwd=tmp_path, module="bert_ft.predict")
    assert result.returncode == 2
    assert "bundle=nowhere" in result.stderr
    assert tmp_path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("module", "key"),
    [("bert_ft.train", "batch_size"), ("bert_ft.predict", "batch_size"), ("bert_ft.export", "optimize")],
)
@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_and_cfg_import_nothing_heavy(module, key, flags, tmp_path):
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['{module}', *{flags!r}]\n"
        "try:\n"
        f"    runpy.run_module('{module}', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'lightning', 'transformers', 'datasets', 'numpy', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert key in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["-m", "--cfg", "hydra", "-p", "hydra.sweeper", "hydra/sweeper=optuna"], "n_trials: "),
        (
            ["-m", "--cfg", "job", "-p", "optimizer", "hydra/sweeper=optuna", "optimizer.lr=interval(0.1,1)"],
            "lr: ",
        ),
        (["hydra.mode=MULTIRUN", "--cfg", "job", "-p", "optimizer", "optimizer.lr=0.5,0.25"], "lr: 0.5"),
    ],
)
def test_a_sweep_is_shown_by_its_first_job(monkeypatch, capsys, words, shown):
    monkeypatch.setattr(sys, "argv", ["train", *words])
    main()
    assert shown in capsys.readouterr().out


def test_a_long_range_is_judged_by_its_ends(monkeypatch):
    judged_values = []
    compose = composition._compose

    def composed(name, overrides):
        judged_values.append(next((each for each in overrides if each.startswith("seed=")), None))
        return compose(name, overrides)

    monkeypatch.setattr(composition, "_compose", composed)
    judged("train", ["seed=range(0,100000)"], sweep=True)
    assert [value for value in judged_values if value] == ["seed=0", "seed=99999"]


def test_a_conditional_key_is_set_where_it_exists():
    words = ["hydra/sweeper=optuna", "pretrain=choice(none,mlm)", "pretrain.trainer.max_epochs=1", "seed=3"]
    assert composition.with_conditional_choices("train", words) == [
        *words[:2],
        "pretrain.trainer.max_epochs=choice(1)",
        "seed=3",
    ]
    assert composition.with_conditional_choices("train", words[1:]) == words[1:]


@pytest.mark.parametrize(
    "error",
    [ConfigKeyError("no such key"), StorageInternalError("gone"), OperationalError("SELECT", {}, None)],
)
def test_errors_of_libraries_are_one_line(monkeypatch, capsys, error):
    def fail(*_, **settings):
        raise error

    monkeypatch.setattr(composition, "judged", fail)
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("(HYDRA_FULL_ERROR=1 shows where)")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)):
        main()
