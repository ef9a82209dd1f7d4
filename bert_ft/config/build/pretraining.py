"""Build the pre-training stage, before fine-tuning or as a run of its own."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig

from bert_ft import layout
from bert_ft.config.build.data import TextInputs
from bert_ft.config.build.folder import in_folder
from bert_ft.config.build.pretraining_texts import Splits, splits_without_fine_tuning, texts_of_stage
from bert_ft.config.build.stage import Recipe, build_run, keys_under
from bert_ft.config.check_encoder import check_encoder_of_stage
from bert_ft.config.instantiate import build, build_callback, entries, own_code
from bert_ft.config.rules import STEP_MONITORS
from bert_ft.data.arrow_cache import cache_folder
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.masking import MaskedSplit, Masking, MaskingVocabulary
from bert_ft.data.pretraining_batches import PretrainingSplit
from bert_ft.data.pretraining_texts import PretrainingTexts
from bert_ft.data.texts_report import report_on_texts
from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import has_dropout
from bert_ft.models.pretrainer import Pretrainer, build_pretrainer
from bert_ft.tasks.task import Task
from bert_ft.training.fitting import kept_by
from bert_ft.training.json_file import write_json
from bert_ft.training.pretraining import METRIC, Pretraining
from bert_ft.training.pretraining_data import PretrainingDataModule
from bert_ft.training.pretraining_module import PretrainingModule
from bert_ft.training.pretraining_objective import PretrainingObjective
from bert_ft.training.resume import checkpoint_of, is_of_pretraining
from bert_ft.training.summary import print_texts_report
from bert_ft.trust import TARGET

# keys of `pretrain` that don't change the stage's result
_UNRELATED_TO_WEIGHTS = ("num_cached",)
_TRAINER_UNRELATED_TO_WEIGHTS = (
    "log_every_n_steps",
    "profiler",
    "enable_progress_bar",
    "enable_model_summary",
)

log = logging.getLogger(__name__)


def build_pretraining(config: DictConfig, folder: Path) -> Pretraining:
    """Return the stage as a run of its own in that folder, checked and ready to run.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    return build_run(PretrainingRecipe, config, folder)


