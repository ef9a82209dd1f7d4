"""The builder of every stage: from a checked configuration and a folder to what trains there.

A stage is a training of its own: fine-tuning, or the pre-training before it or alone. ``build_stage`` is what they have
in common, in the order in which things happen; a ``Recipe`` has what one kind of stage does in its own way.
"""

from __future__ import annotations

import logging
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
from bert_ft.compat.lightning import set_max_epochs
from bert_ft.config.build.data import TextInputs, text_inputs
from bert_ft.config.build.folder import in_folder, writing_to
from bert_ft.config.build.optimizer import build_optimizer
from bert_ft.config.build.trainer import precision_of, quieten, trainer_with
from bert_ft.config.instantiate import build, trusting
from bert_ft.config.run_folder import check_folder
from bert_ft.errors import ConfigError
from bert_ft.optim.groups import group_table
from bert_ft.training.encoder_module import EncoderModule
from bert_ft.training.environment import environment
from bert_ft.training.json_file import write_json
from bert_ft.training.plan import check_plan, plan_of
from bert_ft.training.resume import check_length, checkpoint_of
from bert_ft.training.summary import print_groups

log = logging.getLogger(__name__)


class Recipe(ABC):
    """What one kind of stage has of its own; made of settings that are light, and quick to be refused.

    Args:
        config: of the whole run.
        settings: the part of it with the stage's optimizer, schedule and trainer.
        batch_size: rows of a training batch, on each device.
        resume_from: the checkpoint of this stage that it is resumed from.

    Attributes:
        prefix: what the keys of ``settings`` begin with, for messages.
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
        """Encoder, tokenizer and length limit; read when they are first asked for."""
        return text_inputs(self.config)

    def adjusted(self, schedule: Any) -> Any:
        """Return the schedule that the learning rate really follows."""
        return schedule

    @abstractmethod
    def callbacks(self, folder: Path) -> list[Callback]:
        """Return the Trainer's callbacks, which write to the stage's folder."""

    def check_encoder(self) -> None:  # noqa: B027
        """Refuse what the stage asks of an encoder that can't do it, before any data is read."""

    @abstractmethod
    def num_rows(self) -> tuple[int, int]:
        """Read the data, and return how many rows are trained on and validated."""

    def build_stage_before(self, folder: Path) -> None:  # noqa: B027 (most have none)
        """Build the stage that comes first; its random numbers are drawn before this one's."""

    @abstractmethod
    def module(self, trainer: Trainer, *, optimizer: Any, schedule: Any) -> EncoderModule:
        """Return what is trained; random numbers begin with the run's seed here."""

    def report(self, folder: Path) -> None:  # noqa: B027
        """Say what the data are, on one process."""

    @abstractmethod
    def stage(self, **parts: Any) -> Any:
        """Return the stage of these parts, with its data module and what is its own."""


def build_run(kind: Callable[[DictConfig], Recipe], config: DictConfig, folder: Path) -> Any:
    """Return a stage as a run of its own in that folder, checked and ready; what it runs on is written there.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        config = writing_to(config, folder)
        folder = Path(config.output_dir)
        check_folder(folder, config.resume_from)
        if config.resume_from is not None and checkpoint_of(config.resume_from) is None:
            log.warning(
                "resume_from=%s: has no checkpoint yet; it starts from the beginning", config.resume_from
            )
        stage = build_stage(kind(config), folder)
        if stage.trainer.is_global_zero:
            write_json(
                folder / layout.ENVIRONMENT_FILE, environment(stage.trainer, stage.precision, config.seed)
            )
        return stage


def build_stage(recipe: Recipe, folder: Path) -> Any:
    """Return the stage of a recipe, checked and ready to run; it writes to the folder, which may be inside the run's.

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
    num_train, num_validation = recipe.num_rows()
    length = settings.trainer.max_epochs, settings.trainer.min_train_steps
    plan = plan_of(trainer, num_train, recipe.batch_size, *length)
    set_max_epochs(trainer, plan.epochs)
    with keys_under(recipe.prefix):
        check_plan(trainer, plan, schedule, num_validation)
        if recipe.resume_from is not None:
            is_finished = Path(config.output_dir, layout.METRICS_FILE).exists()
            check_length(recipe.resume_from, plan.steps, is_finished=is_finished)
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
    )


@contextmanager
def keys_under(prefix: str) -> Iterator[None]:
    """Inside, messages on settings name them by the keys that the stage has them under, such as ``pretrain.``."""
    try:
        yield
    except ConfigError as error:
        text = re.sub(r"(?<![\w.])(?=(trainer|schedule|optimizer)\.)", prefix, str(error))
        raise ConfigError(text if text.startswith(prefix) else f"{prefix}{text}") from error
