"""Stop a run that no longer improves."""

from __future__ import annotations

from typing import Annotated, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as LightningsEarlyStopping

from bert_ft.callbacks.monitored import waits_for_average
from bert_ft.limits import Rule, within_limits
from bert_ft.training.plan import patience_for


class EarlyStopping(LightningsEarlyStopping):
    """Lightning's early stopping, with a patience that fits the length of the run; a tie is no improvement.

    A learning rate that falls to the end of the run still improves weights that seemed done, so ``auto`` waits for a large
    share of the planned validations (``patience_for``), and counts none before averaging of the weights has begun.

    Args:
        monitor: the metric.
        patience: validations without an improvement, or ``auto``.
        settings: further arguments of Lightning's ``EarlyStopping``.

    Attributes:
        step_of_best: optimizer steps done at the best validation so far.
    """

    @within_limits("callbacks.early_stopping")
    def __init__(
        self,
        monitor: str,
        *,
        patience: Annotated[int | str, Rule("integer", at_least=1, also=("auto",))] = "auto",
        **settings: Any,
    ) -> None:
        self.is_auto = isinstance(patience, str)
        super().__init__(
            monitor, patience=patience_for(0) if isinstance(patience, str) else patience, **settings
        )
        self.step_of_best = 0

    def plan(self, num_validations: int) -> None:
        """Fit a patience of ``auto`` to the number of validations of the whole run."""
        if self.is_auto:
            self.patience = patience_for(num_validations)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        best = self.best_score
        super().on_validation_end(trainer, pl_module)
        if self.best_score is not best:
            self.step_of_best = trainer.global_step
        if self.is_auto and waits_for_average(pl_module):
            self.wait_count = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "step_of_best": self.step_of_best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.step_of_best = state_dict.get("step_of_best", 0)  # an earlier version didn't save it
