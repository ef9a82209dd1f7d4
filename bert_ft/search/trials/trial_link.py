"""From inside a trial to its study: what it has reached so far, and whether it should be pruned.

A trial's process finds its study, and the settings of its pruner, by an environment variable, whoever launched it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler

from bert_ft.compat.optuna import running_trial
from bert_ft.search.settings import plain_values
from bert_ft.search.space.samplers import build_pruner
from bert_ft.search.study.storage import open_storage
from bert_ft.search.trials.trial_pruning import should_prune

VARIABLE = "BERT_FT_TRIAL"


@dataclass(frozen=True)
class TrialAddress:
    """Where a trial is kept, and what judges it.

    Attributes:
        storage: address of the database.
        study_name: name of the study.
        trial_id: the storage's own number of the trial.
        claimed: when it was given its place, in seconds of ``time.time``.
        pruner: settings of the pruner, as ``hydra.sweeper.pruner`` of the trial's configuration has them; ``None``: it is
            never stopped.
    """

    storage: str
    study_name: str
    trial_id: int
    claimed: float
    pruner: dict[str, Any] | None = None

    def with_pruner_of(self, config: DictConfig) -> TrialAddress:
        """Return the address with the pruner that the trial's configuration, Hydra's part included, names."""
        return replace(self, pruner=plain_values(OmegaConf.select(config, "hydra.sweeper.pruner")))

    def to_text(self) -> str:
        """Return the address as text that ``from_text`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> TrialAddress:
        return cls(**json.loads(text))


def current_trial() -> TrialLink | None:
    """Return the link of the trial that this process runs; ``None`` outside of a search."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    address = TrialAddress.from_text(text)
    return TrialLink(address, build_pruner(address.pruner))


class TrialLink:
    """Reports to the study's database, and asks its pruner.

    Attributes:
        is_pruned: whether the trial was told to stop.
    """

    def __init__(self, address: TrialAddress, pruner: BasePruner) -> None:
        self.address = address
        self.is_pruned = False
        self._storage = open_storage(address.storage)
        # the sampler of the search would draw once more
        self._study = study = optuna.load_study(
            study_name=address.study_name, storage=self._storage, sampler=RandomSampler(), pruner=pruner
        )
        self._trial = running_trial(study, address.trial_id)

    def note(self, **attributes: Any) -> None:
        """Store what is to be known of the trial later."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def seconds_since_claimed(self) -> float:
        """Since the place was free in which the trial runs."""
        return time.time() - self.address.claimed

    def report(self, value: float, step: int, *, tolerance: float = 0.0) -> bool:
        """Store the monitor's value after ``step`` optimizer steps, and return whether the trial should be pruned.

        Trials of several objectives are never stopped: Optuna can't judge them.

        Args:
            value: of the monitor.
            step: optimizer steps done.
            tolerance: see ``should_prune``.
        """
        study = self._study
        if len(study.directions) > 1:
            return False
        self._trial.report(value, step)
        trial = self._storage.get_trial(self.address.trial_id)
        self.is_pruned = should_prune(study, trial, tolerance)
        return self.is_pruned


def leave(step: int) -> None:
    """Leave a trial that its pruner has stopped.

    Raises:
        optuna.TrialPruned: which whoever runs the trial understands.
    """
    raise optuna.TrialPruned(f"stopped by the pruner after {step} steps")
