"""Seconds from the start of the process to the end of the first training step, beside a Hugging Face Trainer script.

    python -m benchmarks.startup [--rounds 5]

Rotten Tomatoes, MiniLM, batch 32; files, tokens and compiled modules lie on the disk from an earlier start, and a
first round is not counted. Ours is the command line with its defaults.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial

from benchmarks.workloads import WORKLOADS

WORKLOAD = "short-minilm"
OURS, THEIRS = "bert_ft", "HF Trainer"


def seconds_to_first_step(side: str, _: int) -> float:
    """From just before the process starts to what it prints at the end of its first step."""
    WORKLOADS[WORKLOAD].files()
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.startup", "--side", side]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    marks = [line for line in output.splitlines() if line.startswith("first step ended ")]
    return float(marks[0].split()[-1]) - started


def first_step_ended() -> None:
    print(f"first step ended {time.time()}", flush=True)


def ours() -> None:
    """``python -m bert_ft.train`` with a callback more; its imports are what the command imports."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        from lightning.pytorch import Callback

        from bert_ft.config.build import fine_tuning
        from bert_ft.train import main

    class FirstStep(Callback):
        def on_train_batch_end(self, trainer, *args) -> None:
            first_step_ended()
            trainer.should_stop = True

    build_fine_tuning = fine_tuning.build_fine_tuning

    def with_mark(config, folder):
        run = build_fine_tuning(config, folder)
        run.trainer.callbacks.append(FirstStep())
        return run

    fine_tuning.build_fine_tuning = with_mark
    from benchmarks.trainers import our_settings

    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [
            "train",
            *our_settings(WORKLOADS[WORKLOAD], 0),
            f"hydra.run.dir={folder}",
            "trainer.max_steps=1",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
        ]
        main()


def theirs() -> None:
    """A script of transformers' own examples: csv, map, Trainer."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    from benchmarks.trainers import LR, hf_model, tokenized_by_hf

    class FirstStep(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs) -> None:
            first_step_ended()
            control.should_training_stop = True

    workload = WORKLOADS[WORKLOAD]
    tokenizer, rows = tokenized_by_hf(workload, None)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            hf_model(workload, 2),
            TrainingArguments(
                output_dir=folder,
                learning_rate=LR,
                per_device_train_batch_size=workload.batch_size,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[FirstStep()],
        ).train()


SIDES = {OURS: ours, THEIRS: theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=list(SIDES), help="be this side and stop")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.side:
        SIDES[options.side]()
        return

    from benchmarks.measure import alternate, medians, ratios, record

    sides = {side: partial(seconds_to_first_step, side) for side in SIDES}
    for side in sides.values():
        side(0)
    figures = alternate(sides, options.rounds)
    record(
        __file__,
        WORKLOAD,
        {"rounds": options.rounds, "seconds": medians(figures), "bert_ft_over": ratios(figures, OURS)},
    )


if __name__ == "__main__":
    main()
