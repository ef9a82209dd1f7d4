"""Training with the lower half of the layers frozen, their output computed once and kept, beside training all.

    python -m benchmarks.frozen_layers [--rows 1600] [--epochs 3] [--rounds 3]

MiniLM on the first rows of Rotten Tomatoes' training split, ``model=bert_linear``, batch 32. What counts is real
tokens a second in the epochs after the first, which fills the cache; the seconds of the whole training, first
epoch included, stand beside. Caching asks that the frozen layers run without dropout, so that the sides differ in
more than speed. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import trainers
from benchmarks.workloads import WORKLOADS

WORKLOAD = "short-minilm"
NUM_FROZEN = 3  # of MiniLM's six
CACHED = "half frozen, cached"
SIDES = {
    CACHED: [f"encoder.freeze_layers={NUM_FROZEN}", "encoder.cache_frozen=true"],
    "half frozen": [f"encoder.freeze_layers={NUM_FROZEN}"],
    "all trained": [],
}


def first_rows(count: int, folder: Path) -> Path:
    """A csv file of the training split's first ``count`` rows."""
    path = folder / f"train_{count}.csv"
    with (
        (WORKLOADS[WORKLOAD].files() / "train.csv").open(encoding="utf-8", newline="") as source,
        path.open("w", encoding="utf-8", newline="") as target,
    ):
        csv.writer(target).writerows(islice(csv.reader(source), count + 1))
    return path


def train(side: str, file: str, epochs: int, seed: int) -> dict[str, float]:
    """``tokens_per_second`` after the first epoch, and the ``seconds`` of the whole training."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():  # as bert_ft.train does
        from lightning.pytorch import Callback

    class Epochs(Callback):
        def __init__(self) -> None:
            self.tokens: list[int] = []
            self.seconds: list[float] = []

        def setup(self, *args: Any, **kwargs: Any) -> None:
            self.fit_started = time.perf_counter()

        def on_train_epoch_start(self, *args: Any) -> None:
            self.tokens.append(0)
            self.started = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            self.tokens[-1] += batch.num_tokens

        def on_train_epoch_end(self, *args: Any) -> None:
            self.seconds.append(time.perf_counter() - self.started)

        def on_train_end(self, *args: Any) -> None:
            self.fit_seconds = time.perf_counter() - self.fit_started

    callback = Epochs()
    trainers.fit_ours(
        WORKLOADS[WORKLOAD],
        seed,
        callback,
        f"data.train_file={file}",
        "trainer.max_steps=-1",
        f"trainer.max_epochs={epochs}",
        *SIDES[side],
    )
    return {
        "tokens_per_second": sum(callback.tokens[1:]) / sum(callback.seconds[1:]),
        "seconds": callback.fit_seconds,
    }


def in_own_process(side: str, file: Path, epochs: int, seconds: list[float], seed: int) -> float:
    """Tokens a second; the whole training's are added to ``seconds``."""
    command = [sys.executable, "-m", "benchmarks.frozen_layers", "--side", side, "--file", str(file)]
    command += ["--epochs", str(epochs), "--seed", str(seed)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = json.loads(output.splitlines()[-1])
    seconds.append(figures["seconds"])
    return figures["tokens_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--epochs", type=int, default=3, help="at least 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=list(SIDES), help="be this side on --file and stop")
    parser.add_argument("--file")
    parser.add_argument("--seed", type=int, default=0, help="of --side")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.side:
        print(json.dumps(train(options.side, options.file, options.epochs, options.seed)))
        return

    from benchmarks.measure import alternate, medians, ratios, record

    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        file = first_rows(options.rows, Path(folder))
        sides = {side: partial(in_own_process, side, file, options.epochs, seconds[side]) for side in SIDES}
        figures = alternate(sides, options.rounds)
    record(
        __file__,
        WORKLOAD,
        {
            "rounds": options.rounds,
            "rows": options.rows,
            "epochs": options.epochs,
            "frozen_layers": NUM_FROZEN,
            "tokens_per_second_after_first_epoch": medians(figures),
            "cached_over": ratios(figures, CACHED),
            "seconds_of_training": {side: round(median(values), 1) for side, values in seconds.items()},
        },
    )


if __name__ == "__main__":
    main()
