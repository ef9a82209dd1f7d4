"""A PostgreSQL server of the test's own, on a loopback port."""

import glob
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def reason_to_skip() -> str | None:
    """Why there can be no server here; ``None`` where there can."""
    if _binary("initdb") is None or _binary("pg_ctl") is None:
        return "PostgreSQL isn't installed (Debian's package postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "the driver psycopg isn't installed"
    if os.getuid() == 0 and _other_user() is None:
        return "PostgreSQL refuses to run as root, and there is no other user"
    return None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Its address, while it runs."""
    data, port = folder / "data", _free_port()
    data.mkdir()
    if os.getuid() == 0:
        for path in (folder, data):
            shutil.chown(path, _other_user())
        for parent in folder.parents:  # pytest keeps its folders to itself
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    _run(_binary("initdb"), "--pgdata", str(data), "--username", "tester", "--auth", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        _run(_binary("pg_ctl"), "start", "-w", "-D", str(data), "-o", options, "-l", str(folder / "log"))
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        _run(_binary("pg_ctl"), "stop", "-m", "immediate", "-D", str(data))


def _run(*words: str) -> None:
    as_other = ["setpriv", "--reuid", _other_user(), "--clear-groups"] if os.getuid() == 0 else []
    done = subprocess.run([*as_other, *words], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


def _binary(name: str) -> str | None:
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name)


def _other_user() -> str | None:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
