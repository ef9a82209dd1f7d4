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
from bert_ft.training.fitting import Fitted, KeptWeights, fit, take_best
from bert_ft.training.json_file import write_json
from bert_ft.training.precision import Precision
from bert_ft.training.pretraining_cache import made_once, stage_key
from bert_ft.training.pretraining_data import PretrainingDataModule
from bert_ft.training.pretraining_module import PretrainingModule
from bert_ft.training.pretraining_summary import print_texts

METRIC = "val/loss"  # held-out; what the stage's checkpoint is kept by
METRICS_FILE = "metrics.json"
MODEL = "model"
# what a stage leaves in its folder besides the encoder, and the cache keeps with it
LOGS = (METRICS_FILE, "tensorboard", "csv")

log = logging.getLogger(__name__)


@dataclass
class PretrainingRun:
    """All that the stage needs, built and checked.

    Attributes:
        folder: for its logs, checkpoints and metrics.
        texts: what it sees.
        head_is_fresh: whether the masked-language-model head started at random.
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
    head_is_fresh: bool = False
    resume_from: str | None = None
    cache: Path | None = None
    num_cached: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def encoder(self) -> Iterator[Path]:
        """The Hugging Face folder of the trained encoder, which stays there as long as the block lasts.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        if self.trainer.is_global_zero:
            self._announce()
        # several processes wait for each other, and not for the locks of others
        if self.cache is None or self.trainer.world_size > 1:
            self._train()
            if self.trainer.is_global_zero:
                self.module.pretrainer.save(self.folder / MODEL, self.tokenizer)
            self.trainer.strategy.barrier()
            yield self.folder / MODEL
            return
        with made_once(self.cache, self._key(), self._make, num_kept=self.num_cached) as (entry, is_new):
            if not is_new:
                self._take_over(entry)
            yield entry / MODEL

    def run_alone(self) -> dict[str, Any]:
        """Train, or take over what was trained before, and leave the encoder in ``model/``; what ``metrics.json`` says."""
        with self.encoder() as trained:
            if trained != self.folder / MODEL:
                shutil.copytree(trained, self.folder / MODEL)
        return self.record

    @property
    def record(self) -> dict[str, Any]:
        """What ``metrics.json`` of the stage says, once it is done."""
        return json.loads((self.folder / METRICS_FILE).read_text(encoding="utf-8"))

    def _announce(self) -> None:
        print_texts(self.texts)
        if self.head_is_fresh:
            config = self.module.pretrainer.config
            log.warning(
                "pretrain: the encoder comes without a head that guesses tokens; a new one starts at random, its decoder "
                "%s the token embeddings",
                "tied to" if config.tie_word_embeddings else "apart from",
            )

    def _make(self, entry: Path) -> None:
        self._train()
        self.module.pretrainer.save(entry / MODEL, self.tokenizer)
        _copy_logs(self.folder, entry)

    def _take_over(self, entry: Path) -> None:
        _copy_logs(entry, self.folder)
        # the texts that were left out are no part of what the stage is known by, and its checkpoint isn't kept
        own = {"texts": self.texts.to_dict(), "checkpoint": self.record["checkpoint"] | {"path": None}}
        write_json(self.folder / METRICS_FILE, self.record | own | {"from_cache": str(entry)})
        log.info("pre-training: the same was done before, and is taken from %s", entry)

    def _train(self) -> None:
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
        kept = take_best(self.trainer, self.module, self.data, METRIC, "raw")
        if self.trainer.is_global_zero:
            if before is None:
                before = json.loads(self._before_file.read_text()) if self._before_file.exists() else {}
            write_json(self.folder / METRICS_FILE, self._metrics(kept, before, fitted))

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
            "objective": {"metric": METRIC, "value": kept.val.get("loss")},
            "checkpoint": kept.to_dict(self.folder),
            "stopped": fitted.stopped,
            "stage": asdict(self.module.objective),
            "texts": self.texts.to_dict(),
            "head_is_fresh": self.head_is_fresh,
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
        path = source / name
        if path.is_dir():
            shutil.copytree(path, target / name, dirs_exist_ok=True)
        elif path.exists():
            shutil.copyfile(path, target / name)
