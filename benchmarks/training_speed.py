"""Real tokens trained on in a second: ours beside the Hugging Face Trainer and a plain Lightning module.

    python -m benchmarks.training_speed [--workloads short-minilm long-minilm ...] [--rounds 3]

The sides take turns; a ratio is the median of the rounds' own. "Share of peak" is 6 floating-point operations
for each weight of the encoder's layers and each token (padding and attention's own products not counted),
over what a 4096² float32 matrix product reaches in the same round: torch's own, and oneDNN's. (torch's own goes by
Intel's MKL, which on other makers' processors leaves AVX-512 unused; ours goes by oneDNN there.) Work that our step
saves, in the last layer, is counted as done.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from benchmarks import trainers
from benchmarks.measure import Side, alternate, medians, ratios, record
from benchmarks.workloads import WORKLOADS, Workload

PEAKS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "peak of torch.matmul, GFLOP/s": lambda a, b: a @ b,
    "peak of oneDNN, GFLOP/s": lambda a, b: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
}


def sgemm_peak(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], _: int) -> float:
    """GFLOP/s of a 4096² float32 matrix product, the best of five."""
    a, b = torch.randn(4096, 4096), torch.randn(4096, 4096)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        product(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * 4096**3 / min(seconds) / 1e9


def layer_weights(workload: Workload) -> int:
    """The weights in the matrices of the encoder's layers."""
    encoder = trainers.hf_model(workload, 2).base_model.encoder
    return sum(weight.numel() for weight in encoder.parameters() if weight.ndim == 2)


def sides_of(name: str, only: list[str] | None) -> dict[str, Side]:
    names = [side for side in trainers.SIDES if not only or any(part in side for part in only)]
    if WORKLOADS[name].corpus != "rotten_tomatoes":
        names = [side for side in names if side != trainers.PADDED]
    peaks = {name: partial(sgemm_peak, product) for name, product in PEAKS.items()}
    return {**peaks, **{side: partial(trainers.in_own_process, side, name) for side in names}}


def _shares(tokens_per_second: list[float], flops: int, peaks: list[float]) -> list[float]:
    return [tokens * flops / 1e9 / peak for tokens, peak in zip(tokens_per_second, peaks, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="sides whose names have one of these in them")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in options.workloads:
        workload = WORKLOADS[name]
        figures = alternate(sides_of(name, options.only), options.rounds)
        peaks = {peak: figures.pop(peak) for peak in PEAKS}
        flops = 6 * layer_weights(workload)
        shares = {
            peak: round(median(_shares(figures[trainers.OURS], flops, values)), 3)
            for peak, values in peaks.items()
        }
        record(
            __file__,
            name,
            {
                "rounds": options.rounds,
                "steps": workload.steps,
                "tokens_per_second": medians(figures),
                "bert_ft_over": ratios(figures, trainers.OURS),
                "peaks": medians(peaks),
                "share_of_peak": shares,
            },
        )


if __name__ == "__main__":
    main()
