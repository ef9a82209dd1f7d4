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
def test_the_sweeps_folder_is_the_default_and_a_study_that_runs_stays_unchanged(here, storage, capsys):
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{here}/optuna.db")
    study.ask()
    before = [(trial.state, trial.user_attrs) for trial in study.get_trials()]
    report("study_name=mine", f"storage={storage}")
    assert capsys.readouterr().out == f"report written: {here}/sweep/study.html\n"
    assert (here / "sweep/study.html").exists()
    report(f"storage={storage}", "folder=new/one")  # the only study needs no name
    assert (here / "new/one/study.html").exists()
    assert (here / "new/one/best.yaml").exists()
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{here}/optuna.db")
    assert [(trial.state, trial.user_attrs) for trial in study.get_trials()] == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "run: required; give the folder of a run, or the study_name and storage of a search"),
        (
            ["study_name=mine"],
            "storage: required with study_name=mine; give e.g. sqlite:///outputs/optuna.db",
        ),
        (
            ["run=x", "storage=sqlite:///a.db"],
            "storage=sqlite:///a.db: belongs to a search, but run=x is also set",
        ),
        (["run=x", "folder=y"], "folder=y: belongs to a search"),
        (["storage=sqlite:///nothing.db"], "/nothing.db: no such file"),
        (["storage=optuna.db"], "storage=optuna.db: isn't the address of a database"),
    ],
)
def test_wrong_overrides(here, overrides, message):
    with pytest.raises(ConfigError) as refusal:
        report(*overrides)
    assert message in str(refusal.value)
    assert list(here.iterdir()) == []  # looking creates no database


def test_wrong_studies(here, storage):
    def refused(*overrides, match):
        with pytest.raises(ConfigError, match=match):
            report(*overrides, f"storage={storage}")

    refused(
        "study_name=no", match=r"^study_name=no: isn't in storage=sqlite:///optuna\.db, which holds mine$"
    )
    new_study(here, "foreign")
    refused(match=r"^study_name: required, .* holds several: foreign, mine$")
    refused("study_name=foreign", match=r"^folder: required, since study_name=foreign doesn't record one$")
    (here / "sweep").rmdir()
    refused(
        "study_name=mine", match=r"^folder: required, since \S+/sweep, the folder of study_name=mine, doesn't"
    )


@pytest.mark.parametrize("content", ["", "a long text " * 50])
def test_a_file_that_is_no_database_of_studies(here, content):
    (here / "other.db").write_text(content)
    with pytest.raises(ConfigError, match=r"^storage=\S*other\.db: can't be used: "):
        report("storage=sqlite:///other.db")
