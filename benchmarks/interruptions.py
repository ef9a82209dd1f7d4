"""Runs that a signal ends at random moments, and what ``resume_from=<run>`` makes of them.

    python -m benchmarks.interruptions [--moments 10] [--seed 0] [--signals SIGINT SIGTERM SIGKILL] [--epochs 12]

Each signal reaches all processes of a run of a tiny encoder, as a terminal or a scheduler sends it, at moments between its start
and its end. The resumed run has to end with the bytes of the undisturbed one: weights, metrics and the checkpoint kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
SAME = ("val", "test", "objective", "checkpoint", "stopped", "weights")  # entries of metrics.json
WORDS = [["good", "fine", "lovely", "bright"], ["bad", "dull", "awful", "cold"]]


def settings(folder: Path, epochs: int) -> list[str]:
    """The words of a run that takes some seconds, on texts that are written for it."""
    from benchmarks.workloads import random_encoder

    return [
        "encoder=any",
        f"encoder.name_or_path={random_encoder('bert-2x64')}",
        "data=files",
        f"data.train_file={_texts(folder / 'texts.csv')}",
        f"data.cache_dir={folder / 'cache'}",
        "data.num_workers=1",
        "data.max_length=32",
        "data.batch_size=16",
        f"trainer.max_epochs={epochs}",
        "trainer.val_check_interval=0.5",
        "trainer.accelerator=cpu",
        "averaging=ema",
        "callbacks.early_stopping=null",
        "optimizer.lr=1e-3",
        "report=false",
    ]


def whole_run(run: Path, words: Sequence[str]) -> float:
    """The undisturbed run, and its seconds."""
    started = time.monotonic()
    _finish(["hydra.run.dir=" + str(run), *words])
    return time.monotonic() - started


def interrupted_run(whole: Path, run: Path, words: Sequence[str], name: str, seconds: float) -> str:
    """Send a signal so many seconds after a run's start, resume it, and compare it with the whole one; where it was hit.

    Raises:
        AssertionError: another exit code, a traceback, or another result.
    """
    number = signal.Signals[name]
    process = _start(["hydra.run.dir=" + str(run), *words])
    try:
        shown, _ = process.communicate(timeout=seconds)
        assert process.returncode == 0, shown
        return "over before"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
        shown, _ = process.communicate(timeout=300)
    hit = _where(run)
    code = process.returncode
    if code != 0:  # it had nothing left to do
        # one that comes before or after Python's own work ends the process by itself
        assert code in (-number, 128 + number), f"exit code {code} for {name} after {seconds:.2f} s\n{shown}"
        if code > 0:
            assert "interrupted" in shown, shown
        assert "Traceback" not in shown, shown
    if not (run / "metrics.json").exists():
        is_begun = (run / ".hydra/overrides.yaml").exists()
        _finish([f"resume_from={run}"] if is_begun else ["hydra.run.dir=" + str(run), *words])
    check_same(whole, run)
    return hit


def check_same(whole: Path, run: Path) -> None:
    """Refuse a run that hasn't the bytes of the whole one."""
    weights = "model/model.safetensors"
    assert (run / weights).read_bytes() == (whole / weights).read_bytes(), f"{run}: other weights"
    expected, found = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, run))
    for entry in SAME:
        assert found[entry] == expected[entry], f"{run}: {entry} is {found[entry]} for {expected[entry]}"


def _where(run: Path) -> str:
    if not (run / ".hydra/overrides.yaml").exists():
        return "before the run's record"
    if (run / "metrics.json").exists():
        return "after training"
    return "in training" if (run / "checkpoints/last.ckpt").exists() else "before the first checkpoint"


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bert_ft.train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _finish(words: Sequence[str]) -> None:
    process = _start(words)
    shown, _ = process.communicate(timeout=600)
    assert process.returncode == 0, shown


def _texts(path: Path) -> Path:
    draw = random.Random(0)
    rows = []
    for number in range(200):
        label = number % 2
        words = draw.choices(WORDS[label], k=2) + draw.choices(
            ["film", "plot", "actor", "scene", "music"], k=6
        )
        rows.append(f"{' '.join(words)} {number},{'pos' if label else 'neg'}")
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signals", nargs="+", default=SIGNALS, choices=SIGNALS)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        words = settings(Path(folder), options.epochs)
        whole = Path(folder, "whole")
        seconds = whole_run(whole, words)  # fills the cache
        seconds = whole_run(Path(folder, "again"), words)
        check_same(whole, Path(folder, "again"))
        print(f"a whole run takes {seconds:.1f} s", flush=True)
        for name in options.signals:
            hits: Counter[str] = Counter()
            while (hits.total() - hits["over before"]) < options.moments:
                moment, run = draw.uniform(0, seconds), Path(folder, f"{name}_{hits.total()}")
                hit = interrupted_run(whole, run, words, name, moment)
                hits[hit] += 1
                print(f"{name} after {moment:5.2f} s, {hit}: same bytes", flush=True)
            print(
                f"{name}: {options.moments} of {options.moments} end with the same bytes; {dict(hits)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
