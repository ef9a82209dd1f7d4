"""The pre-training stage from its start to the saved encoder, or from the cache."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from transformers import PreTrainedTokenizerFast

from bert_ft.data.pretraining_texts import PretrainingTexts
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.environment import package_versions
from bert_ft.training.fitting import Fitted, KeptWeights, fit, kept_by, take_best
from bert_ft.training.json_file import write_json
from bert_ft.training.precision import Precision
from bert_ft.training.pretraining_cache import made_once, stage_key
from bert_ft.training.pretraining_data import PretrainingDataModule
from bert_ft.training.pretraining_module import PretrainingModule
from bert_ft.training.pretraining_summary import print_texts

METRIC = "val/loss"  # held-out; what the stage is judged by where no checkpoint is kept by another metric
METRICS_FILE = "metrics.json"
MODEL = "model"
LOGS = ("tensorboard", "csv")  # what the cache keeps with the encoder and its metrics

log = logging.getLogger(__name__)


@dataclass
class PretrainingRun:
    """All that the stage needs, built and checked.

    Attributes:
        folder: for its logs, checkpoints and metrics.
        texts: what it sees.
        resume_from: a checkpoint of this stage.
        cache: where results are kept; ``None`` = nowhere.
        num_cached: how many.
        settings: of the configuration, those that determine the result.
    """

    module: PretrainingModule
    data: PretrainingDataModule
    trainer: Trainer
    tokenizer: PreTrainedTokenizerFast
    folder: Path
    texts: PretrainingTexts
    seed: int
    precision: Precision
    resume_from: str | None = None
    cache: Path | None = None
    num_cached: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def encoder(self, *, keep: bool = False) -> Iterator[Path]:
        """The Hugging Face folder of the trained encoder, which stays there as long as the block lasts.

        Args:
            keep: leave it in ``model/`` of the stage's folder, where it also stays afterwards.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        if self.trainer.is_global_zero:
            self._announce()
        cache = self._usable_cache
        if cache is None:
            record = self._train()
            if self.trainer.is_global_zero:
                self.module.pretrainer.save(self.folder / MODEL, self.tokenizer)
                write_json(self.folder / METRICS_FILE, record)
            self.trainer.strategy.barrier()
            yield self.folder / MODEL
            return
        with made_once(cache, self._key(), self._make, num_kept=self.num_cached) as (entry, is_new):
            if keep:
                _copy_folder(entry / MODEL, self.folder / MODEL)
            self._take_over(entry, is_new)
            yield entry / MODEL

    def run_alone(self) -> dict[str, Any]:
        """Train, or take over what was trained before, and leave the encoder in ``model/``; what ``metrics.json`` says."""
        with self.encoder(keep=True):
            return self.record

    @property
    def record(self) -> dict[str, Any]:
        """What ``metrics.json`` of the stage says, which is written when all else is."""
        return json.loads((self.folder / METRICS_FILE).read_text(encoding="utf-8"))

    @property
    def metric(self) -> str:
        """What the checkpoint that is handed over is kept by."""
        return next(kept_by(self.trainer), METRIC)

    @property
    def _usable_cache(self) -> Path | None:
        # Several processes wait for each other, and not for the locks of others. What a resumed stage began with may have
        # been another text file, or other versions, so that its result stands for no settings.
        return self.cache if self.trainer.world_size == 1 and self.resume_from is None else None

    def _announce(self) -> None:
        print_texts(self.texts)
        if self.module.head_is_fresh:
            config = self.module.pretrainer.config
            log.warning(
                "pretrain: the encoder comes without a head that guesses tokens; a new one starts at random, its decoder "
                "%s the token embeddings",
                "tied to" if config.tie_word_embeddings else "apart from",
            )

    def _make(self, entry: Path) -> None:
        record = self._train()
        self.module.pretrainer.save(entry / MODEL, self.tokenizer)
        _copy_logs(self.folder, entry)
        write_json(entry / METRICS_FILE, record)

    def _take_over(self, entry: Path, is_new: bool) -> None:
        record = json.loads((entry / METRICS_FILE).read_text(encoding="utf-8"))
        if not is_new:
            _copy_logs(entry, self.folder)
            # the texts that were left out are no part of what the stage is known by, and its checkpoint isn't kept
            own = {"texts": self.texts.to_dict(), "checkpoint": record["checkpoint"] | {"path": None}}
            record |= own | {"from_cache": str(entry)}
            log.info("pre-training: the same was done before, and is taken from %s", entry)
        write_json(self.folder / METRICS_FILE, record)

    def _train(self) -> dict[str, Any]:
        """What is to be recorded of it; the module has the weights that are handed over."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # whatever was built since then has drawn random numbers
        seed_everything(self.seed, workers=True, verbose=False)
        before: dict[str, float] | None = None
        if self.resume_from is None:
            self.trainer.validate(self.module, self.data, verbose=False)
            before = split_metrics(self.trainer.callback_metrics, "val/")
            if self.trainer.is_global_zero:
                write_json(self._before_file, before)
        fitted = fit(self.trainer, self.module, self.data, self.resume_from)
        kept = take_best(self.trainer, self.module, self.data, self.metric, "raw")
        if before is None:
            before = json.loads(self._before_file.read_text()) if self._before_file.exists() else {}
        return self._metrics(kept, before, fitted)

    @property
    def _before_file(self) -> Path:
        """The held-out metrics before training, which a resumed stage can't measure any more."""
        return self.folder / "before.json"

    def _metrics(self, kept: KeptWeights, before: dict[str, float], fitted: Fitted) -> dict[str, Any]:
        return {
            "val": kept.val,
            "val_before": before,
            "test": None,
            "weights": kept.weights,
            "objective": {"metric": self.metric, "value": kept.val.get(self.metric.removeprefix("val/"))},
            "checkpoint": kept.to_dict(self.folder),
            "stopped": fitted.stopped,
            "stage": asdict(self.module.objective),
            "texts": self.texts.to_dict(),
            "head_is_fresh": self.module.head_is_fresh,
            "seed": self.seed,
            "precision": {"requested": self.precision.requested, "effective": self.precision.effective},
            "fit_seconds": round(fitted.seconds, 3),
            "from_cache": None,
            "versions": package_versions(),
        }

    def _key(self) -> str:
        config = self.module.pretrainer.config.to_dict()
        for name in ("_name_or_path", "transformers_version"):  # where it came from, and not what it is
            config.pop(name, None)
        settings = {
            **self.settings,
            "encoder_config": config,
            "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
            "device": self.trainer.strategy.root_device.type,
            "precision": self.precision.effective,
            "seed": self.seed,
            "versions": package_versions(),
        }
        return stage_key(
            settings,
            self.module.state_dict(),
            (self.texts.train, self.texts.held_out),
            with_labels=self.module.objective.supervised,
        )


def _copy_logs(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in LOGS:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)


def _copy_folder(source: Path, target: Path) -> None:
    """As a whole or not at all."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that died
    shutil.copytree(source, partial)
    partial.rename(target)
