"""Searches of a cheap task, in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
from optuna.trial import TrialState

from bert_ft.search.study.trial_queue import is_lost
from tests import commands

TASK = Path(__file__).parent / "cheap" / "task.py"


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, str(TASK), "--multirun", f"hydra.sweep.dir={folder}", *overrides]


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(folder, *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder.parent,
    )


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    _, script, *words = command(folder, *overrides)
    return commands.run(script, *words, cwd=folder.parent, timeout=120)


def study_in(folder: Path, url: str | None = None) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=url or f"sqlite:///{folder / 'study.db'}")


def counts(study: optuna.Study) -> dict[str, int]:
    """Trials by state; those that are run again by themselves."""
    trials = study.get_trials(deepcopy=False)
    found = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    found["lost"] = sum(map(is_lost, trials))
    return {name: number for name, number in found.items() if number}


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def workers(parent: int) -> list[int]:
    """The processes of the trials that a search runs: its grandchildren."""
    return [worker for server in children(parent) for worker in children(server)]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, signal.SIGKILL)


def wait_until_gone(pids: list[int]) -> None:
    """Wait for the end of trials, which must not outlive their search; a killed process needs a moment."""
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < until, "a trial outlives its search"
        time.sleep(0.01)
