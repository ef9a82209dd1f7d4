"""Many small measurements, each a job: results in a json file, and what is missing is run, also after a break."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


def _has(node: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if key not in node:
            return False
        node = node[key]
    return True
