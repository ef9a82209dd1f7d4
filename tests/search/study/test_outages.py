"""The database is out of reach for a while: the search waits, says so, and ends with one line if it takes too long."""

import logging
import sqlite3
import threading
import time

import optuna
import pytest
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from bert_ft.compat.optuna import engine_of
from bert_ft.errors import ConfigError, OutageError, SearchError
from bert_ft.search.study import outages, storage
from bert_ft.search.study.outages import reason_of_outage, repeated
from bert_ft.search.study.storage import close, find_study, open_storage
from tests.search.study import servers
from tests.search.sweeping import counts, start, study_in


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(outages, "SECONDS_BETWEEN", 0.02)
    monkeypatch.setattr(storage, "WAIT_SECONDS", 0.1)


def failing(times: int, error: Exception):
    left = [error] * times

    def call():
        if left:
            raise left.pop()
        return "answer"

    return call


def locked() -> sqlalchemy.exc.OperationalError:
    return sqlalchemy.exc.OperationalError("UPDATE", {}, sqlite3.OperationalError("database is locked"))


def test_an_outage_is_waited_for_and_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert repeated(failing(3, locked())) == "answer"
    first, last = [record.message for record in caplog.records]
    assert "can't be used: database is locked; waiting for it, at most 10 minutes" in first
    assert "can be used again" in last


def test_a_long_outage_is_one_line(monkeypatch):
    monkeypatch.setattr(outages, "MOST_SECONDS", 0.1)
    with pytest.raises(
        OutageError, match=r"^The database of the search can't be used for .*: database is locked$"
    ):
        repeated(failing(99, locked()))


def test_what_does_not_pass_by_itself_is_not_repeated():
    wrong = sqlalchemy.exc.OperationalError("SELECT", {}, sqlite3.OperationalError("no such table: trials"))
    with pytest.raises(sqlalchemy.exc.OperationalError):
        repeated(failing(1, wrong))
    with pytest.raises(KeyError):
        repeated(failing(1, KeyError("x")))


def test_optunas_words_hide_the_reason():
    error = StorageInternalError("An exception is raised during the commit, e.g. exceeding max length.")
    error.__cause__ = locked()
    assert reason_of_outage(error) == "database is locked"


def test_a_locked_file(tmp_path):
    opened = open_storage(f"sqlite:///{tmp_path / 'study.db'}", create=True)
    study = optuna.create_study(study_name="study", storage=opened)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.6, lambda: other.execute("COMMIT")).start()
    study.set_user_attr("written", True)
    assert study.user_attrs == {"written": True}
    other.close()
    close(opened)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("text,label\n" * 500)
    with pytest.raises(ConfigError, match=r"^storage=sqlite:.*: can't be used: file is not a database$"):
        find_study(None, f"sqlite:///{path}")


def test_a_closed_file_is_whole_while_others_have_it_open(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    opened, worker = open_storage(url, create=True), open_storage(url)
    optuna.create_study(study_name="study", storage=opened).add_trial(optuna.trial.create_trial(value=1.0))
    assert optuna.load_study(study_name="study", storage=worker).trials
    close(opened)
    (tmp_path / "copy.db").write_bytes((tmp_path / "study.db").read_bytes())
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    close(worker)


@pytest.mark.slow
@pytest.mark.skipif(
    bool(servers.reason_to_skip("postgresql")), reason=str(servers.reason_to_skip("postgresql"))
)
def test_a_server_is_restarted_in_the_middle(tmp_path):
    place = tmp_path / "server"
    place.mkdir()
    folder = tmp_path / "search"
    with servers.server("postgresql", place) as url:
        words = [f"hydra.sweeper.storage={url}", "hydra.sweeper.n_trials=8", "seconds=1"]
        with start(folder, *words) as process:
            while not (folder / "2" / "began").exists():
                assert process.poll() is None
                time.sleep(0.05)
            with servers.postgresql_stopped(place / "data"):
                assert any("waiting for it" in line for line in process.stdout)
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        study = study_in(folder, url)
        assert counts(study) == {"complete": 8}
        engine_of(study._storage).dispose()


def test_a_deleted_file_ends_the_search(tmp_path):
    """An open connection goes on writing to it, so that all trials since then would be lost without a word."""
    path = tmp_path / "study.db"
    opened = open_storage(f"sqlite:///{path}", create=True)
    with storage.locked(opened, "study"):
        pass
    path.unlink()
    with pytest.raises(SearchError, match=r"study\.db: the file has been deleted during the search"):
        storage.locked(opened, "study")
    sqlite3.connect(path).close()
    with pytest.raises(SearchError, match="deleted"):
        storage.locked(opened, "study")
    close(opened)
