"""What a trial's own process does: compose the configuration, claim a folder, run the task, say what came of it."""

from __future__ import annotations

import os
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
from bert_ft.compat.hydra import returned, set_hydra_config
from bert_ft.search.processes import start_of
from bert_ft.search.trials.failures import objective_values, reason_of_error
from bert_ft.search.trials.fork_server import Send
from bert_ft.search.trials.resources import Slot
from bert_ft.search.trials.trial_link import VARIABLE, TrialAddress


@dataclass(frozen=True)
class Sweep:
    """What Hydra gives a sweeper.

    Attributes:
        config: of the sweep, Hydra's part included.
        hydra_context: composes the configurations of jobs.
        task: the function to run.
        num_objectives: how many values it returns.
    """

    config: DictConfig
    hydra_context: HydraContext
    task: TaskFunction
    num_objectives: int = 1

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job."""
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def run_trial(
        self, *, number: int, overrides: Sequence[str], address: str, slot: dict[str, Any], send: Send
    ) -> None:
        """Run the trial of that number in this process, which has been forked for it, and send what came of it.

        Messages: ``folder``; then ``values``, ``pruned`` or ``reason``.
        """
        Slot(**slot).take()
        try:
            config = self.compose(overrides)
            os.environ[VARIABLE] = TrialAddress.from_text(address).with_pruner_of(config).to_text()
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.job.id = str(number)
                config.hydra.job.num = number
            folder = claim_folder(config)
            send({"folder": str(folder), "pid": os.getpid(), "pid_started": start_of(os.getpid())})
            _print_into(folder / layout.CONSOLE_FILE)
            send(self._outcome(config))
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
        came_back = returned(result)
        if result.status != JobStatus.COMPLETED and not isinstance(came_back, optuna.TrialPruned):
            traceback.print_exception(came_back)
        return outcome(came_back, self.num_objectives)


def outcome(returned: Any, num_objectives: int) -> dict[str, Any]:
    """What came of a trial by what its task has returned or raised: ``values``, ``pruned`` or ``reason``."""
    if isinstance(returned, optuna.TrialPruned):
        return {"pruned": True}
    if isinstance(returned, BaseException):
        return {"reason": reason_of_error(returned)}
    try:
        return {"values": objective_values(returned, num_objectives)}
    except ValueError as error:
        return {"reason": str(error)[:500]}


def claim_folder(config: DictConfig) -> Path:
    """A new folder for the job, the one that ``hydra.sweep`` names, or that with a number if it is there already."""
    set_hydra_config(config)  # its name may have to do with anything in there
    sweep = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
    name = str(OmegaConf.select(config, "hydra.sweep.subdir"))
    wanted, path, number = sweep / name, sweep / name, 1
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            path.mkdir()
            break
        except FileExistsError:
            number += 1
            path = wanted.with_name(f"{wanted.name}_{number}")
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.subdir = str(path.relative_to(sweep))
    return path.absolute()


def _print_into(path: Path) -> None:
    """Let this process, and those that it starts, print into a file: several at a time would mix their lines."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