class PretrainingRecipe(Recipe):
    """Unlabeled texts, and an encoder that predicts masked tokens, compares views of a text, or both.

    Args:
        config: the run's configuration.
        inputs: encoder and tokenizer of the fine-tuning that follows; ``None``: no fine-tuning follows, and the stage reads
            them itself. Frozen and reinitialized layers apply only to fine-tuning.
        splits: splits of the fine-tuning that follows: training texts, and texts that the stage must not see; or ``None``.
        task: the task of the fine-tuning that follows, fitted to its labels.
    """

    prefix = "pretrain."

    def __init__(
        self,
        config: DictConfig,
        inputs: TextInputs | None = None,
        splits: Splits | None = None,
        task: Task | None = None,
    ) -> None:
        path = checkpoint_of(config.resume_from)
        path = path if splits is None or is_of_pretraining(path) else None
        super().__init__(config, config.pretrain, batch_size=config.pretrain.batch_size, resume_from=path)
        if inputs is not None:
            self.inputs = inputs
        self._splits, self._task = splits, task
        self._notes: list[str] = []
        with keys_under(self.prefix):
            named = {field.name: self.settings[field.name] for field in fields(PretrainingObjective)}
            self.objective = PretrainingObjective(**named)
            self.masking: Masking = build(self.settings.masking)

    @cached_property
    def texts(self) -> PretrainingTexts:
        """The stage's texts, read on first access."""
        splits = self._splits
        if splits is None:
            splits, self._notes, self._task = splits_without_fine_tuning(self.config, self.inputs)
        return texts_of_stage(self.config, self.inputs, splits)

    @property
    def task(self) -> Task | None:
        """The task, fitted to the labels of ``texts``."""
        _ = self.texts  # reads them
        return self._task

    def callbacks(self, folder: Path) -> list[Callback]:
        """Return the stage's callbacks, and the run's monitors that need no labels."""
        own = {name: node for name, node in self.settings.callbacks.items() if node is not None}
        callbacks = [
            in_folder(f"pretrain.callbacks.{name}", node, folder, self.config) for name, node in own.items()
        ]
        monitors = {name: self.config.monitor.get(name) for name in STEP_MONITORS}
        return callbacks + [
            build_callback(f"monitor.{name}", node) for name, node in monitors.items() if node is not None
        ]

    def check_encoder(self) -> None:
        if self._splits is None:  # otherwise fine-tuning has checked it
            check_encoder_of_stage(
                self.config, self.inputs.encoder, self.inputs.encoder_config, self.inputs.tokenizer
            )

    def num_rows(self) -> tuple[int, int]:
        return len(self.texts.train), len(self.texts.held_out)

    def module(self, trainer: Trainer, *, optimizer: Any, schedule: Any) -> PretrainingModule:
        pretrainer, head_is_fresh = self._pretrainer()
        return PretrainingModule(
            pretrainer,
            objective=self.objective,
            optimizer=optimizer,
            schedule=schedule,
            max_tokens=self.config.data.max_tokens,
            head_is_fresh=head_is_fresh,
            task=self.task,
        )

    def report(self, folder: Path) -> None:
        texts, tokenizer = self.texts, self.inputs.tokenizer
        report = report_on_texts([texts.train, texts.held_out], self.inputs.max_length, tokenizer)
        if self._splits is None:  # otherwise fine-tuning has printed it
            print_texts_report(report, self._notes)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / layout.DATA_REPORT_FILE, {**report, "notes": list(self._notes)})

    def stage(self, **parts: Any) -> Pretraining:
        config, settings = self.config, self.settings
        vocabulary = MaskingVocabulary.of(self.inputs.tokenizer) if self.objective.mlm_weight else None
        held_out_masking = replace(self.masking, at_least_one=True)
        data = PretrainingDataModule(
            _with_masks(self.texts.train, self.masking, vocabulary, config.seed),
            _with_masks(self.texts.held_out, held_out_masking, vocabulary, config.seed),
            batch_size=self.batch_size,
            seed=config.seed,
            num_workers=config.data.num_workers,
        )
        return Pretraining(
            data=data,
            metric=next(kept_by(parts["trainer"]), METRIC),
            texts=self.texts,
            cache=cache_folder(config.data.cache_dir) / layout.PRETRAINING_FOLDER
            if settings.num_cached
            else None,
            num_cached=settings.num_cached,
            settings=_settings(config),
            **parts,
        )

    def _pretrainer(self) -> tuple[Pretrainer, bool]:
        """Return encoder and heads, and whether the masked-LM head is new."""
        settings, objective = self.settings, self.objective
        # all layers are trained here: freezing, reinitialization and inserted modules apply only to fine-tuning
        spec = replace(
            self.inputs.encoder, freeze_layers=None, cache_frozen=False, reinit_layers=0, insert={}
        )
        encoder_config = spec.load_config()
        if objective.contrastive_weight and not objective.supervised and not has_dropout(encoder_config):
            raise ConfigError(
                f"pretrain.contrastive_weight={objective.contrastive_weight}: two views of a text differ by dropout, and "
                f"encoder.name_or_path={spec.name_or_path} has none; give encoder.hidden_dropout, e.g. 0.1"
            )
        return build_pretrainer(
            spec,
            encoder_config,
            masks=objective.mlm_weight > 0,
            pooling=settings.pooling,
            projection_sizes=list(settings.projection_sizes),
        )


def _with_masks(
    split: TokenizedSplit, masking: Masking, vocabulary: MaskingVocabulary | None, seed: int
) -> PretrainingSplit:
    if vocabulary is None:
        return PretrainingSplit(split)
    return PretrainingSplit(split, MaskedSplit(split, masking, vocabulary, seed))


def _settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings that determine the stage's result, besides its texts and the encoder it starts from."""
    found = entries(config.pretrain, without=_UNRELATED_TO_WEIGHTS)
    found["trainer"] = {
        key: value for key, value in found["trainer"].items() if key not in _TRAINER_UNRELATED_TO_WEIGHTS
    }
    encoder = config.encoder
    own_attention = {TARGET: encoder.attn_implementation} if "." in encoder.attn_implementation else {}
    return {
        "pretrain": found,
        "own_code": own_code([found, own_attention]),
        "max_tokens": config.data.max_tokens,
        "attn_implementation": encoder.attn_implementation,
        "kernels": encoder.kernels,
        "gradient_checkpointing": encoder.gradient_checkpointing,
    }
