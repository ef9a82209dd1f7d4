"""Show the progress of a run: Lightning's Rich progress bar, or one line per validation if the output is a file."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.callbacks.progress.rich_progress import CustomTimeColumn
from rich.console import Console
from rich.progress import BarColumn, Task
from rich.text import Text

from bert_ft import layout
from bert_ft.callbacks.time_left import TimeLeft, num_epochs, num_steps_each, shown
from bert_ft.callbacks.validation_outputs import in_training
from bert_ft.compat.lightning import NamedEpochs

BAR_WIDTH = 10  # which leaves room for the values


class ProgressBar(NamedEpochs):
    """Show the latest losses, the metric that decides the checkpoint and its best value, and the remaining time of the run.

    If the output isn't a terminal, print one line per validation instead.

    Args:
        settings: arguments of ``RichProgressBar``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._settings_of_console: dict[str, Any] = settings.get("console_kwargs") or {}
        self.time_left = TimeLeft()
        self._val: dict[str, float] = {}
        self._best: tuple[float, int] | None = None  # value and step
        self._writes_lines = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero and self.is_enabled:
            console = Console(**self._settings_of_console)
            if not (console.is_terminal or console.is_jupyter):
                self._writes_lines = True
                self.disable()

    def state_dict(self) -> dict[str, Any]:
        return {"best": None if self._best is None else list(self._best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict.get("best")
        self._best = None if best is None else (best[0], best[1])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.time_left.see(trainer.global_step)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_batch_end(self, trainer: Trainer, *arguments: Any, **others: Any) -> None:
        if not trainer.sanity_checking:  # a dry run of a moment
            super().on_validation_batch_end(trainer, *arguments, **others)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if in_training(trainer) and trainer.is_global_zero:
            self._note(trainer)
            if self._writes_lines:
                print(self.line(trainer), flush=True)
        super().on_validation_end(trainer, pl_module)

    def line(self, trainer: Trainer) -> str:
        """Return the line of the latest validation for a log."""
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        of = "" if math.isinf(total) else f"/{total:.0f}"
        values = {**self._losses(trainer), **self._val}
        parts = [f"{name} {value:.4f}" for name, value in values.items()]
        if self._best is not None:
            parts.append(f"best {_objective(trainer)[0]} {self._best[0]:.4f} (step {self._best[1]})")
        parts.append(f"{shown(self.seconds_left(trainer))} left")
        return f"step {step}{of}, {self.epoch_name(trainer.current_epoch).lower()}: {', '.join(parts)}"

    def seconds_left(self, trainer: Trainer) -> float | None:
        """Return the longest remaining time of the whole run, which early stopping may cut short."""
        estimated = self.time_left.seconds(trainer.global_step, trainer.estimated_stepping_batches)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it late
        limits = [each.time_remaining() for each in callbacks if isinstance(each, Timer)]  # of max_time
        known = [each for each in (estimated, *limits) if each is not None]
        return max(0.0, min(known)) if known else None

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the plain training loss, the latest validation and its best value."""
        shown_values: dict[str, Any] = {
            name: value
            for name, value in super().get_metrics(trainer, pl_module).items()
            if name not in ("v_num", *layout.SHOWN_LOSSES)  # the version of a logger is a folder's name here
        }
        for value in self._losses(trainer).values():
            shown_values["loss"] = f"{value:.3f}"
        name = _objective(trainer)[0]
        shown_values |= {
            each: f"{self._val[each]:.3f}" for each in (layout.VAL_LOSS, name) if each in self._val
        }
        if self._best is not None:
            shown_values["best"] = f"{self._best[0]:.3f}"
        return shown_values

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        columns = super().configure_columns(trainer)
        for each in columns:
            if isinstance(each, BarColumn):
                each.bar_width = BAR_WIDTH
        return [
            _TimeOfRun(self, trainer, each.style) if isinstance(each, CustomTimeColumn) else each
            for each in columns
        ]

    @property
    def total_train_batches(self) -> int | float:
        """The batches of this epoch; ``max_steps`` may end it early."""
        trainer, batches = self.trainer, super().total_train_batches
        if trainer.max_steps == -1:
            return batches
        left = trainer.max_steps - trainer.current_epoch * num_steps_each(trainer)
        return max(1, min(batches, left * trainer.accumulate_grad_batches))

    def epoch_name(self, epoch: int) -> str:
        epochs = num_epochs(self.trainer)
        return super().epoch_name(epoch) + ("" if epochs is None else f"/{epochs}")

    def _losses(self, trainer: Trainer) -> dict[str, float]:
        """Return the most informative training loss: the plain one, if it is logged."""
        metrics = trainer.progress_bar_metrics
        return {name: float(metrics[name]) for name in layout.SHOWN_LOSSES if name in metrics}

    def _note(self, trainer: Trainer) -> None:
        values = trainer.callback_metrics.items()
        self._val = {name: float(value) for name, value in values if name.startswith(layout.VAL)}
        name, mode = _objective(trainer)
        value = self._val.get(name, math.nan)
        is_better = self._best is None or (value > self._best[0] if mode == "max" else value < self._best[0])
        if math.isfinite(value) and is_better:
            self._best = value, trainer.global_step


class _TimeOfRun(CustomTimeColumn):
    """A column with the remaining time of the whole run."""

    def __init__(self, bar: ProgressBar, trainer: Trainer, style: Any) -> None:
        super().__init__(style)
        self._bar = bar
        self._run = trainer

    def render(self, task: Task) -> Text:
        if task.id != self._bar.train_progress_bar_id:
            return super().render(task)
        return Text(f"{shown(self._bar.seconds_left(self._run))} left", style=self.style)


def _objective(trainer: Trainer) -> tuple[str, str]:
    """Return the metric of the first checkpoint callback that monitors one, and its mode."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
            return callback.monitor, callback.mode
    return layout.VAL_LOSS, "min"
