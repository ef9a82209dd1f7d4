"""The most memory that a training process holds: ours beside the Hugging Face Trainer with dynamic padding.

    python -m benchmarks.peak_memory [--workloads short-minilm long-minilm short-base] [--rounds 3]

Each side trains a few steps of ``benchmarks.trainers`` in a process of its own; what counts is the process's peak
resident memory, Python, libraries and weights included. Ours also with ``encoder.gradient_checkpointing=true``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

from benchmarks import trainers
from benchmarks.memory import peak_megabytes
from benchmarks.workloads import WORKLOADS

CHECKPOINTED = "bert_ft, gradient checkpointing"
SIDES = {
    trainers.OURS: trainers.ours,
    CHECKPOINTED: lambda workload, seed: trainers.ours(workload, seed, "encoder.gradient_checkpointing=true"),
    trainers.DYNAMIC: trainers.hf_trainer,
}
STEPS = {"short-minilm": 40, "long-minilm": 15, "short-base": 5, "long-base": 3}


def megabytes_in_own_process(side: str, workload: str, steps: int | None, seed: int) -> float:
    command = [sys.executable, "-m", "benchmarks.peak_memory", "--side", side, "--workloads", workload]
    command += ["--seed", str(seed), "--steps", str(steps or STEPS[workload])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workloads",
        nargs="+",
        default=["short-minilm", "long-minilm", "short-base"],
        choices=list(WORKLOADS),
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}")
    parser.add_argument("--side", choices=list(SIDES), help="be this side of the first workload and stop")
    parser.add_argument("--seed", type=int, default=0, help="of --side")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.side:
        workload = WORKLOADS[options.workloads[0]]
        SIDES[options.side](replace(workload, steps=options.steps), options.seed)
        print(peak_megabytes())
        return

    from benchmarks.measure import alternate, medians, ratios, record

    for name in options.workloads:
        workload = WORKLOADS[name]
        workload.files()
        workload.encoder_folder()
        sides = {side: partial(megabytes_in_own_process, side, name, options.steps) for side in SIDES}
        figures = alternate(sides, options.rounds)
        record(
            __file__,
            name,
            {
                "rounds": options.rounds,
                "steps": (options.steps or STEPS[name]) + trainers.WARM_STEPS,
                "max_length": workload.max_length,
                "batch_size": workload.batch_size,
                "megabytes": medians(figures),
                "bert_ft_over": ratios(figures, trainers.OURS),
            },
        )


if __name__ == "__main__":
    main()
