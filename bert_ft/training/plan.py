"""The length of a run, known before it starts, so that contradicting settings are refused."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning.pytorch import Trainer

from bert_ft.data.batching import RandomBatches
from bert_ft.errors import ConfigError
from bert_ft.optim.schedules import Schedule

LEAST_EPOCHS = 3  # if their number isn't set

# validations of trainer.val_check_interval=auto
MOST_VALIDATIONS = 20
LEAST_VALIDATIONS = 5  # unless there are fewer epochs
STEPS_BETWEEN = 25  # at least: each validation also writes checkpoints
# validated rows for each row trained on: a forward pass takes a third of a training step, so this is a tenth of its time
VALIDATED_ROWS = 0.3
# validations without an improvement that end a run, for a patience of `auto`
LEAST_PATIENCE, PATIENCE_RATIO = 5, 0.5


@dataclass(frozen=True)
class Plan:
    """The length of training on each process.

    Attributes:
        batches: number of batches in an epoch.
        epochs: number of epochs; -1 if something else ends training.
        steps: number of optimizer steps; infinite if only a time limit ends training, which no schedule accepts.
    """

    batches: int
    epochs: int
    steps: float


def plan_of(
    trainer: Trainer, num_rows: int, batch_size: int, max_epochs: int | None, min_train_steps: int
) -> Plan:
    """Return the plan for ``num_rows`` training rows and ``batch_size`` rows per batch and process.

    Without ``max_epochs`` there are ``LEAST_EPOCHS`` epochs, or as many as it takes for ``min_train_steps`` optimizer steps,
    unless ``trainer.limit_train_batches`` is a number of batches. If ``trainer.max_steps`` is set, only it ends training.
    -1 epochs means no limit.
    """
    batches = len(RandomBatches(num_rows, batch_size, seed=0, num_replicas=trainer.world_size))
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * (limit or 0))
    steps = math.inf if trainer.max_steps == -1 else float(trainer.max_steps)
    steps_each = math.ceil(batches / trainer.accumulate_grad_batches)
    if max_epochs is None:
        wanted = 0 if isinstance(limit, int) else math.ceil(min_train_steps / max(1, steps_each))
        enough = max(LEAST_EPOCHS, wanted)
        max_epochs = enough if math.isinf(steps) else -1
    if max_epochs != -1:
        steps = min(steps, max_epochs * steps_each)
    return Plan(batches, max_epochs, steps)


def validation_steps(trainer: Trainer, plan: Plan, batch_size: int, num_validation_rows: int) -> list[int]:
    """Return the optimizer steps after which a run validates, evenly spaced, of which the last is the run's last.

    There are at most ``MOST_VALIDATIONS``, at least ``STEPS_BETWEEN`` steps apart, and in all at most ``VALIDATED_ROWS`` rows
    for each row trained on; but in any case one an epoch, up to ``LEAST_VALIDATIONS``.

    Args:
        trainer: the run's Trainer.
        plan: its length.
        batch_size: rows of a training batch, on each process.
        num_validation_rows: rows of one validation.
    """
    steps, window = int(plan.steps), trainer.accumulate_grad_batches
    num_epochs = math.ceil(steps / math.ceil(plan.batches / window))
    trained = steps * window * batch_size * trainer.world_size
    affordable = int(VALIDATED_ROWS * trained / max(1, num_validation_rows))
    number = max(
        min(MOST_VALIDATIONS, steps // STEPS_BETWEEN, affordable), min(num_epochs, LEAST_VALIDATIONS), 1
    )
    return [math.ceil(position * steps / number) for position in range(1, number + 1)]


def num_validations(trainer: Trainer, plan: Plan) -> int:
    """Return how many validations Lightning makes by its own settings, if their interval isn't a time."""
    interval, every = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if every is None:
        return int(plan.steps * trainer.accumulate_grad_batches / interval)
    batches = interval if isinstance(interval, int) else max(1, int(plan.batches * interval))
    num_epochs = plan.steps / math.ceil(plan.batches / trainer.accumulate_grad_batches)
    return int(num_epochs / every) * (plan.batches // batches)


def patience_for(num_validations: int) -> int:
    """Return after how many validations without an improvement to end a run of so many."""
    return max(LEAST_PATIENCE, math.ceil(PATIENCE_RATIO * num_validations))


def check_plan(trainer: Trainer, plan: Plan, schedule: Schedule, num_validation_rows: int) -> None:
    """Refuse settings that don't fit the length of training.

    Raises:
        ConfigError: names the key, its value and what it contradicts.
    """
    overfit_batches = trainer.overfit_batches  # type: ignore[attr-defined]  # Lightning sets it late
    if overfit_batches:
        raise ConfigError(
            f"trainer.overfit_batches={overfit_batches}: Lightning would build its own batches, of one row each; "
            "set trainer.limit_train_batches instead"
        )
    if plan.batches == 0:
        raise ConfigError(
            f"trainer.limit_train_batches={trainer.limit_train_batches}: leaves no training batch in an epoch; raise it"
        )
    interval = trainer.val_check_interval
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > plan.batches:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: an epoch has only {plan.batches} batches; lower it, or set "
            "trainer.check_val_every_n_epoch=null to count over all epochs"
        )
    if num_validation_rows < trainer.world_size:
        raise ConfigError(
            f"trainer.devices: {trainer.world_size} processes for {num_validation_rows} validation rows; each "
            "process needs at least one"
        )
    schedule.multiplier(plan.steps)  # refuses a warm-up that is too long, and an end that is unknown
