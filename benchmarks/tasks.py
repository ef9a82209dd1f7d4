"""Sets of labels, scores, grades and votes: ours against what others would train, two data sets a task, five seeds.

    python -m benchmarks.tasks                       all that is missing in tasks.json (hours), then the page
    python -m benchmarks.tasks --minutes 60          no job is begun later; the next call resumes
    python -m benchmarks.tasks --table               only the page, tasks.md
    python -m benchmarks.tasks --try "loss.class_weights=balanced" --datasets amazon_opinions --seeds 0 1
                                                     ours with other settings: their validation scores are compared

``benchmarks.task_data`` says how the data sets were made: 300 training, 150 validation and 800 test rows of short texts, others for
each seed. All sides fine-tune MiniLM in bf16 and see the same rows. Test rows choose nothing.

    ours        the task's defaults
    hf          transformers' Trainer (``benchmarks.task_peers``) in batches of 16, as ours, with lr and epochs chosen from ``GRID`` by
                the validation score of seed 0 of each data set; all else its defaults
    logistic    logistic regression for each label on the frozen encoder's vectors, C chosen of six by each seed's validation score
    majority    of votes: ours, trained with all votes of a text for its majority
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.commands import finished
from benchmarks.jobs import Results, work_warm
from benchmarks.task_data import DATASETS, MAX_LENGTH, folder_of
from benchmarks.tasks_page import page

RESULTS = Results(Path(__file__).with_suffix(".json"))
SEEDS = (0, 1, 2, 3, 4)
GRID = [f"{lr} {epochs}" for lr in (5e-5, 1.5e-4, 4e-4) for epochs in (12, 24)]


class Comparison(NamedTuple):
    """A task, the score by which settings are chosen and sides compared, its data sets, and the sides."""

    task: str
    score: str
    datasets: tuple[str, ...]
    peers: tuple[str, ...]


COMPARISONS = {
    "multi_label": Comparison(
        "multi_label", "f1_macro", ("amazon_opinions", "fortunes_topics"), ("hf", "logistic")
    ),
    "regression": Comparison("regression", "spearman", ("movies_score", "tweets_score"), ("hf",)),
    "ordinal": Comparison("ordinal", "quadratic_kappa", ("movies_grade", "amazon_grade"), ("hf",)),
    "votes": Comparison("single_label", "accuracy", ("tweets_votes", "editorial_votes"), ("majority",)),
}
KIND_OF = {name: kind for kind, comparison in COMPARISONS.items() for name in comparison.datasets}


@dataclass(frozen=True)
class Job:
    """A side on a data set; ``hf 5e-05 3`` is a peer with these settings, ``ours loss=huber`` ours with others."""

    side: str
    dataset: str
    seed: int

    @property
    def keys(self) -> tuple[str, str, str]:
        return self.side, self.dataset, str(self.seed)

    def folder(self) -> Path:
        return folder_of(self.dataset, self.seed)


def run(job: Job) -> dict[str, Any]:
    """The job's scores."""
    side, *settings = job.side.split()
    if side == "hf":
        return _hugging_face(job, settings) if settings else _tuned(job)
    if side == "logistic":
        return _peer(side, job)
    return _ours(side, job, settings)


def _tuned(job: Job) -> dict[str, Any]:
    """The Trainer with the settings that were best on the validation rows of seed 0."""
    results, score = RESULTS.read(), COMPARISONS[KIND_OF[job.dataset]].score
    tried = {setting: results[f"hf {setting}"][job.dataset]["0"] for setting in GRID}
    best = max(tried, key=lambda setting: tried[setting][f"val_{score}"])
    found = tried[best] if job.seed == 0 else _hugging_face(job, best.split())
    return {**found, "settings": best}


def _hugging_face(job: Job, settings: list[str]) -> dict[str, Any]:
    return _peer("hf", job, str(job.seed), *settings)


def _peer(peer: str, job: Job, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.task_peers", peer, KIND_OF[job.dataset], str(job.folder())]
    output, seconds = finished([*command, *arguments])
    return {**json.loads(output.splitlines()[-1]), "seconds": round(seconds, 1)}


def _ours(side: str, job: Job, overrides: list[str]) -> dict[str, Any]:
    train = "majority" if side == "majority" else "train"
    files = {"train": train, "validation": "validation", "test": "test"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bert_ft.train", "data=files", f"seed={job.seed}"]
        command += [f"data.{name}_file={job.folder() / file}.csv" for name, file in files.items()]
        columns = ",".join(DATASETS[job.dataset][0])
        command += [f"data.label_column={f'[{columns}]' if ',' in columns else columns}"]
        command += [f"data.max_length={MAX_LENGTH}", f"task={COMPARISONS[KIND_OF[job.dataset]].task}"]
        command += ["logger=none", "monitor=none", "report=false", "trainer.enable_progress_bar=false"]
        command += ["callbacks.last_checkpoint=null"]  # only for resuming
        command += ["trainer.precision=bf16", f"hydra.run.dir={folder}/run", *overrides]
        _, seconds = finished(command)
        metrics = json.loads((Path(folder) / "run/metrics.json").read_text())
    validation = {f"val_{name}": value for name, value in metrics["val"].items()}
    return {**metrics["test"], **validation, "seconds": round(seconds, 1)}


def jobs(sides: Sequence[str], datasets: Iterable[str], seeds: Iterable[int]) -> list[Job]:
    """Seed by seed, so that a first picture is there early; what the peers are tuned by comes first."""
    found = []
    for seed in seeds:
        for name in datasets:
            for side in ("ours", *COMPARISONS[KIND_OF[name]].peers):
                if (side, seed) == ("hf", 0):
                    found += [Job(f"hf {setting}", name, 0) for setting in GRID]
                found.append(Job(side, name, seed))
    return [job for job in found if job.side.split()[0] in sides]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--sides", nargs="+", default=["ours", "hf", "logistic", "majority"])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument(
        "--try", dest="tried", action="append", default=[], help="overrides of ours, between spaces"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no job after so many")
    parser.add_argument("--table", action="store_true", help="only write tasks.md")
    options = parser.parse_args()
    wanted = jobs(options.sides, options.datasets, options.seeds)
    if options.tried:
        wanted = [
            Job(f"ours {overrides}", name, seed)
            for seed in options.seeds
            for name in options.datasets
            for overrides in options.tried
        ]
    if not options.table:
        work_warm(RESULTS.missing(wanted), run, RESULTS, options.workers, options.minutes)
    written = page(RESULTS.read(), COMPARISONS)
    RESULTS.path.with_suffix(".md").write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
