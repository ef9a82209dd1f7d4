"""Accuracy of whole recipes on small data: ours, the Hugging Face Trainer's, AutoGluon's, over data sets and seeds.

    python -m benchmarks.recipes                      all recipes, data sets and seeds (hours; goes on where it stopped)
    python -m benchmarks.recipes --recipes residual linear --datasets amazon --seeds 0 1
    python -m benchmarks.recipes --accelerator cuda --workers 16        on a GPU, in minutes
    python -m benchmarks.recipes --table              only what was measured

For each seed a data set is cut anew into at most 1,000 training rows, validation and test rows, by label and without
repeated texts; all recipes see the same rows. MiniLM in bf16, texts cut at 64 tokens. Every job is a process of its own
with one thread; its seconds are the processor time of the whole command: start, training, validation and test. On a GPU
jobs are forked from a process that has imported everything, and their seconds mean nothing.

Recipes:
    hf           transformers' Trainer with run_classification's defaults: batches of 8, lr 5e-5, linear, 3 epochs
    hf_tuned     the same with lr and epochs chosen from ``HF_GRID`` on the validation rows of seed 0 of each data set; by
                 bert_ft with that Trainer's mathematics, which is quicker (``benchmarks.rotten_tomatoes_parity``)
    autogluon    AutoGluon MultiModal's recipe, re-created: lr 1e-4 with layer decay 0.9, cosine with 10% warm-up, batches
                 of 128, clipping at 1, at most 20 epochs with two validations each and a patience of 10, greedy soup of 3
    linear       bert_ft, model=bert_linear, defaults
    residual     bert_ft, defaults
Any other name is looked up in ``VARIANTS``: settings that were tried on ``rotten_tomatoes_dev`` and ``fortunes_dev``, parts
of the two large corpora that no other data set here has rows of.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import finished
from benchmarks.corpora import UCI_DOMAINS, Rows, cache_folder, fortunes, rotten_tomatoes, uci_sentences
from benchmarks.jobs import Results, work, work_warm
from benchmarks.recipe_data import MAX_LENGTH, bbc_news, cut, for_development
from benchmarks.recipes_page import page

RESULTS = {
    "cpu": Results(Path(__file__).with_suffix(".json")),
    "cuda": Results(Path(__file__).with_name("recipes_cuda.json")),
}
SEEDS = (0, 1, 2, 3, 4)
DATASETS: dict[str, Callable[[], Rows]] = {
    "rotten_tomatoes": lambda: for_development(rotten_tomatoes(), yes=False),
    **{name: (lambda name=name: uci_sentences(name)) for name in UCI_DOMAINS},
    "bbc_news": bbc_news,
    "fortunes": lambda: for_development(fortunes(), yes=False),
}
DEVELOPMENT: dict[str, Callable[[], Rows]] = {
    "rotten_tomatoes_dev": lambda: for_development(rotten_tomatoes(), yes=True),
    "fortunes_dev": lambda: for_development(fortunes(), yes=True),
}
HF_GRID = [(lr, epochs) for lr in (5e-5, 1e-4, 2e-4) for epochs in (3, 10)]

AUTOGLUON = [
    "model=bert_residual",
    "model.pooling=cls",
    "model.head.hidden_sizes=[]",
    "model.head.dropout=0.0",
    "schedule=cosine",
    "schedule.warmup_ratio=0.1",
    "loss.label_smoothing=0.0",
    "optimizer.lr=1e-4",
    "optimizer.layer_decay=0.9",
    "optimizer.head_lr=null",
    "optimizer.weight_decay=0.001",
    "data.batch_size=128",
    "trainer.max_epochs=20",
    "trainer.min_train_steps=0",
    "trainer.val_check_interval=0.5",
    "trainer.gradient_clip_val=1.0",
    "callbacks.early_stopping.patience=10",
    "callbacks.best_checkpoint.save_top_k=3",
    "callbacks.best_checkpoint.filename='best-{step}'",
]
OURS: dict[str, list[str]] = {
    "residual": [],
    "linear": ["model=bert_linear"],
    "autogluon": AUTOGLUON,
}
# the last weights are judged: choosing a checkpoint by the rows that judge it would favour many validations
LAST = ["callbacks.best_checkpoint=null", "callbacks.early_stopping=null"]
BASE = [*LAST, "data.batch_size=16", "trainer.min_train_steps=400", "optimizer.lr=1e-4"]
FAST = [*BASE, "optimizer.lr=2e-4"]
BEST = ["callbacks.best_checkpoint.standard_errors=0"]
VARIANTS: dict[str, list[str]] = {
    "residual steps=800": ["trainer.min_train_steps=800"],
    "residual steps=1000": ["trainer.min_train_steps=1000"],
    "residual steps=1000 r_drop": ["trainer.min_train_steps=1000", "loss=r_drop"],
    "base": BASE,
    "base lr=5e-5": [*BASE, "optimizer.lr=5e-5"],
    "base lr=2e-4": [*BASE, "optimizer.lr=2e-4"],
    "base layer_decay=0.8": [*BASE, "optimizer.layer_decay=0.8"],
    "base layer_decay=1": [*BASE, "optimizer.layer_decay=1.0"],
    "base steps=200": [*BASE, "trainer.min_train_steps=200"],
    "base steps=800": [*BASE, "trainer.min_train_steps=800"],
    "base batches of 32": [*BASE, "data.batch_size=32", "trainer.min_train_steps=200"],
    "base ema": [*BASE, "averaging=ema"],
    "base swa": [*BASE, "averaging=swa"],
    "base label_smoothing=0": [*BASE, "loss.label_smoothing=0.0"],
    "base head_lr=null": [*BASE, "optimizer.head_lr=null"],
    "base r_drop": [*BASE, "loss=r_drop"],
    "base adversarial": [*BASE, "loss=adversarial"],
    "base contrastive": [*BASE, "loss=supervised_contrastive"],
    "base token_dropout=0.1": [*BASE, "data.augmentation.token_deletion_prob=0.1"],
    "base span_masking=0.15": [*BASE, "data.augmentation.span_mask_ratio=0.15"],
    "base reinit=1": [*BASE, "encoder.reinit_layers=1"],
    "base cosine": [*BASE, "schedule=cosine"],
    "base linear head": [*BASE, "model.head.hidden_sizes=[]"],
    "base cls": [*BASE, "model.pooling=cls"],
    "base focal": [*BASE, "loss=focal"],
    "fast": FAST,
    "fast linear head": [*FAST, "model.head.hidden_sizes=[]"],
    "fast lr=3e-4": [*FAST, "optimizer.lr=3e-4"],
    "fast head_lr=2e-3": [*FAST, "optimizer.head_lr=2e-3"],
    "fast steps=800": [*FAST, "trainer.min_train_steps=800"],
    "fast steps=600": [*FAST, "trainer.min_train_steps=600"],
    # the best of all validations, and with early stopping after three
    "fast steps=600 kept": [
        *FAST[len(LAST) :],
        "trainer.min_train_steps=600",
        *BEST,
        "callbacks.early_stopping=null",
    ],
    "fast steps=800 best": [
        *FAST[len(LAST) :],
        "trainer.min_train_steps=800",
        *BEST,
        "callbacks.early_stopping.patience=3",
    ],
    "fast r_drop": [*FAST, "loss=r_drop"],
    "fast steps=600 contrastive": [*FAST, "trainer.min_train_steps=600", "loss=supervised_contrastive"],
    "fast steps=600 linear head": [*FAST, "trainer.min_train_steps=600", "model.head.hidden_sizes=[]"],
    "fast steps=600 token_dropout=0.1": [
        *FAST,
        "trainer.min_train_steps=600",
        "data.augmentation.token_deletion_prob=0.1",
    ],
    "fast steps=600 span_masking=0.15": [
        *FAST,
        "trainer.min_train_steps=600",
        "data.augmentation.span_mask_ratio=0.15",
    ],
    "fast steps=1000": [*FAST, "trainer.min_train_steps=1000"],
    "fast steps=1500": [*FAST, "trainer.min_train_steps=1500"],
    "fast steps=1000 r_drop": [*FAST, "trainer.min_train_steps=1000", "loss=r_drop"],
    **{
        f"fast steps=600 {name}": [*FAST, "trainer.min_train_steps=600", *overrides]
        for name, overrides in {
            "r_drop": ["loss=r_drop"],
            "adversarial": ["loss=adversarial"],
            "focal": ["loss=focal"],
            "label_smoothing=0": ["loss.label_smoothing=0.0"],
            "label_smoothing=0.2": ["loss.label_smoothing=0.2"],
            "ema": ["averaging=ema"],
            "swa": ["averaging=swa"],
            "layer_decay=0.8": ["optimizer.layer_decay=0.8"],
            "layer_decay=1": ["optimizer.layer_decay=1.0"],
            "head_lr=5e-4": ["optimizer.head_lr=5e-4"],
            "head_lr=2e-3": ["optimizer.head_lr=2e-3"],
            "head_lr=null": ["optimizer.head_lr=null"],
            "lr=1e-4": ["optimizer.lr=1e-4"],
            "lr=3e-4": ["optimizer.lr=3e-4"],
            "weight_decay=0.1": ["optimizer.weight_decay=0.1"],
            "batches of 32": ["data.batch_size=32"],
            "cosine": ["schedule=cosine"],
            "encoder dropout 0.2": ["encoder.hidden_dropout=0.2"],
            "cls": ["model.pooling=cls"],
            "two layers": ["model.pooling_layers=2"],
            "two blocks": ["model.head.hidden_sizes=[384,384]"],
            "token_swap_prob=0.1": ["data.augmentation.token_swap_prob=0.1"],
            "reinit=1": ["encoder.reinit_layers=1"],
        }.items()
    },
    "fast layer_decay=0.8": [*FAST, "optimizer.layer_decay=0.8"],
    "fast two layers": [*FAST, "model.pooling_layers=2"],
    "fast small block": [*FAST, "model.head.hidden_sizes=[128]"],
}


@dataclass(frozen=True)
class Job:
    recipe: str
    dataset: str
    seed: int
    accelerator: str = "cpu"

    @property
    def keys(self) -> tuple[str, str, str]:
        return self.recipe, self.dataset, str(self.seed)

    def folder(self) -> Path:
        """The rows, as csv files."""
        folder = cache_folder() / "recipes" / f"{self.dataset}_{self.seed}"
        if not (folder / "test.csv").exists():
            cut((DATASETS | DEVELOPMENT)[self.dataset](), folder, self.seed)
        return folder


def hf_equivalent(lr: float, epochs: int) -> list[str]:
    """Overrides for the mathematics of run_classification."""
    return [
        "model=bert_linear",
        "loss.label_smoothing=0.0",
        f"optimizer.lr={lr}",
        "optimizer.layer_decay=1.0",
        "optimizer.head_lr=null",
        "optimizer.weight_decay=0.0",
        "schedule.warmup_ratio=0.0",
        "data.batch_size=8",
        f"trainer.max_epochs={epochs}",
        "trainer.min_train_steps=0",
        "callbacks.best_checkpoint=null",  # it evaluates what training ends with
        "callbacks.early_stopping=null",
    ]


def ours(job: Job, overrides: Iterable[str]) -> dict[str, float]:
    """By the command line."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"data.{name}_file={job.folder() / name}.csv" for name in ("train", "validation", "test")]
        command = [sys.executable, "-m", "bert_ft.train", "data=files", *files, f"seed={job.seed}"]
        command += [
            f"data.max_length={MAX_LENGTH}",
            "logger=none",
            "monitor=none",
            "trainer.enable_progress_bar=false",
        ]
        command += [f"hydra.run.dir={folder}/run", f"trainer.accelerator={job.accelerator}"]
        command += ["trainer.precision=bf16", *overrides]
        _, seconds = finished(command)
        metrics = json.loads((Path(folder) / "run/metrics.json").read_text())
        result = _scores(metrics["test"], metrics["val"], seconds)
        if job.recipe == "autogluon":
            command = [sys.executable, "-m", "benchmarks.greedy_soup", f"{folder}/run", str(job.folder())]
            result |= json.loads(finished(command)[0].splitlines()[-1])
        return result


