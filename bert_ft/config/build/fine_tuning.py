"""Build the fine-tuning stage: the main job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig, OmegaConf

from bert_ft import layout
from bert_ft.config.build.data import prepared_data
from bert_ft.config.build.pretraining import PretrainingRecipe
from bert_ft.config.build.stage import Recipe, build_run, build_stage
from bert_ft.config.build.task import (
    build_loss,
    build_metrics,
    build_objective,
    build_task,
    check_fitted,
    check_objective,
)
from bert_ft.config.build.trainer import precision_of
from bert_ft.config.check_encoder import check_encoder
from bert_ft.config.instantiate import build, build_callback, entries
from bert_ft.data.augmentation import Augmentation, AugmentedSplit
from bert_ft.data.dataset import SampledWindows
from bert_ft.data.long_texts import WINDOWS
from bert_ft.data.prepare import PreparedData
from bert_ft.data.targets import label_names
from bert_ft.kernels.used_embedding_rows import train_used_rows_only
from bert_ft.models.classifier import Classifier
from bert_ft.models.compilation import compile_encoder
from bert_ft.renamed_keys import override_key
from bert_ft.tasks.task import Task
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.fine_tuning import FineTuning
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.json_file import write_json
from bert_ft.training.module import ClassificationModule
from bert_ft.training.pretraining import Pretraining
from bert_ft.training.resume import checkpoint_of, is_of_pretraining
from bert_ft.training.summary import print_data_report


def build_fine_tuning(config: DictConfig, folder: Path) -> FineTuning:
    """Return the main job, checked and ready to run in the folder; the data report is printed and written there.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    return build_run(FineTuningRecipe, config, folder)


