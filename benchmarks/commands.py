"""Commands as processes of their own, with the processor time that they took."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence

_here = False  # this process is one of a warm server's, and runs a command itself


def finished(command: Sequence[str]) -> tuple[str, float]:
    """What ``python -m module ...`` printed, run on one thread, and the processor time that it took in seconds.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    if _here:
        return _run_here(command[2], command[3:])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        # not of all children (resource.getrusage): others run at the same time
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (output, errors):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{output.read()[-3000:]}\n{errors.read()[-3000:]}")
        return output.read(), usage.ru_utime + usage.ru_stime


def run_commands_here() -> None:
    """Let ``finished`` run commands in this process, which has been forked for them from one that is prepared."""
    global _here
    _here = True


def _run_here(module: str, arguments: Sequence[str]) -> tuple[str, float]:
    output, began = io.StringIO(), _processor_seconds()
    sys.argv = [module, *arguments]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            runpy.run_module(module, run_name="__main__")
    except BaseException as error:
        raise RuntimeError(
            f"{module} {' '.join(arguments)}\n{output.getvalue()[-3000:]}\n{error!r}"
        ) from error
    return output.getvalue(), _processor_seconds() - began


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