def hugging_face(job: Job) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.hf_recipe",
        str(job.folder()),
        str(job.seed),
        job.accelerator,
    ]
    output, seconds = finished(command)
    return {**json.loads(output.splitlines()[-1]), "seconds": round(seconds, 1)}


def run(job: Job) -> dict[str, Any]:
    """The job's scores."""
    if job.recipe == "hf":
        return hugging_face(job)
    if job.recipe == "hf_tuned":
        lr, epochs = _best_of_grid(job)
        if job.seed == 0:
            return {**_in_grid(job, lr, epochs), "lr": lr, "epochs": epochs}
        return {**ours(job, hf_equivalent(lr, epochs)), "lr": lr, "epochs": epochs}
    if job.recipe.startswith("grid_"):
        _, lr, epochs = job.recipe.split("_")
        return ours(job, hf_equivalent(float(lr), int(epochs)))
    return ours(job, (OURS | VARIANTS)[job.recipe])


def _best_of_grid(job: Job) -> tuple[float, int]:
    def score(setting: tuple[float, int]) -> tuple[float, float]:
        found = _in_grid(job, *setting)
        return found["val_accuracy"], -found["val_loss"]

    return max(HF_GRID, key=score)


def _in_grid(job: Job, lr: float, epochs: int) -> dict[str, float]:
    """Measured with seed 0, on either device."""
    point = f"grid_{lr}_{epochs}"
    by_device = [results.read().get(point, {}) for results in RESULTS.values()]
    return next(found[job.dataset]["0"] for found in by_device if job.dataset in found)