class FineTuningRecipe(Recipe):
    """Labeled texts, a classifier and, if ``pretrain`` is set, a stage before it."""

    def __init__(self, config: DictConfig) -> None:
        path = checkpoint_of(config.resume_from)
        path = None if is_of_pretraining(path) else path
        super().__init__(config, config, batch_size=config.data.batch_size, resume_from=path)
        self.task = build_task(config)
        build_loss(config, self.task)
        self.weight_decay_schedule = build(config.weight_decay_schedule)
        self.augmentation = build(config.data.augmentation) or None
        self.averaging = build(config.averaging) if config.get("averaging") else None
        self.pretraining: Pretraining | None = None

    @cached_property
    def data(self) -> PreparedData:
        """The splits, read on first access."""
        return prepared_data(self.config, self.task, self.inputs.tokenizer, self.inputs.max_length)

    def adjusted(self, schedule: Any) -> Any:
        return schedule if self.averaging is None else self.averaging.schedule(schedule)

    def callbacks(self, folder: Path) -> list[Callback]:
        """Return the configured callbacks, and the monitors that apply to the task; ``null`` ones are left out."""
        config = self.config
        callbacks = [
            build_callback(f"callbacks.{name}", node)
            for name, node in config.callbacks.items()
            if node is not None
        ]
        monitors = {name: node for name, node in config.monitor.items() if node is not None}
        callbacks += [
            build_callback(f"monitor.{name}", node)
            for name, node in monitors.items()
            if self.task.applies_to_monitor(name)
        ]
        if self.averaging is not None:
            callbacks.insert(0, self.averaging)  # before callbacks that read the validated weights
        if config.get("unfreezing"):
            callbacks.append(build(config.unfreezing))
        return callbacks

    def check_encoder(self) -> None:
        inputs = self.inputs
        check_encoder(self.config, inputs.encoder, inputs.encoder_config, inputs.tokenizer)

    def num_rows(self) -> tuple[int, int]:
        return len(self.data.splits["train"]), len(self.data.splits["validation"])

    def build_stage_before(self, folder: Path) -> None:
        """Build the pre-training stage, in a subfolder of the run's folder."""
        if self.config.get("pretrain"):
            inputs = replace(self.inputs, notes=(), warnings=())  # already printed, for both stages
            recipe = PretrainingRecipe(self.config, inputs, self.data.splits, cast(Task, self.data.task))
            self.pretraining = build_stage(recipe, folder / layout.PRETRAINING_FOLDER)

    def module(self, trainer: Trainer, *, optimizer: Any, schedule: Any) -> ClassificationModule:
        config, train = self.config, self.data.splits["train"]
        task = cast(Task, self.data.task)
        check_fitted(task, train.known_labels, precision_of(config.trainer))
        check_objective(config, task, self.data.splits["validation"].known_labels)
        objective = build_objective(config, task, train.known_labels)
        windows = (
            {} if self.data.long_texts.mode == WINDOWS else {"window_pooling": "mean"}
        )  # without weights
        classifier = build(config.model)(
            self.inputs.encoder, task.config_entries(), trust=tuple(config.trust), **windows
        )
        if self.augmentation is None or type(self.augmentation) is Augmentation:
            # an augmentation of the user may produce other tokens
            device = trainer.strategy.root_device
            train_used_rows_only(classifier.encoder, train, self.inputs.tokenizer, optimizer, device)
        frozen_states = self._frozen_states(classifier)
        if config.trainer.compile:
            compile_encoder(classifier.encoder)
        return ClassificationModule(
            classifier,
            task=task,
            objective=objective,
            optimizer=optimizer,
            schedule=schedule,
            weight_decay_schedule=self.weight_decay_schedule,
            max_tokens=config.data.max_tokens,
            frozen_states=frozen_states,
            metrics=build_metrics(config, task, self.data.splits["validation"].known_labels),
        )

    def report(self, folder: Path) -> None:
        report, notes, sampled = self.data.report, list(self.data.notes), self._sampled()
        if sampled is not None:
            notes.append(sampled.describe())
        print_data_report(report, notes)
        write_json(folder / layout.DATA_REPORT_FILE, {**report.to_dict(), "notes": notes})

    def stage(self, **parts: Any) -> FineTuning:
        config = self.config
        data = TextDataModule(
            self.data,
            batch_size=self.batch_size,
            eval_batch_size=config.data.eval_batch_size,
            max_tokens=config.data.max_tokens,
            seed=config.seed,
            num_workers=config.data.num_workers,
            augmented=self._augmented(),
            sampled=self._sampled(),
            tokenizer=self.inputs.tokenizer,
        )
        return FineTuning(
            data=data,
            metric=config.objective.metric,
            max_length=self.inputs.max_length,
            tests=config.test,
            calibrates=config.calibrate,
            settings=_settings(config),
            pretraining=self.pretraining,
            reinit_layers=self.inputs.encoder.reinit_layers,
            label_column=label_names(config.data.get("label_column")) or "label",
            **parts,
        )

    def _frozen_states(self, classifier: Classifier) -> FrozenStates | None:
        encoder = self.inputs.encoder
        if not encoder.cache_frozen or encoder.freeze_layers is None:
            return None
        lengths = {name: split.window_lengths for name, split in self.data.splits.items()}
        return FrozenStates(
            classifier.encoder,
            lengths,
            num_layers=encoder.freeze_layers,
            max_tokens=self.config.data.max_tokens,
        )

    def _augmented(self) -> AugmentedSplit | None:
        config, tokenizer = self.config, self.inputs.tokenizer
        if self.augmentation is None:
            return None
        # an unknown word is a word
        special = [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]
        train = self.data.splits["train"]
        mask = tokenizer.mask_token_id
        return AugmentedSplit(train, self.augmentation, config.seed, special, mask, self._sampled())

    def _sampled(self) -> SampledWindows | None:
        """Return the training split without some windows of its longest texts; ``None`` if it needs them all."""
        train, most = self.data.splits["train"], self.config.data.max_windows
        return SampledWindows(train, most, self.config.seed) if train.num_windows.max() > most else None


def _settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings that distinguish runs: all but callbacks, loggers, the folder and Hydra's part.

    In a sweep these are only the settings that its overrides vary; the others would be dozens of constant
    columns.
    """
    found: dict[str, Any] = {}
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        same = _set_keys(
            OmegaConf.select(cast(DictConfig, HydraConfig.get()), "sweeper.trial_overrides") or ()
        )
        choices = HydraConfig.get().runtime.choices
        for key in _set_keys(HydraConfig.get().overrides.task):
            if key not in same and not key.startswith(("hydra", "search")):
                value = choices[key] if key in choices else OmegaConf.select(config, key)
                found[key.replace(".", "/")] = (
                    entries(value, without=()) if isinstance(value, DictConfig) else value
                )
        return found
    for name, value in config.items():
        if name not in ("callbacks", "monitor", "logger", "output_dir", "hydra"):
            # one by one: Hydra's part can't be resolved
            found[str(name)] = entries(value, without=()) if isinstance(value, DictConfig) else value
    return found


def _set_keys(overrides: Iterable[str]) -> list[str]:
    return [override_key(override) for override in overrides if not override.startswith("~")]
