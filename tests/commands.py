"""Commands in processes of their own, forked from one that has imported the package: importing takes longer than most tests.

What depends on the start of a process (signals during imports, variables that libraries read when they are loaded) needs a real one.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pkgutil
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import bert_ft

_COMMANDS = {"train", "pretrain", "evaluate", "predict", "export", "report"}
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        module.name
        for module in pkgutil.walk_packages(bert_ft.__path__, "bert_ft.")
        if module.name.removeprefix("bert_ft.") not in _COMMANDS
    ]
)


def run(
    module: str,
    *words: object,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,  # seconds
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module words``, or ``python module words`` for a path, in the folder ``cwd``, in the environment ``env`` (default: this process's)."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (
            module,
            [str(word) for word in words],
            str(cwd),
            dict(os.environ if env is None else env),
            folder,
        )
        process = _CONTEXT.Process(target=_run, args=arguments)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{module} {' '.join(arguments[1])}: still running after {timeout} s")
        shown = [Path(folder, name).read_text("utf-8") for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess([module, *arguments[1]], process.exitcode, *shown)


def _run(module: str, words: list[str], cwd: str, env: dict[str, str], folder: str) -> None:
    for number, name in enumerate(("stdout", "stderr"), start=1):
        file = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
        stream = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(stream, "utf-8", write_through=True))
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    script = module if module.endswith(".py") else None
    sys.path[:0] = [
        os.path.dirname(script) if script else cwd,
        *(path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path),
    ]
    sys.argv[:] = [module, *words]
    if script:
        runpy.run_path(script, run_name="__main__")
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
