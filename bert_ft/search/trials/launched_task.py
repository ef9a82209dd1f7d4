"""A task in the worker of another launcher. Its outcome is stored at once, since the launcher may lose it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import TaskFunction
from omegaconf import DictConfig
from optuna import TrialPruned

from bert_ft.errors import TrialLostError
from bert_ft.search.processes import start_of
from bert_ft.search.trials.trial_link import current_trial
from bert_ft.search.trials.trial_process import outcome

OUTCOME = "outcome"  # attribute of a trial: what its process has stored
_SECONDS_BETWEEN_LOOKS = 2.0


class LaunchedTask:
    """Runs a task, stores the trial's process and outcome, and dies with the search.

    A launcher that loses one worker ends the others and forgets what they have returned (joblib), or starts the job of a
    killed worker again by itself (ray). In the first case the outcomes are in the study; the second is
    refused.
    """

    def __init__(self, task: TaskFunction) -> None:
        self._task = task

    def __call__(self, config: DictConfig) -> Any:
        link = current_trial()
        if link is None:
            return self._task(config)
        try:
            noted = link.attributes()
            if "pid" in noted:
                raise TrialLostError("its process was killed, and the launcher started it again")
            pid = os.getpid()
            link.note(pid=pid, pid_started=start_of(pid), folder=HydraConfig.get().runtime.output_dir)
            _end_with(link.address.search)
            try:
                returned = self._task(config)
            except (Exception, TrialPruned) as error:
                link.note(**{OUTCOME: outcome(error, link.num_objectives)})
                raise
            link.note(**{OUTCOME: outcome(returned, link.num_objectives)})
            return returned
        finally:
            link.close()


def _end_with(search: Sequence[Any] | None) -> None:
    """End this process when the search's process ends, if that is visible from here."""
    if search is None or search[0] == os.getpid() or start_of(search[0]) != search[1]:
        return

    def look() -> None:
        while start_of(search[0]) == search[1]:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
