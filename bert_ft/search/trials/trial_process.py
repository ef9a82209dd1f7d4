"""Run a trial in its own process: compose the configuration, claim a folder, run the task, report its outcome."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bert_ft import layout
from bert_ft.atomic_file import new_folder
from bert_ft.compat.hydra import returned, set_hydra_config
from bert_ft.errors import Interrupted, OutageError, TrialLostError
from bert_ft.search.processes import start_of
from bert_ft.search.trials.failures import objective_values, reason_of_error
from bert_ft.search.trials.fork_server import Send
from bert_ft.search.trials.resources import Slot
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress

OUTCOMES = {"values", "pruned", "reason", "lost"}
# errors of a disk that is full or gone
_OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE}


@dataclass(frozen=True)
class Sweep:
    """The objects that Hydra passes to a sweeper."""

    config: DictConfig  # of the sweep, with Hydra's part
    hydra_context: HydraContext  # composes the configurations of jobs
    task: TaskFunction
    num_objectives: int

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the configuration of a job."""
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def run_trial(
        self, *, number: int, overrides: Sequence[str], address: str | None, slot: dict[str, Any], send: Send
    ) -> None:
        """Run a trial in this process, which was forked for it, and send ``folder``, then one of ``OUTCOMES``.

        Without ``address`` it is a run beside the study, which is never pruned.
        """
        Slot(**slot).take()
        try:
            config = self.compose(overrides)
            if address is not None:
                os.environ[VARIABLE] = TrialAddress.from_text(address).with_pruner_of(config).to_text()
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.job.id = str(number)
                config.hydra.job.num = number
            folder = claim_folder(config)
            send({"folder": str(folder), "pid": os.getpid(), "pid_started": start_of(os.getpid())})
            _print_into(folder / layout.CONSOLE_FILE)
            send(self._outcome(config))
        except (Interrupted, KeyboardInterrupt):
            # the task has taken the signal; without an outcome the trial counts as killed by it
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            traceback.print_exc()
            send({"reason": reason_of_error(error)})

    def _outcome(self, config: DictConfig) -> dict[str, Any]:
        result = run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.hydra_context,
        )
        value = returned(result)
        if result.status != JobStatus.COMPLETED and not isinstance(value, optuna.TrialPruned):
            traceback.print_exception(value)
        return outcome(value, self.num_objectives)


def outcome(returned: Any, num_objectives: int) -> dict[str, Any]:
    """Return one of ``OUTCOMES`` for a task's return value or exception."""
    if isinstance(returned, optuna.TrialPruned):
        return {"pruned": True}
    if isinstance(returned, OutageError | TrialLostError) or getattr(returned, "errno", None) in _OF_A_DISK:
        return {"lost": str(returned)[:500]}  # no fault of its settings
    if isinstance(returned, BaseException):
        return {"reason": reason_of_error(returned)}
    try:
        return {"values": objective_values(returned, num_objectives)}
    except ValueError as error:
        return {"reason": str(error)[:500]}


def claim_folder(config: DictConfig) -> Path:
    """Create and return the job's folder: as ``hydra.sweep`` names it, with a number added if that one exists."""
    set_hydra_config(config)  # the name may contain ${hydra:...}
    sweep = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
    path = new_folder(sweep / str(OmegaConf.select(config, "hydra.sweep.subdir")))
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.subdir = str(path.relative_to(sweep))
    return path.absolute()


def _print_into(path: Path) -> None:
    """Redirect the output of this process and its children to a file: several trials would mix their lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
