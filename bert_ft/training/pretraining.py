"""The pre-training stage, from its start to the saved encoder, or from the cache."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bert_ft import layout
from bert_ft.data.pretraining_texts import PretrainingTexts
from bert_ft.training.checkpoint_file import save_whole
from bert_ft.training.encoder_module import split_metrics
from bert_ft.training.environment import package_versions
from bert_ft.training.json_file import write_json
from bert_ft.training.pretraining_cache import made_once, stage_key
from bert_ft.training.pretraining_data import PretrainingDataModule
from bert_ft.training.pretraining_module import PretrainingModule
from bert_ft.training.stage import Stage
from bert_ft.training.summary import print_texts

# on held-out texts; decides which checkpoint is kept, unless a callback monitors another metric
METRIC = layout.VAL_LOSS
LOGS = (layout.TENSORBOARD_FOLDER, layout.CSV_FOLDER)  # cached with the encoder and its metrics

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Pretraining(Stage):
    """The pre-training stage, before fine-tuning or as a run of its own.

    Attributes:
        texts: the stage's texts.
        cache: folder of cached results; ``None`` = no cache.
        num_cached: number of results to keep.
        settings: the settings that determine the result.
    """

    module: PretrainingModule
    data: PretrainingDataModule
    texts: PretrainingTexts
    cache: Path | None = None
    num_cached: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict, init=False)

    def run(self) -> dict[str, Any]:
        """Train, or take a cached result, and leave the encoder in ``model/``; return the content of ``metrics.json``."""
        with self.encoder(keep=True):
            self.tidy()
            return self.record

    @contextmanager
    def encoder(self, *, keep: bool = False) -> Iterator[Path]:
        """Yield the Hugging Face folder of the trained encoder, which exists until the block ends.

        Args:
            keep: leave it in ``model/`` of the stage's folder, where it stays.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
        """
        if self.trainer.is_global_zero:
            self._announce()
        cache = self._usable_cache
        if cache is None:
            self.train(self.folder)
            self.trainer.strategy.barrier()
            yield self.folder / layout.MODEL_FOLDER
            return
        with made_once(cache, self._key(), self._make, num_kept=self.num_cached) as (entry, is_new):
            if keep:
                save_whole(
                    self.folder / layout.MODEL_FOLDER,
                    partial(shutil.copytree, entry / layout.MODEL_FOLDER),
                )
            self._take_over(entry, is_new)
            yield entry / layout.MODEL_FOLDER

    @property
    def record(self) -> dict[str, Any]:
        """Content of the stage's ``metrics.json``, the last file to be written."""
        return json.loads((self.folder / layout.METRICS_FILE).read_text(encoding="utf-8"))

    def begin(self) -> None:
        """Evaluate the held-out texts before training."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seed_all()
        if self.resume_from is None:
            self.trainer.validate(self.module, self.data, verbose=False)
            self._before = split_metrics(self.trainer.callback_metrics, layout.VAL)
            if self.trainer.is_global_zero:
                write_json(self._before_file, self._before)
        elif self._before_file.exists():
            self._before = json.loads(self._before_file.read_text())

    def own_record(self, step: int) -> dict[str, Any]:
        return {
            "val_before": self._before,
            "test": None,
            "stage": asdict(self.module.objective),
            "texts": self.texts.to_dict(),
            "head_is_fresh": self.module.head_is_fresh,
            "from_cache": None,
        }

    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.module.pretrainer.save(folder, self.tokenizer)

    @property
    def _usable_cache(self) -> Path | None:
        # Several processes wait for each other, so none may wait for a lock. A resumed stage may have started with another
        # text file or other versions, so its result doesn't belong to these settings.
        return self.cache if self.trainer.world_size == 1 and self.resume_from is None else None

    def _announce(self) -> None:
        print_texts(self.texts)
        if self.module.head_is_fresh:
            config = self.module.pretrainer.config
            log.warning(
                "pretrain: the encoder has no masked-LM head; a new one is initialized at random, with its decoder "
                "%s the token embeddings",
                "tied to" if config.tie_word_embeddings else "separate from",
            )

    def _make(self, entry: Path) -> None:
        self.train(entry)
        _copy_logs(self.folder, entry)

    def _take_over(self, entry: Path, is_new: bool) -> None:
        record = json.loads((entry / layout.METRICS_FILE).read_text(encoding="utf-8"))
        if not is_new:
            _copy_logs(entry, self.folder)
            # the texts left out aren't part of the key, and the stage's checkpoint isn't cached
            own = {"texts": self.texts.to_dict(), "checkpoint": record["checkpoint"] | {"path": None}}
            record |= own | {"from_cache": str(entry)}
            log.info("pre-training: an identical stage was run before; its result is taken from %s", entry)
        write_json(self.folder / layout.METRICS_FILE, record)

    @property
    def _before_file(self) -> Path:
        """Return the file of held-out metrics before training, which a resumed stage can't compute any more."""
        return self.folder / layout.BEFORE_FILE

    def _key(self) -> str:
        config = self.module.pretrainer.config.to_dict()
        for name in ("_name_or_path", "transformers_version"):  # its origin, not its content
            config.pop(name, None)
        settings = {
            **self.settings,
            "encoder_config": config,
            "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
            "special_ids": sorted(self.tokenizer.all_special_ids),
            "mask_id": self.tokenizer.mask_token_id,
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
