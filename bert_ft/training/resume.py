"""How an interrupted run is resumed, step by step.

``resume_from`` names a run's folder, or a checkpoint that ``callbacks.last_checkpoint`` has left. The result
is the same as if the run had never stopped, bit for bit.

1. **The command** (``config.resumed_command``) adds the run's own overrides, and accepts others only if they
   extend it. A run that stopped before its first checkpoint starts from the beginning: ``checkpoint_of``.
2. **Which stage** (``config.build``): a run with pre-training has checkpoints of two stages, see ``is_of_pretraining``.
   - From a pre-training checkpoint, that stage resumes, and fine-tuning starts after it as usual. Its result
     isn't cached (``Pretraining._usable_cache``), and the held-out values before training are read from
     ``before.json``.
   - From a fine-tuning checkpoint, pre-training isn't run: its record is read, and no encoder is handed over
     (``FineTuning.begin``).
3. **Before Lightning loads anything** (``fitting.fit``): ``prepare`` refuses a file that is damaged or
   belongs to another model.
4. **Lightning loads the checkpoint**, in this order:
   - ``EncoderModule.on_load_checkpoint``: ``compat.lightning.end_epoch`` corrects the progress, and the
     gradients of an accumulation window that wasn't full are kept for later.
     ``ClassificationModule.on_load_checkpoint``: ``check_same_training``.
   - The module's weights (done by Lightning).
   - ``ResumableDataModule.load_state_dict``: the position in the epoch, where the next training loader
     starts.
   - Callbacks: ``Averaging.on_load_checkpoint`` restores the average, ``RandomState.load_state_dict`` keeps the states of
     the generators for later; early stopping, checkpoints and monitors get their counts back.
   - Loops, optimizers and schedules (done by Lightning).
5. **Just before the first step** (``on_train_start``): ``RandomState`` restores the generators, since the
   start of training has drawn from them, and ``EncoderModule`` the window's gradients.

An interrupted run resumes from the step at which it was interrupted (``training.interruption``), a crashed
one from its latest validation.

The corresponding hooks that save all this are ``EncoderModule.on_save_checkpoint``,
``ResumableDataModule.state_dict`` (``place_in_epoch``), ``RandomState.state_dict``,
``Averaging.on_save_checkpoint``.

A command asks ``run_of`` before anything heavy is loaded, so this module imports torch only where it reads a file.
"""

from __future__ import annotations

import os
import pickle
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bert_ft import layout
from bert_ft.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

LAST = "last.ckpt"

# keys of a checkpoint, besides Lightning's own
VAL_METRICS_KEY = "val_metrics"  # the validation values of its weights
WEIGHTS_KEY = "weights"  # `raw`, or how they were averaged
WINDOW_KEY = "accumulation_window"  # what an optimizer step that isn't done yet has so far
PENDING_DECAY_KEY = "pending_decay"  # of rows that no text uses, where the state was saved without it
TRAINED_ROWS_KEY = "trained_rows"  # of the token embedding, those that are trained


def run_of(resume_from: Path | str) -> Path:
    """Return the folder of the run that ``resume_from`` names by its folder or one of its checkpoints."""
    path = Path(os.path.abspath(Path(resume_from).expanduser()))  # without ..
    if path.is_dir():
        return path
    folder = path.parents[1]
    return folder.parent if _is_stage(folder) else folder


def checkpoint_of(resume_from: Path | str | None) -> str | None:
    """Return the checkpoint that ``resume_from`` names, the latest one of a folder; ``None`` if the run has none yet."""
    if resume_from is None:
        return None
    path = Path(resume_from).expanduser()
    if not path.is_dir():
        return str(path)
    for folder in (path, path / layout.PRETRAINING_FOLDER):
        if (last := folder / layout.CHECKPOINT_FOLDER / LAST).exists():
            return str(last)
    return None


def check_has_checkpoint(resume_from: str, run: Path) -> None:
    """Refuse a finished run that kept no checkpoint, since it would start from the beginning.

    Raises:
        ConfigError: the run kept no checkpoint.
    """
    if (run / layout.METRICS_FILE).exists() and checkpoint_of(resume_from) is None:
        raise ConfigError(
            f"resume_from={resume_from}: the run is finished, and its checkpoints were deleted (keep=model does that); begin "
            f"a new run from its weights: encoder.name_or_path={resume_from} model.keep_head=true"
        )


