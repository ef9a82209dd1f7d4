"""Searches beside those of Hydra's own Optuna plugin: what a trial costs before it trains, workers' idle time, and
the time until as good a value is found.

    python -m benchmarks.search [cost] [idle] [value] [--rounds 5] [--trials 20]

``cost``: seconds from a free place to the first training step, the median over trials; BBC News, MiniLM, one worker.
``idle``: the share of the time in which a worker of two has no trial, with trials of 1 to 10 s; the plugin has its
workers by Hydra's joblib launcher. ``value``: wall time of the plugin's 20 trials on BBC News, and the time in which
ours, with pruning, has found a value as good; the space is ``search=default``, one trial at a time, the budget of each
trial alike (texts of 24 tokens, one epoch, four validations). Judged by validation loss: by accuracy most of the
space lies within chance of the best, and the best of 20 is the luckiest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import yaml

from benchmarks.measure import alternate, record
from benchmarks.uneven import TIMES

OURS, PLUGIN = "bert_ft", "Hydra's plugin"
HERE = Path(__file__).parent
BUDGET = [
    "data.max_length=24",
    "trainer.precision=bf16",
    "trainer.max_epochs=1",
    "trainer.min_train_steps=0",
    "trainer.val_check_interval=0.25",
    "logger=none",
    "monitor=none",
]
# after which a smaller value is a better one
BY_LOSS = ["objective.metric=val/loss", "objective.mode=min"]
SEED = "hydra.sweeper.sampler.seed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["cost", "idle", "value"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument(
        "--budget", nargs="*", default=BUDGET, help="overrides of each trial of cost and value"
    )
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for part in options.parts:
        globals()[f"measure_{part}"](options)


def measure_cost(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cost"
        train(
            folder,
            *options.budget,
            "trainer.max_steps=2",
            "trainer.val_check_interval=1.0",
            "search=small",
            trials=6,
        )
        trials = study_in(folder).trials
    seconds = [trial.user_attrs["seconds_to_first_step"] for trial in trials]
    # the first one waits for the imports that all later ones share
    record(
        __file__,
        "cost",
        {"first": seconds[0], "median_of_others": round(median(seconds[1:]), 3), "all": seconds},
    )


def measure_idle(options: argparse.Namespace) -> None:
    figures = alternate(
        {side: partial(idle_share, side, options.trials) for side in (OURS, PLUGIN)}, options.rounds
    )
    record(
        __file__,
        "idle",
        {"rounds": options.rounds, "idle_share": {s: round(median(v), 4) for s, v in figures.items()}},
    )


def idle_share(side: str, trials: int, seed: int) -> float:
    """Of the time of two workers, while there are trials left to begin, the part without one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "idle"
        sweeper = (
            ["hydra/sweeper=ours"] if side == OURS else ["hydra/sweeper=plugin", "hydra/launcher=joblib"]
        )
        words = [
            sys.executable, str(HERE / "uneven.py"), "--multirun", f"--config-dir={HERE / 'plugin'}",
            *sweeper, "hydra/sweeper/sampler=random", f"{SEED}={seed}", f"hydra.sweep.dir={folder}",
            f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.n_jobs=2", "seconds=interval(1,10)",
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        times = [json.loads(path.read_text()) for path in folder.glob(f"*/{TIMES}")]
    assert len(times) == trials
    first, last = min(began for began, _ in times), max(began for began, _ in times)
    worked = sum(min(ended, last) - began for began, ended in times)
    return 1 - worked / (2 * (last - first))


def measure_value(options: argparse.Namespace) -> None:
    """A round a seed; goes on after those that are recorded, if they were of the same budget."""
    settings = {"budget": list(options.budget), "trials": options.trials}
    path = Path(__file__).with_suffix(".json")
    before = json.loads(path.read_text()).get("value", {}) if path.exists() else {}
    rounds = before.get("rounds", []) if before.get("settings") == settings else []
    for seed in range(len(rounds), options.rounds):
        with tempfile.TemporaryDirectory() as temporary:
            theirs, ours = Path(temporary) / "plugin", Path(temporary) / "ours"
            common = [*options.budget, *BY_LOSS, f"{SEED}={seed}"]
            # the one that is reached comes first; it is run as it is, without knowing ours
            wall = train(theirs, *common, trials=options.trials, plugin=True)
            best = float(yaml.safe_load((theirs / "optimization_results.yaml").read_text())["best_value"])
            values = values_in(theirs, time.time() - wall)
            began = time.time()
            whole = train(ours, *common, trials=options.trials)
            study = study_in(ours)
        complete = [
            (round(trial.datetime_complete.timestamp() - began), trial.value)
            for trial in study.trials
            if trial.state.name == "COMPLETE"
        ]
        rounds.append(
            {
                "plugin": best,
                "plugin_seconds": round(wall),
                "plugin_values": values,
                "bert_ft": study.best_value,
                "bert_ft_seconds": round(whole),
                "bert_ft_values": complete,
                "pruned": sum(trial.state.name == "PRUNED" for trial in study.trials),
            }
        )
        record(
            __file__, "value", {"settings": settings, "over_plugin": over_plugin(rounds), "rounds": rounds}
        )


def over_plugin(rounds: list[dict[str, Any]]) -> dict[str, float | None]:
    """Medians over the rounds of our seconds over the plugin's whole; ``None``: in most rounds never."""
    ratios: dict[str, list[float]] = {"until_as_good": [], "until_within_1_percent": [], "in_all": []}
    for each in rounds:
        reached = {
            share: min(
                (at for at, value in each["bert_ft_values"] if value <= share * each["plugin"]),
                default=math.inf,
            )
            for share in (1.0, 1.01)
        }
        seconds = (reached[1.0], reached[1.01], each["bert_ft_seconds"])
        for values, ours in zip(ratios.values(), seconds, strict=True):
            values.append(ours / each["plugin_seconds"])
    found = {name: median(values) for name, values in ratios.items()}
    return {name: None if math.isinf(value) else round(value, 3) for name, value in found.items()}


def values_in(folder: Path, began: float) -> list[tuple[int, float]]:
    """When each trial of the plugin's ended, in seconds from ``began``, and its value."""
    records = sorted(folder.glob("*/metrics.json"), key=lambda path: path.stat().st_mtime)
    return [
        (round(path.stat().st_mtime - began), json.loads(path.read_text())["objective"]["value"])
        for path in records
    ]


def train(folder: Path, *overrides: str, trials: int, plugin: bool = False) -> float:
    """Search on BBC News, one trial at a time; its wall time in seconds."""
    words = [sys.executable, "-m", "bert_ft.train", "--multirun"]
    if plugin:
        space = yaml.safe_load((HERE.parent / "conf" / "search" / "default.yaml").read_text())["params"]
        words += [
            f"--config-dir={HERE / 'plugin'}",
            "hydra/sweeper=plugin",
            *(f"{key}={value}" for key, value in space.items()),
        ]
        # what our trials have too
        words += [
            "test=false",
            "report=false",
            "trainer.enable_progress_bar=false",
            "callbacks.last_checkpoint=null",
            "hydra.sweeper.direction=minimize",
        ]
    else:
        words += ["hydra/sweeper=optuna", "hydra.sweeper.report=false"]
    words += [
        *overrides,
        f"hydra.sweep.dir={folder}",
        f"hydra.sweeper.n_trials={trials}",
        "hydra.sweeper.n_jobs=1",
    ]
    began = time.time()
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.time() - began


def study_in(folder: Path) -> optuna.Study:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(study_name=folder.name, storage=storage)
    study.trials  # noqa: B018 (read while the folder is there)
    return study


if __name__ == "__main__":
    main()
