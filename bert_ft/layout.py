"""Names of a run's or study's files and of logged values, shared by writers and readers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

# the folder of a run
METRICS_FILE = "metrics.json"  # the record of the run, written last
DATA_REPORT_FILE = "data_report.json"
ENVIRONMENT_FILE = "environment.json"
BEFORE_FILE = "before.json"  # held-out metrics before pre-training
MODEL_FOLDER = "model"
CHECKPOINT_FOLDER = "checkpoints"
MONITOR_FOLDER = "monitor"
PRETRAINING_FOLDER = "pretraining"  # the stage before the run, a folder like the run's
TENSORBOARD_FOLDER = "tensorboard"
CSV_FOLDER = "csv"
CSV_FILES = "version_*/metrics.csv"  # in the csv folder, as Lightning's CSVLogger names them
REPORT_FILE = "report.html"
REPORT_PICTURE_FOLDER = "report"
CONSOLE_FILE = "console.log"  # what a trial of a search prints
HYDRA_FOLDER = ".hydra"
CONFIG_FILE = f"{HYDRA_FOLDER}/config.yaml"
OVERRIDES_FILE = f"{HYDRA_FOLDER}/overrides.yaml"
HYDRA_FILE = f"{HYDRA_FOLDER}/hydra.yaml"

# the saved model, beside the files of transformers
SPECIFICATION_FILE = "bert_ft.yaml"
WEIGHTS_FILE = "model.safetensors"
VALIDATION_SCORES_FILE = "validation_scores.safetensors"  # logits and targets of the validation rows

# the folder of a study
STUDY_FILE = "study.html"
STUDY_PICTURE_FOLDER = "study"
STUDY_DATABASE = "study.db"
TRIALS_FILE = "trials.csv"
BEST_FILE = "best.yaml"
EXPERIMENT_FOLDER = "experiment"  # where Hydra looks for experiment=best
SEARCH_FOLDER = "search"  # where Hydra looks for search=next
RESULTS_FILE = "optimization_results.yaml"  # as Hydra's own sweeper names it

# kind of a monitor's file → how its name ends
VALIDATION_ROWS = "validation"
VECTORS = "representations"
ATTENTION_MAPS = "attention"
TOP_LOSSES = "top_losses"
MONITOR_FILES = {VALIDATION_ROWS: "npz", VECTORS: "npz", ATTENTION_MAPS: "npz", TOP_LOSSES: "json"}

# what tags begin with
TRAIN = "train/"
VAL = "val/"
TEST = "test/"
KEPT = "kept/"  # the kept checkpoint, in TensorBoard's table of hyper-parameters
SEARCH = "search/"  # the same for a trial without a kept checkpoint
LEARNING_RATE = "lr-"  # as Lightning's LearningRateMonitor has it
THROUGHPUT = "throughput/"
SECONDS = "seconds/"
SECONDS_AFTER = "seconds_after/"  # between the last reading and the end of training
CONFIDENCE = "confidence/"
PICTURES = "pictures/"
# these are followed by a layer, sub-block or class, and a statistic: see `tag`
GRADIENTS = "gradients/"
WEIGHTS = "weights/"
ACTIVATIONS = "activations/"
ATTENTION = "attention/"
REPRESENTATIONS = "representations/"
CLASS = "class/"

TRAIN_LOSS = f"{TRAIN}loss"
TRAIN_LOSS_SMOOTHED = f"{TRAIN}loss_smoothed"
TRAIN_LOSS_PLAIN = f"{TRAIN}loss_plain"  # the task's, as in validation, where training minimizes another
SHOWN_LOSSES = (TRAIN_LOSS, TRAIN_LOSS_PLAIN)  # in the progress bar, which has one of them
VAL_LOSS = f"{VAL}loss"
TEST_LOSS = f"{TEST}loss"
GRAD_NORM = f"{TRAIN}grad_norm"
GRAD_NORM_CLIPPED = f"{TRAIN}grad_norm_clipped"
TOKENS_PER_SECOND = f"{THROUGHPUT}tokens_per_second"
SEQUENCES_PER_SECOND = f"{THROUGHPUT}sequences_per_second"
PADDING_RATIO = f"{THROUGHPUT}padding_ratio"
PEAK_MEMORY = f"{THROUGHPUT}peak_memory_mb"

# pre-training: behind TRAIN or VAL
MASKED_ACCURACY = "masked_accuracy"
PERPLEXITY = "perplexity"
ALIGNMENT = "alignment"
UNIFORMITY = "uniformity"

WITHOUT_TEXT = "guessing"  # a prediction that does not read the texts, beside the metrics

# statistics of a layer, sub-block or class
NORM = "norm"
NORM_CLIPPED = "norm_clipped"
UPDATE_RATIO = "update_ratio"
DISTANCE = "distance"
AVERAGING_DRIFT = "averaging_drift"
ENTROPY = "entropy"
F1 = "f1"

# behind CONFIDENCE or REPRESENTATIONS
ECE = "ece"
BRIER = "brier"
MEAN_CORRECT = "mean_correct"
MEAN_WRONG = "mean_wrong"
SILHOUETTE = "silhouette"
CENTROID_DISTANCE = "centroid_distance"
EFFECTIVE_RANK = "effective_rank"


def tag(prefix: str, part: str, statistic: str) -> str:
    """Return the tag of a statistic for one layer, sub-block or class, or for several if ``part`` is a pattern."""
    return f"{prefix}{part}/{statistic}"


def counted(number: float, noun: str) -> str:
    """Return a number with its noun: ``1 epoch``, ``0.26 epochs`` or ``11 epochs``."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def not_logged(name: str, names: Iterable[str]) -> str:
    """Return the message for a name that is never logged; it lists the logged ones."""
    names = sorted(names)
    close = get_close_matches(name.replace("_", "/", 1), names, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"nothing of that name is logged{hint}; choose one of {', '.join(names)}"


def wrong_mode(name: str, mode: str) -> str:
    """Return the message for a ``mode`` that would keep the worst value as the best."""
    return f"{name} is better when {'higher' if mode == 'max' else 'lower'}; set it to {mode}"


def monitor_file(kind: str, step: int) -> str:
    """Return the name of the file that a monitor writes after ``step`` optimizer steps."""
    return f"{kind}_{step}.{MONITOR_FILES[kind]}"


def monitor_files(folder: Path, kind: str) -> dict[int, Path]:
    """Return step → path of each monitor file of this kind."""
    return {
        int(match[1]): path
        for path in folder.glob(f"{kind}_*")
        if (match := re.fullmatch(rf"{kind}_(\d+)\.{MONITOR_FILES[kind]}", path.name))
    }
