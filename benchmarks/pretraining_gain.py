"""What adapting the encoder first brings, with few labelled rows: test accuracy after each kind of pre-training stage.

    python -m benchmarks.pretraining_gain                  everything (hours; goes on where it stopped)
    python -m benchmarks.pretraining_gain --stages none mlm --datasets amazon --rows 8 --seeds 0
    python -m benchmarks.pretraining_gain --accelerator cuda --workers 16       on a GPU, in minutes
    python -m benchmarks.pretraining_gain --table          only what was measured

For each seed a data set is cut as ``benchmarks.recipes`` does it. Fine-tuning has 8, 32 or 128 rows of each class, or as many
as there are; the stage has all training texts, at most 1,000, without labels (``data.unlabeled_file``). It is the same for
all numbers of rows, and trained once (bert_ft's own cache). MiniLM in bf16, texts cut at 32 tokens; the last weights are
judged, on at most 1,000 test rows. Jobs are forked from a process that has imported everything; their seconds are
processor time without those imports, and mean nothing on a GPU.

Any other name of a stage is looked up in ``TRIED``: settings that are compared on ``rotten_tomatoes_dev`` and
``fortunes_dev``, which ``benchmarks.recipes`` keeps for that. (What the json file has of them is of ``fortunes_dev``, seeds 0
and 1, 8 and 32 rows of each class, texts cut at 64 tokens and 120 steps of fine-tuning.)
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.commands import finished
from benchmarks.corpora import UCI_DOMAINS, cache_folder
from benchmarks.jobs import Results, work_warm
from benchmarks.recipe_data import write_rows
from benchmarks.recipes import Job as Cut

RESULTS = Results(Path(__file__).with_suffix(".json"))
STAGES = ("none", "contrastive", "mlm", "mlm_contrastive")
DATASETS = ("bbc_news", "rotten_tomatoes", *UCI_DOMAINS)
DEVELOPMENT = ("rotten_tomatoes_dev", "fortunes_dev")
ROWS = (8, 32, 128)
SEEDS = (0, 1, 2, 3, 4)
MOST_TEST_ROWS = 1000
MAX_LENGTH = 32  # tokens
FINE_TUNING = [
    "trainer.max_epochs=-1",
    "trainer.max_steps=100",
    "trainer.val_check_interval=100",
    "trainer.check_val_every_n_epoch=null",
    "callbacks.best_checkpoint=null",
    "callbacks.last_checkpoint=null",
    "callbacks.early_stopping=null",
    "logger=none",
    "monitor=none",
    "report=false",
    "trainer.enable_progress_bar=false",
    "trainer.precision=bf16",
]
STAGE = ["pretrain.trainer.min_train_steps=100"]
TRIED = {
    "mlm lr=1e-4 head_lr=null": [
        "pretrain=mlm",
        "pretrain.optimizer.lr=1e-4",
        "pretrain.optimizer.head_lr=null",
    ],
}


@dataclass(frozen=True)
class Job:
    stage: str
    dataset: str
    rows: int
    seed: int
    accelerator: str = "cpu"

    @property
    def keys(self) -> tuple[str, str, str, str]:
        return self.stage, self.dataset, str(self.rows), str(self.seed)

    def folder(self) -> Path:
        """``train_<rows>.csv``, ``unlabelled.csv``, ``validation.csv`` and ``test.csv``."""
        folder = cache_folder() / "pretraining_gain" / f"{self.dataset}_{self.seed}"
        if not (folder / "test.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            cut = Cut("", self.dataset, self.seed).folder()
            parts = {name: _rows(cut / f"{name}.csv") for name in ("train", "validation", "test")}
            for rows in ROWS:
                write_rows(folder / f"train_{rows}.csv", _first_of_each(parts["train"], rows))
            write_rows(folder / "unlabelled.csv", [(text, "") for text, _ in parts["train"]])
            write_rows(folder / "validation.csv", parts["validation"])
            write_rows(folder / "test.csv", parts["test"][:MOST_TEST_ROWS])
        return folder


def _rows(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def _first_of_each(rows: Sequence[tuple[str, str]], num: int) -> list[tuple[str, str]]:
    """Of each class; the rows are in a random order."""
    seen: dict[str, int] = {}
    kept = []
    for text, label in rows:
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= num:
            kept.append((text, label))
    return kept


def run(job: Job) -> dict[str, Any]:
    rows = job.folder()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "bert_ft.train",
            "data=files",
            f"data.train_file={rows}/train_{job.rows}.csv",
        ]
        command += [f"data.{name}_file={rows}/{name}.csv" for name in ("validation", "test")]
        command += [
            f"data.max_length={MAX_LENGTH}",
            f"seed={job.seed}",
            f"hydra.run.dir={folder}/run",
            f"trainer.accelerator={job.accelerator}",
            *FINE_TUNING,
        ]
        if job.stage != "none":
            chosen = TRIED.get(job.stage, [f"pretrain={job.stage}"])
            command += [*chosen, f"data.unlabeled_file={rows}/unlabelled.csv", *STAGE]
        _, seconds = finished(command)
        metrics = json.loads((Path(folder) / "run/metrics.json").read_text())
    scores = {
        "accuracy": metrics["test"]["accuracy"],
        "seconds": round(seconds, 1),
        "accelerator": job.accelerator,
    }
    if job.stage != "none":
        stage = metrics["pretraining"]
        scores |= {"stage_seconds": stage["fit_seconds"], "cached": stage["from_cache"] is not None}
    return scores


def page(results: dict[str, Any]) -> str:
    """Markdown: accuracy by stage, and what each stage changed, seed by seed on the same rows."""
    lines = [
        "# What a pre-training stage brings\n",
        "Written by `python -m benchmarks.pretraining_gain`, which says how each is trained; every job stands in "
        "`pretraining_gain.json`. Test accuracy in %, mean ± standard deviation over seeds (their number in brackets where "
        "it isn't 5); behind it the mean difference to `none` on the same rows, ± its standard error.\n",
    ]
    for rows in ROWS:
        lines += [f"## {rows} rows of each class\n", *_table(results, str(rows)), ""]
    return "\n".join(lines)


def _table(results: dict[str, Any], rows: str) -> Iterator[str]:
    yield f"| stage | {' | '.join(DATASETS)} | mean |"
    yield "|---" * (len(DATASETS) + 2) + "|"
    for stage in STAGES:
        by_dataset = {name: _percent(results, stage, name, rows) for name in DATASETS}
        base = {name: _percent(results, "none", name, rows) for name in DATASETS}
        common = set.intersection(*(set(values) for values in (*by_dataset.values(), *base.values())))
        means = {seed: mean(by_dataset[name][seed] for name in DATASETS) for seed in common}
        means_of_base = {seed: mean(base[name][seed] for name in DATASETS) for seed in common}
        cells = [_cell(by_dataset[name], base[name], stage) for name in DATASETS]
        yield f"| `{stage}` | {' | '.join(cells)} | {_cell(means, means_of_base, stage)} |"


def _percent(results: dict[str, Any], stage: str, dataset: str, rows: str) -> dict[str, float]:
    found = results.get(stage, {}).get(dataset, {}).get(rows, {})
    return {seed: 100 * scores["accuracy"] for seed, scores in found.items()}


def _cell(values: dict[str, float], base: dict[str, float], stage: str) -> str:
    if not values:
        return ""
    text = f"{mean(values.values()):.1f}"
    if len(values) > 1:
        text += f" ± {stdev(values.values()):.1f}"
    if len(values) != len(SEEDS):
        text += f" ({len(values)})"
    gains = [values[seed] - base[seed] for seed in values if seed in base]
    if stage != "none" and len(gains) > 1:
        text += f"; {mean(gains):+.1f} ± {stdev(gains) / len(gains) ** 0.5:.1f}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=(*STAGES, *TRIED))
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=(*DATASETS, *DEVELOPMENT))
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS), choices=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no job after so many")
    parser.add_argument(
        "--table", action="store_true", help="only write what was measured to pretraining_gain.md"
    )
    options = parser.parse_args()
    if not options.table:
        # a data set's stages are trained at the first number of rows, and still cached for the next
        jobs = RESULTS.missing(
            [
                Job(stage, dataset, rows, seed, options.accelerator)
                for seed in options.seeds
                for dataset in options.datasets
                for rows in options.rows
                for stage in options.stages
            ]
        )
        work_warm(jobs, run, RESULTS, options.workers, options.minutes)
    written = page(RESULTS.read())
    RESULTS.path.with_suffix(".md").write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