def _scores(test: dict[str, float], val: dict[str, float], seconds: float) -> dict[str, float]:
    return {
        "accuracy": test["accuracy"],
        "f1_macro": test["f1_macro"],
        **{f"val_{name}": value for name, value in val.items()},
        "seconds": round(seconds, 1),
    }


def jobs(
    recipes: Iterable[str], datasets: Iterable[str], seeds: Iterable[int], accelerator: str
) -> list[Job]:
    """Seed by seed, so that a first picture is there early."""
    return [Job(recipe, name, seed, accelerator) for seed in seeds for name in datasets for recipe in recipes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=["residual", "linear", "hf", "autogluon", "hf_tuned"])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=[*DATASETS, *DEVELOPMENT])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="on a GPU: begin no job after so many"
    )
    parser.add_argument("--table", action="store_true", help="only write what was measured to recipes.md")
    options = parser.parse_args()
    if not options.table:
        if "hf_tuned" in options.recipes:
            grid = [f"grid_{lr}_{epochs}" for lr, epochs in HF_GRID]
            _work(grid, options.datasets, [0], options)
        _work(options.recipes, options.datasets, options.seeds, options)
    measured = {name: found.read() for name, found in RESULTS.items()}
    written = page(measured["cpu"], measured["cuda"], list(DATASETS), list(DEVELOPMENT))
    RESULTS["cpu"].path.with_suffix(".md").write_text(written, encoding="utf-8")
    print(written)


def _work(
    recipes: Iterable[str], datasets: Iterable[str], seeds: Iterable[int], options: argparse.Namespace
) -> None:
    results = RESULTS[options.accelerator]
    missing = jobs(recipes, datasets, seeds, options.accelerator)
    for measured in RESULTS.values():  # on either device
        missing = measured.missing(missing)
    if options.accelerator == "cpu":
        work(missing, run, results, options.workers)
    else:
        work_warm(missing, run, results, options.workers, options.minutes)


if __name__ == "__main__":
    main()
