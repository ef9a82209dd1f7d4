"""What the monitors cost: an epoch of training with each ``monitor``, in turn.

    python -m benchmarks.monitor_cost [--rounds 3]

Rotten Tomatoes snippets, 80/10/10 by seed 0, MiniLM, ``bert_ft.train`` with its defaults for one epoch: 530 steps of 16
texts and one validation, loggers on. What counts is ``fit_seconds``, training with validation, as a run reports it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.corpora import rotten_tomatoes
from benchmarks.files import write_split
from benchmarks.measure import alternate, environment, medians, ratios

CHOICES = ("none", "light", "full")
RESULT = Path(__file__).with_suffix(".json")


def fit_seconds(folder: Path, monitor: str, seed: int) -> float:
    """Of one epoch, by the command line."""
    run = folder / f"{monitor}_{seed}"
    command = [sys.executable, "-m", "bert_ft.train", "data=files", f"monitor={monitor}", f"seed={seed}"]
    command += [f"data.{name}_file={folder / name}.csv" for name in ("train", "validation", "test")]
    command += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", f"hydra.run.dir={run}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return float(json.loads((run / "metrics.json").read_text())["fit_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_split(rotten_tomatoes(), folder, seed=0)
        sides = {monitor: partial(fit_seconds, folder, monitor) for monitor in CHOICES}
        figures = alternate(sides, options.rounds)
    cost = {monitor: round(1 / ratio, 4) for monitor, ratio in ratios(figures, "none").items()}
    print(f"seconds {medians(figures)}; beside none: {cost}")
    record = {"seconds": figures, "beside_none": cost, "environment": environment()}
    RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
