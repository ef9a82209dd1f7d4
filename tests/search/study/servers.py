"""Database servers of the test's own, on a loopback port."""

import glob
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

NEEDED = {
    "postgresql": (("initdb", "pg_ctl"), "psycopg", "postgres"),
    "mariadb": (("mariadb-install-db", "mariadbd"), "pymysql", "mysql"),
}  # name → programs, driver, and the user that Debian makes for it


def reason_to_skip(name: str) -> str | None:
    """Why there can be no such server here; ``None`` where there can."""
    programs, driver, _ = NEEDED[name]
    if any(_binary(program) is None for program in programs):
        return f"{name} isn't installed (its Debian package)"
    if importlib.util.find_spec(driver) is None:
        return f"the driver {driver} isn't installed"
    if os.getuid() == 0 and _other_user(name) is None:
        return f"{name} refuses to run as root, and there is no other user"
    return None


@contextmanager
def server(name: str, folder: Path) -> Iterator[str]:
    """Its address, while it runs."""
    if os.getuid() == 0:
        shutil.chown(folder, _other_user(name))
        for parent in folder.parents:  # pytest keeps its folders to itself
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    with {"postgresql": _postgresql, "mariadb": _mariadb}[name](folder / "data", _free_port()) as url:
        yield url


@contextmanager
def _postgresql(data: Path, port: int) -> Iterator[str]:
    def run(program: str, *words: str) -> None:
        done = subprocess.run(
            [*_as_other("postgresql"), _binary(program), *words], capture_output=True, text=True, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "--pgdata", str(data), "--username", "tester", "--auth", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        run("pg_ctl", "start", "-w", "-D", str(data), "-o", options, "-l", f"{data}.log")
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "-m", "immediate", "-D", str(data))


@contextmanager
def postgresql_stopped(data: Path) -> Iterator[None]:
    """Inside the context the server is stopped; it comes back on its port."""
    program = [*_as_other("postgresql"), _binary("pg_ctl"), "-D", str(data)]
    given = (data / "postmaster.opts").read_text().partition(" ")[2].replace('"', "")  # as it was started
    options = given.partition("-p ")[2]
    subprocess.run([*program, "stop", "-m", "immediate"], check=True, capture_output=True, cwd="/")
    yield
    words = ["start", "-w", "-o", f"-p {options}", "-l", f"{data}.log"]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextmanager
def _mariadb(data: Path, port: int) -> Iterator[str]:
    common = ["--no-defaults", f"--datadir={data}"]
    made = [_binary("mariadb-install-db"), *common, "--auth-root-authentication-method=normal"]
    done = subprocess.run([*_as_other("mariadb"), *made], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    with TemporaryDirectory() as short:  # a socket's path can't be long
        if os.getuid() == 0:
            shutil.chown(short, _other_user("mariadb"))
        options = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={short}/socket"]
        running = subprocess.Popen(
            [*_as_other("mariadb"), _binary("mariadbd"), *common, *options, f"--pid-file={short}/pid"],
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        try:
            _make_database(port, running)
            yield f"mysql+pymysql://root@127.0.0.1:{port}/searches"
        finally:
            running.kill()
            running.communicate()


def _make_database(port: int, server: subprocess.Popen) -> None:
    """As soon as the server answers."""
    import pymysql

    until = time.monotonic() + 60
    while True:
        try:
            connection = pymysql.connect(host="127.0.0.1", port=port, user="root")
            break
        except pymysql.OperationalError:
            assert server.poll() is None, server.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE searches")


def _as_other(name: str) -> list[str]:
    return ["setpriv", "--reuid", _other_user(name), "--clear-groups"] if os.getuid() == 0 else []


def _binary(name: str) -> str | None:
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _other_user(name: str) -> str | None:
    for user in (NEEDED[name][2], "nobody"):
        try:
            pwd.getpwnam(user)
            return user
        except KeyError:
            continue
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
