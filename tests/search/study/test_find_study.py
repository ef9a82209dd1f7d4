"""``bert_ft.report`` for a search: which study, and where to."""

import hydra
import optuna
import pytest

from bert_ft.config.paths import conf_dir
from bert_ft.errors import ConfigError
from bert_ft.report import main
from bert_ft.search.study.storage import open_storage


def report(*overrides: str) -> None:
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        config = hydra.compose("report", list(overrides))
    main(config)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def storage(here):
    """A database that holds one study with a folder of its own."""
    (here / "sweep").mkdir()
    study = new_study(here, "mine")
    study.set_user_attr("folder", str(here / "sweep"))
    return "sqlite:///optuna.db"


def new_study(folder, name: str) -> optuna.Study:
    storage = open_storage(f"sqlite:///{folder}/optuna.db", create=True)
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    study.tell(trial, 0.5)
    return study


@pytest.mark.slow
def test_the_sweeps_own_folder_is_taken_and_a_given_one_instead(here, storage, capsys):
    report("study_name=mine", f"storage={storage}")
    assert capsys.readouterr().out == f"report written: {here}/sweep/study.html\n"
    assert (here / "sweep/study.html").exists()
    report(f"storage={storage}", "folder=new/one")  # the only study needs no name
    assert (here / "new/one/study.html").exists()
    assert (here / "new/one/best.yaml").exists()


@pytest.mark.slow
def test_a_study_that_still_runs_is_only_looked_at(here, storage):
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{here}/optuna.db")
    running = study.ask()
    before = [(trial.state, trial.user_attrs) for trial in study.get_trials()]
    report(f"storage={storage}")
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{here}/optuna.db")
    assert [(trial.state, trial.user_attrs) for trial in study.get_trials()] == before
    study.tell(running, 0.7)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"^run: required; give the folder of a run, or study_name and storage of a search$"),
        (["study_name=mine"], r"^storage: required with study_name=mine; give e\.g\. sqlite:///optuna\.db$"),
        (
            ["run=x", "storage=sqlite:///a.db"],
            r"^storage=sqlite:///a\.db: run=x is given too, which is no search",
        ),
        (["run=x", "folder=y"], r"^folder=y: run=x is given too"),
        (["storage=sqlite:///nothing.db"], r"^storage=sqlite:///\S+/nothing\.db: no such file"),
        (["storage=optuna.db"], r"^storage=optuna\.db: isn't the address of a database"),
    ],
)
def test_what_is_missing_or_contradicts_is_said(here, overrides, message):
    with pytest.raises(ConfigError, match=message):
        report(*overrides)
    assert list(here.iterdir()) == []  # no database is made by looking


def test_a_name_that_is_not_there(here, storage):
    with pytest.raises(
        ConfigError,
        match=r"^study_name=other: storage=sqlite:///optuna\.db has none of that name; it has mine$",
    ):
        report("study_name=other", f"storage={storage}")


def test_one_of_several_has_to_be_named(here, storage):
    new_study(here, "another")
    with pytest.raises(ConfigError, match=r"^study_name: required, .* holds several: another, mine$"):
        report(f"storage={storage}")


def test_a_study_without_a_folder_that_is_there(here, storage):
    new_study(here, "foreign")
    with pytest.raises(
        ConfigError, match=r"^folder: required, for study_name=foreign has noted none of its own$"
    ):
        report("study_name=foreign", f"storage={storage}")
    (here / "sweep").rmdir()
    with pytest.raises(
        ConfigError, match=r"^folder: required, for \S+/sweep, which study_name=mine wrote to"
    ):
        report("study_name=mine", f"storage={storage}")


def test_a_file_that_is_no_database_of_studies(here):
    import sqlite3

    sqlite3.connect(here / "other.db").close()
    (here / "text.db").write_text("not a database, but a text of some length " * 50)
    for name in ("other", "text"):
        with pytest.raises(ConfigError, match=rf"^storage=\S*{name}\.db: "):
            report(f"storage=sqlite:///{name}.db")
