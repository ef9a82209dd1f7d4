"""The database of studies: settings that several processes need, and a lock for claiming trials."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bert_ft.compat.optuna import CachedStorage, cached, database_of, engine_of
from bert_ft.errors import ConfigError, SearchError, in_one_line
from bert_ft.search.study.outages import repeated

KEY = "hydra.sweeper.storage"
DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")
WAIT_SECONDS = (
    10  # for another process that writes; each write takes milliseconds, and `repeated` waits for longer
)
CONNECT_SECONDS = 10
_EXAMPLES = "e.g. sqlite:///outputs/optuna.db, postgresql://user:password@host/database"
_CLOCKS = {
    "postgresql": "SELECT extract(epoch from clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


def absolute_url(url: str, folder: Path) -> str:
    """Return the address; the relative path of a SQLite file becomes absolute, starting from ``folder``.

    Raises:
        ConfigError: it isn't the address of a supported database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"{KEY}={url}: isn't the address of a database; {_EXAMPLES}") from error
    if parsed.get_backend_name() not in DIALECTS:
        raise ConfigError(f"{KEY}={without_password(url)}: must be SQLite, PostgreSQL or MySQL; {_EXAMPLES}")
    if parsed.get_backend_name() != "sqlite":
        return url
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"{KEY}={url}: workers can't reach another process's memory; {_EXAMPLES}")
    path = Path(folder, parsed.database).absolute()
    return parsed.set(database=str(path)).render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """Return the address for a message."""
    return make_url(url).render_as_string(hide_password=True)


def open_storage(url: str, *, create: bool = False, patient: bool = False) -> CachedStorage:
    """Return the database at ``url``; ``create`` makes its tables if they don't exist.

    Later calls wait for an outage to end; with ``patient``, opening waits as well.

    Raises:
        ConfigError: it can't be reached, its driver isn't installed, or another version of Optuna made it.
    """
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite"
    if is_file and not create and not Path(str(parsed.database)).is_file():
        raise ConfigError(f"{KEY}={url}: no such file")

    def connect() -> CachedStorage:
        if is_file:
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        with _tables_locked(parsed) if create else nullcontext():
            storage = RDBStorage(
                url,
                engine_kwargs=_engine_settings(parsed),
                # every worker opens it, after the parent has checked it
                skip_table_creation=not create,
                skip_compatibility_check=not create,
            )
        engine = engine_of(storage)
        if is_file:
            sqlalchemy.event.listen(engine, "connect", _write_quickly)
        with engine.connect() as connection:
            if is_file and create:  # readers and a writer don't wait for each other; the file remembers it
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        return cached(storage, repeated)

    try:
        return repeated(connect) if patient else connect()
    except ImportError as error:
        extra = "postgresql" if parsed.get_backend_name() == "postgresql" else "mysql"
        raise ConfigError(
            f"{KEY}={without_password(url)}: its driver isn't installed; pip install 'bert_ft[{extra}]'"
        ) from error
    except (SQLAlchemyError, OptunaError, RuntimeError, OSError, sqlite3.Error) as error:
        raise ConfigError(f"{KEY}={without_password(url)}: can't be used: {in_one_line(error)}") from error


def find_study(name: str | None, url: str) -> optuna.Study:
    """Return the named study, or the only one, of the database at ``url``, to be read.

    Raises:
        ConfigError: the database can't be used, or doesn't hold that study.
    """
    try:
        storage = open_storage(absolute_url(url, Path.cwd()))
        names = sorted(study.study_name for study in storage.get_all_studies())
    except ConfigError as error:  # that message names the sweep's key
        raise ConfigError(str(error).replace(f"{KEY}=", "storage=", 1)) from error
    except (SQLAlchemyError, OptunaError) as error:  # e.g. a file that is no database
        raise ConfigError(f"storage={without_password(url)}: can't be used: {in_one_line(error)}") from error
    shown = without_password(url)
    if not names:
        raise ConfigError(f"storage={shown}: holds no study yet")
    if name is None and len(names) > 1:
        raise ConfigError(f"study_name: required, since storage={shown} holds several: {', '.join(names)}")
    if name is not None and name not in names:
        raise ConfigError(f"study_name={name}: isn't in storage={shown}, which holds {', '.join(names)}")
    return optuna.load_study(study_name=name or names[0], storage=storage)


