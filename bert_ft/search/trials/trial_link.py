"""A trial's link to its study: stores its results, and returns whether it should be pruned.

A trial's process finds its study and the settings of its pruner in an environment variable, with any launcher.
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
from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.trials.trial_pruning import should_prune

VARIABLE = "BERT_FT_TRIAL"


@dataclass(frozen=True)
class TrialAddress:
    """Where a trial is stored, and its pruner."""

    storage: str  # address of the database
    study_name: str
    trial_id: int  # its number in the storage
    claimed: float  # when its worker became free, as of ``time.time``
    search: tuple[int, str | None] | None = (
        None  # process that a launcher's workers end with: number and start
    )
    pruner: dict[str, Any] | None = None  # settings of the pruner; None: it is never pruned

    def with_pruner_of(self, config: DictConfig) -> TrialAddress:
        """Return the address with the pruner of the trial's configuration, which includes Hydra's part."""
        return replace(self, pruner=plain_values(OmegaConf.select(config, "hydra.sweeper.pruner")))

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> TrialAddress:
        return cls(**json.loads(text))


def current_trial() -> TrialLink | None:
    """Return the link of the trial that this process runs; ``None`` outside a search."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    address = TrialAddress.from_text(text)
    return TrialLink(address, build_pruner(address.pruner))


class TrialLink:
    """Writes to the study's database, and asks the trial's pruner."""

    def __init__(self, address: TrialAddress, pruner: BasePruner) -> None:
        self.address = address
        self._storage = open_storage(address.storage, patient=True)
        # the sampler of the search would draw again
        self._study = optuna.load_study(
            study_name=address.study_name, storage=self._storage, sampler=RandomSampler(), pruner=pruner
        )
        self._trial = running_trial(self._study, address.trial_id)

    def note(self, **attributes: Any) -> None:
        """Store attributes of the trial."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the trial."""
        return dict(self._storage.get_trial(self.address.trial_id).user_attrs)

    @property
    def num_objectives(self) -> int:
        return len(self._study.directions)

    def close(self) -> None:
        """Close the connections to the database."""
        close(self._storage)

    def seconds_since_claimed(self) -> float:
        """Return the seconds since the trial's worker became free."""
        return time.time() - self.address.claimed

    def report(self, value: float, step: int, *, tolerance: float = 0.0) -> bool:
        """Store the monitor's value after ``step`` optimizer steps, and return whether the trial should be pruned.

        Trials with several objectives are never pruned, since Optuna can't compare them. ``tolerance``: see
        ``should_prune``.
        """
        if len(self._study.directions) > 1:
            return False
        self._trial.report(value, step)
        return should_prune(self._study, self._storage.get_trial(self.address.trial_id), tolerance)


def leave(step: int) -> None:
    """Raise ``optuna.TrialPruned``, which tells the trial's runner that the trial was pruned."""
    raise optuna.TrialPruned(f"stopped by the pruner after {step} steps")
