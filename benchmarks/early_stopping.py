"""Steps that early stopping saves, and its accuracy, for several patiences: from the curves of whole runs.

    python -m benchmarks.early_stopping --datasets rotten_tomatoes amazon --seeds 0      (CPU minutes for each; continues)
    python -m benchmarks.early_stopping --table                                       only what was measured

Validation doesn't change training, so one whole run without early stopping, validated every ``INTERVAL`` steps, shows what any
patience would have kept. At each validation the classifier is also measured on ``TEST_ROWS`` test rows. Rows and settings are
those of ``benchmarks.recipes``; ``easy`` are 1,500 rows whose label is in every text.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.commands import finished
from benchmarks.recipe_data import MAX_LENGTH
from benchmarks.recipes import DATASETS, Job
from bert_ft.data.batching import SortedBatches
from bert_ft.standard_error import standard_error
from bert_ft.training.plan import LEAST_PATIENCE

RESULTS = Path(__file__).with_suffix(".json")
INTERVAL, TEST_ROWS = 42, 400
RATIOS = (0.3, 0.4, 0.5, 0.6)
Curve = list[dict[str, Any]]  # validations of a run


class TestCurve(Callback):
    """Write each validation, with the accuracy on the test split, as a line of JSON."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        splits, right = data.data.splits, 0
        with torch.inference_mode(), trainer.precision_plugin.forward_context():
            for rows in SortedBatches(splits["test"].lengths, data.eval_batch_size, pl_module.max_tokens):
                logits = pl_module(splits["test"][rows].to(pl_module.device)).float().cpu().numpy()
                right += int((logits.argmax(1) == np.asarray(splits["test"].known_labels)[rows]).sum())
        record = {
            "step": trainer.global_step,
            "total": trainer.estimated_stepping_batches,
            "val": float(trainer.callback_metrics["val/accuracy"]),
            "test": right / len(splits["test"]),
            "n_val": len(splits["validation"]),
        }
        with self.path.open("a") as file:
            file.write(f"{json.dumps(record)}\n")


def measure(dataset: str, seed: int) -> Curve:
    """Train a whole run, and return its validations."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = [f"data.{name}_file={path}" for name, path in _files(dataset, seed, folder).items()]
        settings += [f"seed={seed}", f"data.max_length={MAX_LENGTH}", "trainer.precision=bf16", "logger=none"]
        settings += ["monitor=none", "report=false", "advice=false", "trainer.enable_progress_bar=false"]
        settings += [f"trainer.val_check_interval={INTERVAL}", "trainer.check_val_every_n_epoch=null"]
        settings += [
            "callbacks.early_stopping=null",
            "callbacks.last_checkpoint=null",
            "trust=[benchmarks.*]",
        ]
        settings += ["+callbacks.curve._target_=benchmarks.early_stopping.TestCurve"]
        settings += [f"+callbacks.curve.path={folder}/curve.jsonl", f"hydra.run.dir={folder}/run"]
        finished([sys.executable, "-m", "bert_ft.train", "data=files", *settings])
        return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def _files(dataset: str, seed: int, folder: Path) -> dict[str, Path]:
    if dataset == "easy":
        drawn, words = (
            random.Random(122),
            [
                "a",
                "of",
                "on",
                "to",
                "we",
                "the",
                "our",
                "your",
                "this",
                "that",
                "team",
                "order",
                "reply",
                "again",
            ],
        )
        rows = [(" ".join([*drawn.choices(words, k=12), name]), name) for name in ("billing", "login") * 750]
        _write(folder / "easy.csv", [("text", "label"), *rows])
        return {"train": folder / "easy.csv"}
    source = Job("residual", dataset, seed).folder()
    with (source / "test.csv").open(encoding="utf-8", newline="") as file:
        _write(folder / "test.csv", list(csv.reader(file))[: TEST_ROWS + 1])
    return {name: source / f"{name}.csv" for name in ("train", "validation")} | {"test": folder / "test.csv"}


def _write(path: Path, rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def kept(curve: Curve) -> dict[str, Any]:
    """Return the validation whose weights ``callbacks.best_checkpoint`` keeps."""
    best, found = -math.inf, curve[0]
    for each in curve:
        if each["val"] >= best - (standard_error(best, each["n_val"]) if best >= 0 else 0):
            found = each
        best = max(best, each["val"])
    return found


def until_stopped(curve: Curve, ratio: float) -> Curve:
    """Return the validations up to the one that ends the run."""
    best, waited, patience = -math.inf, 0, max(LEAST_PATIENCE, math.ceil(ratio * len(curve)))
    for number, each in enumerate(curve, 1):
        waited = 0 if each["val"] > best else waited + 1
        best = max(best, each["val"])
        if waited >= patience:
            return curve[:number]
    return curve


def table(curves: dict[str, Curve]) -> str:
    """Return a Markdown table: for each patience, the steps and the test accuracy that are kept."""
    heads = ["patience", *curves, "steps saved", "accuracy, points"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for ratio in (*RATIOS, math.inf):
        cells, saved, gained = [], [], []
        for curve in curves.values():
            stopped = until_stopped(curve, ratio) if ratio < math.inf else curve
            cells.append(f"{100 * kept(stopped)['test']:.1f} at {stopped[-1]['step']}/{curve[-1]['total']}")
            saved.append(1 - stopped[-1]["step"] / curve[-1]["step"])
            gained.append(100 * (kept(stopped)["test"] - kept(curve)["test"]))
        error = stdev(gained) / math.sqrt(len(gained)) if len(gained) > 1 else math.nan
        name = "none" if ratio == math.inf else f"{ratio:g} of the validations"
        lines.append(
            f"| {' | '.join([name, *cells, f'{mean(saved):.0%}', f'{mean(gained):+.2f} ± {error:.2f}'])} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=["easy", *DATASETS], choices=["easy", *DATASETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    curves = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in options.seeds:
        for dataset in () if options.table else options.datasets:
            if (name := f"{dataset}, seed {seed}") not in curves:
                curves[name] = measure(dataset, seed)
                RESULTS.write_text(json.dumps(curves, indent=1))
    print(table(curves))


if __name__ == "__main__":
    main()