@contextmanager
def _tables_locked(url: URL) -> Iterator[None]:
    """Lock the tables' creation: Optuna checks for tables, then makes them, so one of two processes would fail."""
    engine = sqlalchemy.create_engine(url, **_engine_settings(url))
    try:
        with _locked(engine, "tables"):
            yield
    finally:
        engine.dispose()


def close(storage: CachedStorage) -> None:
    """Close the connections; a SQLite file is then complete by itself."""
    database_of(storage).remove_session()
    engine = engine_of(storage)
    if engine.dialect.name == "sqlite":
        # the last one to close a connection does this too, but a launcher's workers may live longer than the search
        with suppress(SQLAlchemyError), engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _engine_settings(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": WAIT_SECONDS}}
    # the server may close a connection that is idle during a trial
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if "connect_timeout" not in url.query and not url.get_driver_name().startswith("pg8000"):
        settings["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
    return settings


def _write_quickly(connection: Any, record: Any) -> None:
    """Don't wait for the disk at each of a trial's twenty writes; a process that dies still loses nothing."""
    connection.execute("PRAGMA synchronous=NORMAL")


def locked(storage: CachedStorage, study_name: str) -> AbstractContextManager[None]:
    """Keep all other processes, on any machine, out of the block for the same study.

    The system or the server releases the lock of a process that dies. A lock on the study's row wouldn't work: Optuna
    takes that one itself, over another connection.

    Raises:
        SearchError: the database was a file that has been deleted; an open connection would not notice.
    """
    engine = engine_of(storage)
    if engine.dialect.name == "sqlite" and not _has_content(Path(str(engine.url.database))):
        raise SearchError(
            f"{KEY}={engine.url}: the file has been deleted during the search; put it back to continue"
        )
    return _locked(engine, study_name)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a new connection makes an empty file
    except FileNotFoundError:
        return False


@contextmanager
def _locked(engine: sqlalchemy.Engine, name: str) -> Iterator[None]:
    backend = engine.dialect.name
    if backend == "sqlite":
        # the system releases it when its process dies; a process forked inside doesn't inherit it
        lock = FileLock(f"{engine.url.database}.lock")
        repeated(lambda: lock.acquire(poll_interval=0.01))
        try:
            yield
        finally:
            lock.release()
        return
    key = zlib.crc32(f"bert_ft {name}".encode())
    if backend == "postgresql":
        take, give = f"SELECT pg_advisory_lock({key})", f"SELECT pg_advisory_unlock({key})"
    else:
        # only MySQL can wait forever: MariaDB returns NULL for a timeout of -1
        take, give = f"SELECT GET_LOCK('bert_ft {key}', 60)", f"SELECT RELEASE_LOCK('bert_ft {key}')"
    connection = repeated(lambda: _connected(engine, take))
    try:
        yield
    finally:
        # a server that has been restarted has released it
        with suppress(SQLAlchemyError):
            connection.exec_driver_sql(give)
        with suppress(SQLAlchemyError):
            connection.close()


def _connected(engine: sqlalchemy.Engine, take: str) -> sqlalchemy.Connection:
    """Return a connection that holds the lock."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        taken = connection.exec_driver_sql(take).scalar_one()
        while taken == 0:  # another process has held it for a minute
            taken = connection.exec_driver_sql(take).scalar_one()
        if engine.dialect.name != "postgresql" and taken != 1:
            raise ConfigError(f"{KEY}={engine.url}: the database server did not grant the lock")
    except BaseException:
        connection.close()
        raise
    return connection


def now(storage: CachedStorage) -> float:
    """Return seconds on the clock that all processes of a study share: the database's."""
    engine = engine_of(storage)
    query = _CLOCKS.get(engine.dialect.name, "SELECT unix_timestamp(now(3))")

    def read() -> float:
        with engine.connect() as connection:
            return float(connection.exec_driver_sql(query).scalar_one())

    return repeated(read)
