"""Training on a GPU, ours beside the Hugging Face Trainer and a plain Lightning module: real tokens in a second.

    python -m benchmarks.gpu_speed [--workloads short-minilm long-base] [--precisions bf16 32] [--rounds 3]

Sides and workloads are those of ``benchmarks.training_speed``, with more steps.
"""

from __future__ import annotations

import argparse
import os
from functools import partial

import torch

from benchmarks import trainers
from benchmarks.measure import alternate, medians, ratios, record
from benchmarks.workloads import WORKLOADS

STEPS = {"short-minilm": 200, "long-minilm": 100, "short-base": 200, "long-base": 100}
SIDES = (trainers.OURS, trainers.DYNAMIC, trainers.GROUPED, trainers.PLAIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", default=list(STEPS), choices=list(WORKLOADS))
    parser.add_argument("--precisions", nargs="+", default=["bf16", "32"], choices=["bf16", "32"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    assert torch.cuda.is_available(), "this is about GPUs"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in options.workloads:
        for precision in options.precisions:
            more = (precision, str(STEPS[name]))

            def run(seed: int, side: str, name: str = name, more: tuple[str, str] = more) -> float:
                return trainers.in_own_process(side, name, seed, *more)

            figures = alternate({side: partial(run, side=side) for side in SIDES}, options.rounds)
            record(
                __file__,
                f"{name} {precision}",
                {
                    "rounds": options.rounds,
                    "steps": STEPS[name],
                    "gpu": torch.cuda.get_device_name(),
                    "tokens_per_second": medians(figures),
                    "bert_ft_over": ratios(figures, trainers.OURS),
                },
            )


if __name__ == "__main__":
    main()
