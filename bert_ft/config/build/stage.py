"""Build any stage from a checked configuration and a folder.

A stage is one training: fine-tuning, or pre-training before it or on its own. ``build_stage`` has the steps
that they have in common, in order of execution; a ``Recipe`` has the parts that are specific to one kind of
stage.
"""

from __future__ import annotations

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig

from bert_ft import layout
from bert_ft.callbacks.early_stopping import EarlyStopping
from bert_ft.callbacks.validation_steps import ValidationSteps
from bert_ft.compat.lightning import set_max_epochs
from bert_ft.config.build.data import TextInputs, text_inputs
from bert_ft.config.build.folder import in_folder, record_setting, writing_to
from bert_ft.config.build.optimizer import build_optimizer, with_default_lr
from bert_ft.config.build.trainer import AUTO, precision_of, quieten, trainer_with
from bert_ft.config.instantiate import build, trusting
from bert_ft.config.run_folder import check_folder
from bert_ft.data.arrow_cache import cache_folder
from bert_ft.data.cache_entries import limit_cache
from bert_ft.errors import ConfigError
from bert_ft.optim.groups import group_table
from bert_ft.training.encoder_module import EncoderModule
from bert_ft.training.environment import environment
from bert_ft.training.json_file import write_json
from bert_ft.training.plan import Plan, check_plan, num_validations, plan_of, validation_steps
from bert_ft.training.resume import check_has_checkpoint, check_length, checkpoint_of
from bert_ft.training.summary import print_groups

log = logging.getLogger(__name__)


