"""Commands as processes of their own, with the processor time that they took."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence


def finished(command: Sequence[str]) -> tuple[str, float]:
    """What the command printed, run on one thread, and the processor time that it took in seconds.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
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
