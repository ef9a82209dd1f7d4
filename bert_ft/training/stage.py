"""Run any stage of training: fit, load the best checkpoint, save its weights, and record the results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from transformers import PreTrainedTokenizerFast

from bert_ft import layout
from bert_ft.errors import Interrupted, OutputError, is_unwritable, what_is_unwritable
from bert_ft.signals import Signals
from bert_ft.training.checkpoint_file import (
    naming_unwritten,
    remove_unfinished,
    save_whole,
    write_whole_checkpoints,
)
from bert_ft.training.encoder_module import EncoderModule
from bert_ft.training.environment import package_versions
from bert_ft.training.fitting import Fitted, KeptWeights, fit, take_best
from bert_ft.training.interruption import checkpoint_path, report
from bert_ft.training.json_file import write_json
from bert_ft.training.kept_files import tidy
from bert_ft.training.precision import Precision
from bert_ft.training.resumable_data import ResumableDataModule
from bert_ft.training.resume import resume_command, set_aside

# the entries of a record, in their order; each kind of stage has some of its own
RECORD = (
    "val",
    "val_before",
    "test",
    "baseline",
    "guess",
    "intervals",
    "calibration",
    "weights",
    "objective",
    "checkpoint",
    "stopped",
    "stage",
    "texts",
    "head_is_fresh",
    "seed",
    "precision",
    "labels",
    "rows",
    "fit_seconds",
    "from_cache",
    "versions",
    "pretraining",
)


@dataclass(kw_only=True)
class Stage(ABC):
    """Everything a stage needs, built and checked.

    Attributes:
        folder: folder of its logs and checkpoints and, by default, its weights and record.
        metric: metric that decides which checkpoint is kept, e.g. ``val/accuracy``.
        resume_from: a checkpoint of this stage.
        keep: which files remain in the folder of a finished run; see ``kept_files``.
    """

    module: EncoderModule
    data: ResumableDataModule
    trainer: Trainer
    tokenizer: PreTrainedTokenizerFast
    folder: Path
    metric: str
    seed: int
    precision: Precision
    resume_from: str | None = None
    keep: str = "resumable"

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Train as a run of its own, and return the content of ``metrics.json``."""

    def begin(self) -> None:  # noqa: B027 (nothing has to come first)
        """Do what must be done before training."""

    @abstractmethod
    def own_record(self, step: int) -> dict[str, Any]:
        """Return the additional record of this kind of stage; the module has the kept weights, of this ``step``."""

    @abstractmethod
    def save(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Save the kept weights."""

    def train(self, place: Path) -> dict[str, Any]:
        """Train, write ``model/`` and finally ``metrics.json`` to ``place``, and return the record.

        Raises:
            CheckpointError: ``resume_from`` can't be read.
            Interrupted: a signal was received.
            OutputError: a checkpoint or a result can't be written.
        """
        signals = Signals()
        try:
            with signals.taken():
                return self._train(place, signals)
        except Interrupted:
            if signals.received is not None and self.trainer.is_global_zero and not signals.in_a_call:
                step, path = self.trainer.global_step, checkpoint_path(self.trainer)
                report(signals, step, path, partial(resume_command, self.folder))
            raise
        except OSError as error:
            if not is_unwritable(error):
                raise
            problem = what_is_unwritable(error, self.folder)
            raise OutputError(f"{problem}; to continue afterwards: {resume_command(self.folder)}") from error

    def _train(self, place: Path, signals: Signals) -> dict[str, Any]:
        remove_unfinished(self.folder / layout.CHECKPOINT_FOLDER)
        write_whole_checkpoints(self.trainer)
        self.begin()
        set_aside(place / layout.METRICS_FILE)  # of a run that was finished, and is trained further
        fitted = fit(self.trainer, self.module, self.data, self.resume_from, signals)
        kept = take_best(self.trainer, self.module, self.data, self.metric, self.module.weights_name)
        record = self._record(fitted, kept)
        signals.end_if_received()
        if self.trainer.is_global_zero:
            save_whole(place / layout.MODEL_FOLDER, lambda folder: self.save(folder, record))
            with naming_unwritten(place / layout.METRICS_FILE):
                write_json(place / layout.METRICS_FILE, record | {"fit_seconds": round(fitted.seconds, 3)})
        return record

    def tidy(self) -> None:
        """Remove the files that aren't kept from the run's folder, at the very end."""
        if self.trainer.is_global_zero:
            tidy(self.folder, self.keep)

    def seed_all(self) -> None:
        """Seed all generators, so that random numbers don't depend on what was drawn since the stage was built."""
        seed_everything(self.seed, workers=True, verbose=False)

    def _record(self, fitted: Fitted, kept: KeptWeights) -> dict[str, Any]:
        found = {
            "val": kept.val,
            "weights": kept.weights,
            "objective": {"metric": self.metric, "value": _value(kept.val, self.metric)},
            "checkpoint": kept.to_dict(self.folder),
            "stopped": fitted.stopped,
            "seed": self.seed,
            "precision": {"requested": self.precision.requested, "effective": self.precision.effective},
            "fit_seconds": fitted.seconds,
            "versions": package_versions(),
            **self.own_record(kept.step),
        }
        return {name: found[name] for name in sorted(found, key=RECORD.index)}


def reached(record: Mapping[str, Any], name: str) -> float:
    """Return ``fit_seconds``, or a validation metric of the kept weights by its name, such as ``val/loss``, or NaN."""
    return record[name] if name == "fit_seconds" else _value(record["val"], name)


def _value(val: Mapping[str, float], name: str) -> float:
    return val.get(name.removeprefix(layout.VAL), math.nan)