def resume_command(folder: Path) -> str:
    """Return the shell command that resumes the run of a stage's folder."""
    run = folder.parent if _is_stage(folder) else folder
    words = [f"resume_from={run}"]
    job = "train"
    if (run / layout.HYDRA_FOLDER).is_dir():
        record = _yaml(run / layout.HYDRA_FILE).get("hydra", {})
        job = record.get("job", {}).get("config_name") or job
        overrides = record.get("overrides", {}).get("task") or ()
        words += [word for word in overrides if str(word).lstrip("+").startswith("trust=")]
    return " ".join([f"python -m bert_ft.{job}", *(shlex.quote(str(word)) for word in words)])


def set_aside(record: Path) -> None:
    """Rename the record of a finished run, which counts as interrupted until it is finished again."""
    if record.exists():
        os.replace(record, record.with_name(f"{record.stem}_before{record.suffix}"))


def check_length(path: str, steps: float, *, is_finished: bool) -> None:
    """Refuse a run with fewer total steps than it has already done, and a finished run without more steps to do.

    Raises:
        ConfigError: the number of steps is too low.
        CheckpointError: the checkpoint can't be read.
    """
    done = _read(path).get("global_step", 0)
    if steps < done:
        raise ConfigError(
            f"trainer.max_epochs: the run has done {done} steps, and would have {steps:.0f} in all; raise it (or "
            "trainer.max_steps)"
        )
    if is_finished and steps == done:
        raise ConfigError(
            f"resume_from={path}: the run is finished, after all of its {done} steps; to train it further raise "
            "trainer.max_epochs (or trainer.max_steps)"
        )


def is_of_pretraining(checkpoint: Path | str | None) -> bool:
    """Return whether a checkpoint belongs to the pre-training stage."""
    return checkpoint is not None and _is_stage(Path(checkpoint).absolute().parents[1])


def _is_stage(folder: Path) -> bool:
    """Return whether this is a stage's folder inside a run's folder; a run's own folder has Hydra's record."""
    return folder.name == layout.PRETRAINING_FOLDER and not (folder / layout.HYDRA_FOLDER).exists()


def prepare(trainer: Trainer, module: LightningModule, path: str) -> int:
    """Check that a run can be resumed, prepare the module for loading, and return the step of the checkpoint.

    Raises:
        CheckpointError: the file isn't a checkpoint, or belongs to a different model.
    """
    checkpoint = _read(path)
    state = checkpoint["state_dict"]
    ours = {name: value.shape for name, value in module.state_dict().items()}
    if ours != {name: value.shape for name, value in state.items()}:
        raise CheckpointError(f"resume_from={path}: belongs to a different model than the one configured")
    # Lightning does this after it has loaded the weights, which would round those of 64 bits
    trainer.precision_plugin.convert_module(module)
    return int(checkpoint["global_step"])


def step_of(path: str) -> int | None:
    """Return the step of a checkpoint; ``None`` if there is none."""
    try:
        return int(_read(path)["global_step"])
    except CheckpointError:
        return None


def _read(path: str) -> dict[str, Any]:
    from bert_ft.training.shared_weights import read_checkpoint

    try:
        checkpoint = read_checkpoint(path, map_location="meta")
        checkpoint["state_dict"]
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"resume_from={path}: isn't a checkpoint of a run, or is damaged") from error
    return checkpoint


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def check_same_training(
    checkpoint: Mapping[str, Any], *, averaging: str | None, trained_rows: Sequence[Any]
) -> None:
    """Refuse to continue with weights that differ from the run's.

    This happens without the callback that averages the weights, or if the optimizer's moments belong to other rows of the
    embedding, which fused AdamW would use unchecked.

    Raises:
        CheckpointError: one of these applies.
    """
    weights = checkpoint.get(WEIGHTS_KEY, "raw")
    if weights not in ("raw", averaging):
        raise CheckpointError(
            f"resume_from: the run averages its weights; continue with the same averaging={weights}"
        )
    if checkpoint.get(TRAINED_ROWS_KEY, []) != trained_rows:
        raise CheckpointError(
            "resume_from: the run trained other rows of the token embedding than this one would; continue "
            "with the same training texts and encoder.kernels, on the same kind of device"
        )


def place_in_epoch(trainer: Trainer) -> dict[str, int]:
    """Return the position of training: the epoch, and the number of its batches already trained on."""
    from bert_ft.compat.lightning import is_within_epoch, num_batches_begun

    epoch, position = trainer.current_epoch, num_batches_begun(trainer)
    if position < trainer.num_training_batches:
        return {"epoch": epoch, "position": position}
    # the next one, for workers fetch ahead before Lightning says that it begins; it counts the epoch a little later
    return {"epoch": epoch + is_within_epoch(trainer), "position": 0}
