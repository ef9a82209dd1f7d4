"""Real tokens trained on in a second beside other work: ours as it is, with libgomp's own long spin, and the Trainer.

    python -m benchmarks.busy_machine [--workload short-minilm] [--busy 0 1 2] [--rounds 10] [--steps 30]

"Busy": so many loops of pure Python run meanwhile. The sides take turns; a ratio is the median of the rounds' own.
A user's GOMP_SPINCOUNT or OMP_WAIT_POLICY would hold for every side, so that both are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

from benchmarks import trainers
from benchmarks.measure import Side, alternate, medians, ratios, record
from benchmarks.workloads import WORKLOADS

LONG_SPIN = "bert_ft, GOMP_SPINCOUNT=300000"  # libgomp's default
SIDES: dict[str, tuple[str, Mapping[str, str]]] = {
    trainers.OURS: (trainers.OURS, {}),
    LONG_SPIN: (trainers.OURS, {"GOMP_SPINCOUNT": "300000"}),
    trainers.GROUPED: (trainers.GROUPED, {}),
}


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many other processes compute inside."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def tokens_per_second(name: str, workload: str, steps: int, loops: int, seed: int) -> float:
    side, variables = SIDES[name]
    with busy(loops), patch.dict(os.environ, variables):
        return trainers.in_own_process(side, workload, str(seed), "32", str(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="short-minilm", choices=list(WORKLOADS))
    parser.add_argument(
        "--busy", type=int, nargs="+", default=[0, 1, 2], help="loops beside it, one figure each"
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        os.environ.pop(name, None)
    measured = {}
    for loops in options.busy:
        print(f"{loops} busy", flush=True)
        sides: dict[str, Side] = {
            name: partial(tokens_per_second, name, options.workload, options.steps, loops) for name in SIDES
        }
        measured[loops] = alternate(sides, options.rounds)
    quiet = measured.get(0, {})
    record(
        __file__,
        options.workload,
        {
            "rounds": options.rounds,
            "steps": options.steps,
            "busy": {
                str(loops): {
                    "tokens_per_second": medians(figures),
                    "bert_ft_over": ratios(figures, trainers.OURS),
                    "times_slower_than_quiet": {
                        name: ratios({"quiet": quiet[name], name: values}, "quiet")[name]
                        for name, values in figures.items()
                        if quiet
                    },
                }
                for loops, figures in measured.items()
            },
        },
    )


if __name__ == "__main__":
    main()
