"""Two processes that work together, as forks of the test's own: what a command would import they have already."""

import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def in_two(function: Callable[[int], object], folder: Path) -> str:
    """Run ``function(0)`` and ``function(1)`` as Lightning's processes of that rank; what they wrote to stderr.

    Collectives have threads, which a fork lacks: nothing distributed may have run in the test's own process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [_fork(function, rank, port, folder / f"stderr_{rank}.txt") for rank in range(2)]
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
    errors = "\n".join((folder / f"stderr_{rank}.txt").read_text() for rank in range(2))
    assert ended == [0, 0], errors[-6000:]
    return errors


def _fork(function: Callable[[int], object], rank: int, port: int, errors: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with errors.open("w") as file:
            os.dup2(file.fileno(), 2)
            sys.stderr = file
            os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            with warnings.catch_warnings():
                warnings.simplefilter("default")  # as in a command
                try:
                    function(rank)
                    status = 0
                except BaseException:
                    traceback.print_exc()
    finally:
        os._exit(status)  # neither pytest nor what the parent will do at its exit
