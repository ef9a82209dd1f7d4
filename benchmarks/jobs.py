"""Many small measurements, each a job: results in a json file, and what is missing is run, also after a break."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks import commands
from bert_ft.search.trials.fork_server import Ended, ForkServer, Message

WARM = (
    "bert_ft.config.build.fine_tuning",
    "bert_ft.training.summary",
    "lightning.pytorch",
    "datasets",
    "sklearn.metrics",
    "sklearn.model_selection",
    "safetensors.torch",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "torchmetrics.classification",
)
Scores = dict[str, Any]


class Job(Protocol):
    @property
    def keys(self) -> tuple[str, ...]:
        """Where its scores stand in the file, from the outside in."""

    def folder(self) -> Path:
        """Its rows, which are made at the first call."""


@dataclass(frozen=True)
class Results:
    """Scores by keys, in a file that others may read meanwhile."""

    path: Path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def write(self, job: Job, scores: Scores) -> None:
        results = self.read()
        node = results
        for key in job.keys[:-1]:
            node = node.setdefault(key, {})
        node[job.keys[-1]] = scores
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        partial.replace(self.path)

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Those without scores, in their order."""
        results = self.read()
        return [job for job in jobs if not _has(results, job.keys)]


def work(jobs: Sequence[Job], run: Callable[[Any], Scores], results: Results, workers: int) -> None:
    """Run each, and write its scores as soon as it is done; one that fails is told, and holds up none."""
    for job in jobs:
        job.folder()  # cut before two processes want it
    with ThreadPoolExecutor(workers) as pool:
        started = time.monotonic()
        running = {pool.submit(run, job): job for job in jobs}
        for done, future in enumerate(as_completed(running), start=1):
            job = running[future]
            error = future.exception()
            if error is not None:  # what is missing is run next time
                print(f"{job} failed: {error}", flush=True)
                continue
            scores = future.result()
            results.write(job, scores)
            said = "  ".join(
                f"{name} {value:.4g}" for name, value in scores.items() if isinstance(value, int | float)
            )
            seconds = time.monotonic() - started
            print(f"{done}/{len(jobs)} {seconds:6.0f} s  {' '.join(job.keys):<48} {said}", flush=True)


def work_warm(
    jobs: Sequence[Job], run: Callable[[Any], Scores], results: Results, workers: int, minutes: float
) -> None:
    """As ``work``, each job in a process forked from one that has imported what they need: many short ones.

    No job is begun after ``minutes``, and none is waited for then.
    """
    for job in jobs:
        job.folder()

    def run_one(content: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        commands.run_commands_here()
        try:
            send({"scores": run(jobs[content["index"]])})
        except BaseException as error:
            print(f"{jobs[content['index']]} failed: {str(error)[-3000:]}", flush=True)

    server = ForkServer(prepare_for_jobs, run_one)
    server.start()
    waiting, started, done = list(range(len(jobs)))[::-1], time.monotonic(), 0
    while (waiting or server.jobs) and time.monotonic() - started < 60 * minutes:
        while waiting and len(server.jobs) < workers:
            index = waiting.pop()
            server.submit(index, {"index": index})
        for event in server.wait(1.0):
            if isinstance(event, Message) and event.job is not None:
                results.write(jobs[event.job], event.content["scores"])
            elif isinstance(event, Ended):
                done += 1
                seconds = time.monotonic() - started
                print(f"{done}/{len(jobs)} {seconds:6.0f} s  {' '.join(jobs[event.job].keys)}", flush=True)
    server.stop()


def prepare_for_jobs(_: Any) -> None:
    """Import what takes long, without asking for a GPU, which no fork survives."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    for name in WARM:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def _has(node: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if key not in node:
            return False
        node = node[key]
    return True