class Recipe(ABC):
    """The parts that are specific to one kind of stage.

    The constructor reads only settings, so that wrong ones fail early.

    Args:
        config: the run's configuration.
        settings: its part with the stage's optimizer, schedule and trainer.
        batch_size: rows of a training batch, on each device.
        resume_from: checkpoint of this stage to resume from.

    Attributes:
        prefix: prefix of the keys of ``settings``, for messages.
    """

    prefix = ""

    def __init__(
        self, config: DictConfig, settings: DictConfig, *, batch_size: int, resume_from: str | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.batch_size = batch_size
        self.resume_from = resume_from

    @cached_property
    def inputs(self) -> TextInputs:
        """Encoder, tokenizer and length limit, read on first access."""
        return text_inputs(self.config)

    def adjusted(self, schedule: Any) -> Any:
        """Return the schedule that the learning rate follows."""
        return schedule

    @abstractmethod
    def callbacks(self, folder: Path) -> list[Callback]:
        """Return the callbacks of the Trainer, which write to the stage's folder."""

    def check_encoder(self) -> None:  # noqa: B027
        """Refuse settings that the encoder doesn't support, before any data is read."""

    @abstractmethod
    def num_rows(self) -> tuple[int, int]:
        """Read the data, and return the numbers of training and validation rows."""

    def build_stage_before(self, folder: Path) -> None:  # noqa: B027 (most have none)
        """Build the preceding stage, whose random numbers are drawn before those of this one."""

    @abstractmethod
    def module(self, trainer: Trainer, *, optimizer: Any, schedule: Any) -> EncoderModule:
        """Return the module to train; the random generators are seeded with the run's seed."""

    def report(self, folder: Path) -> None:  # noqa: B027
        """Print and write the data report; called on one process only."""

    @abstractmethod
    def stage(self, **parts: Any) -> Any:
        """Return the stage, made of these parts, its data module and its own settings."""


def build_run(kind: Callable[[DictConfig], Recipe], config: DictConfig, folder: Path) -> Any:
    """Return a checked stage, ready to run in the folder, and record the environment there.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        config = writing_to(config, folder)
        folder = Path(config.output_dir)
        check_folder(folder, config.resume_from)
        if config.resume_from is not None and checkpoint_of(config.resume_from) is None:
            check_has_checkpoint(config.resume_from, folder)
            log.warning(
                "resume_from=%s: has no checkpoint yet; the run starts from the beginning", config.resume_from
            )
        stage = build_stage(kind(config), folder)
        if stage.trainer.is_global_zero:
            write_json(
                folder / layout.ENVIRONMENT_FILE, environment(stage.trainer, stage.precision, config.seed)
            )
        return stage


def build_stage(recipe: Recipe, folder: Path) -> Any:
    """Return the checked stage of a recipe, ready to run; it writes to the folder, which may be inside the run's folder.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    config, settings = recipe.config, recipe.settings
    with keys_under(recipe.prefix):
        schedule, optimizer = build(settings.schedule), build_optimizer(settings.optimizer)
    schedule = recipe.adjusted(schedule)
    precision = precision_of(settings.trainer)
    loggers = [
        in_folder(f"logger.{name}", node, folder, config)
        for name, node in config.logger.items()
        if node is not None
    ]
    callbacks = recipe.callbacks(folder)
    with keys_under(recipe.prefix):
        trainer = trainer_with(
            settings.trainer, precision, callbacks=callbacks, loggers=loggers, folder=folder
        )
    inputs = recipe.inputs
    if trainer.is_global_zero:
        for level, texts in ((logging.INFO, inputs.notes), (logging.WARNING, inputs.warnings)):
            for text in texts:
                log.log(level, text)
    recipe.check_encoder()
    if settings.optimizer.lr is None:
        optimizer = with_default_lr(optimizer, settings.optimizer, inputs.encoder_config)
        if trainer.is_global_zero:
            record_setting(folder, "optimizer.lr", settings.optimizer.lr)
    num_train, num_validation = recipe.num_rows()
    if trainer.is_global_zero:
        limit_cache(cache_folder(config.data.get("cache_dir")), config.data.get("max_cache_gb"))
    length = settings.trainer.max_epochs, settings.trainer.min_train_steps
    plan = plan_of(trainer, num_train, recipe.batch_size, *length)
    set_max_epochs(trainer, plan.epochs)
    with keys_under(recipe.prefix):
        check_plan(trainer, plan, schedule, num_validation)
        if recipe.resume_from is not None:
            is_finished = Path(config.output_dir, layout.METRICS_FILE).exists()
            check_length(recipe.resume_from, plan.steps, is_finished=is_finished)
    _plan_validations(trainer, recipe, plan, num_validation)
    recipe.build_stage_before(folder)
    seed_everything(config.seed, workers=True, verbose=False)
    module = recipe.module(trainer, optimizer=optimizer, schedule=schedule)
    if trainer.is_global_zero:
        recipe.report(folder)
        if precision.notice:
            log.warning("%s%s", recipe.prefix, precision.notice)
        if settings.optimizer.show_groups:
            print_groups(group_table(module.parameter_groups()))
    return recipe.stage(
        module=module,
        trainer=trainer,
        tokenizer=inputs.tokenizer,
        folder=folder,
        seed=config.seed,
        precision=precision,
        resume_from=recipe.resume_from,
        keep=config.get("keep", "resumable"),
    )


def _plan_validations(trainer: Trainer, recipe: Recipe, plan: Plan, num_rows: int) -> None:
    """Set the steps of validations, and the patience of early stopping that fits their number."""
    number, limit = num_validations(trainer, plan), trainer.limit_val_batches
    if recipe.settings.trainer.val_check_interval == AUTO and limit:
        share = limit * recipe.config.data.eval_batch_size if isinstance(limit, int) else limit * num_rows
        steps = validation_steps(trainer, plan, recipe.batch_size, min(num_rows, math.ceil(share)))
        # first: callbacks ask whether a validation follows
        trainer.callbacks.insert(0, ValidationSteps(steps))  # type: ignore[attr-defined]  # Lightning sets it late
        number = len(steps)
    for stopper in trainer.early_stopping_callbacks:
        if isinstance(stopper, EarlyStopping):
            stopper.plan(number)


@contextmanager
def keys_under(prefix: str) -> Iterator[None]:
    """Add the prefix, such as ``pretrain.``, to keys in messages of errors raised inside the context."""
    try:
        yield
    except ConfigError as error:
        text = re.sub(r"(?<![\w.])(?=(trainer|schedule|optimizer)\.)", prefix, str(error))
        raise ConfigError(text if text.startswith(prefix) else f"{prefix}{text}") from error
