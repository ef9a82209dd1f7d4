"""``bert_linear`` beside the Hugging Face Trainer: same recipe, same data, side by side.

    python -m benchmarks.rotten_tomatoes_parity [--epochs 2] [--seeds 0 1]

Rotten Tomatoes snippets, 80/10/10 by seed 0, MiniLM, batch 32, AdamW at one rate for all layers, linear
schedule with warm-up, clipping at 1. Alternates the two sides for each seed and prints test accuracy and
the training time of each; writes the table beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.corpora import rotten_tomatoes
from benchmarks.files import write_split

LR, BATCH_SIZE, WARMUP_RATIO, WEIGHT_DECAY, MAX_LENGTH = 5e-5, 32, 0.1, 0.01, 128
RESULT = Path(__file__).with_suffix(".json")


def ours(folder: Path, epochs: int, seed: int) -> dict[str, float]:
    """Test accuracy and seconds of training and validation, by the command line."""
    run = folder / f"ours_{seed}"
    command = [
        sys.executable,
        "-m",
        "bert_ft.train",
        "data=files",
        "model=bert_linear",
        "loss.label_smoothing=0.0",
    ]
    command += [f"data.{name}_file={folder / f'{name}.csv'}" for name in ("train", "validation", "test")]
    command += [f"data.batch_size={BATCH_SIZE}", f"data.max_length={MAX_LENGTH}", f"seed={seed}"]
    command += [f"optimizer.lr={LR}", "optimizer.layer_decay=1.0", "optimizer.head_lr=null"]
    command += [f"optimizer.weight_decay={WEIGHT_DECAY}", f"schedule.warmup_ratio={WARMUP_RATIO}"]
    command += [f"trainer.max_epochs={epochs}", "trainer.enable_progress_bar=false", f"hydra.run.dir={run}"]
    command += ["callbacks.progress_bar=null"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads((run / "metrics.json").read_text())
    return {"accuracy": metrics["test"]["accuracy"], "seconds": metrics["fit_seconds"]}


def theirs(folder: Path, epochs: int, seed: int) -> dict[str, float]:
    """The same with transformers' Trainer: dynamic padding in random order, its default data path."""
    import numpy as np
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from bert_ft.models.encoder_name import resolve_name

    set_seed(seed)
    path = resolve_name("embedded/all-MiniLM-L6-v2")
    tokenizer = AutoTokenizer.from_pretrained(path)
    files = {name: str(folder / f"{name}.csv") for name in ("train", "validation", "test")}
    data = load_dataset("csv", data_files=files, cache_dir=str(folder / "datasets"))
    data = data.class_encode_column("label").map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=MAX_LENGTH), batched=True
    )

    def accuracy(predicted) -> dict[str, float]:
        return {"accuracy": float((np.argmax(predicted.predictions, axis=1) == predicted.label_ids).mean())}

    trainer = Trainer(
        AutoModelForSequenceClassification.from_pretrained(path, num_labels=2),
        TrainingArguments(
            output_dir=str(folder / f"theirs_{seed}"),
            num_train_epochs=epochs,
            learning_rate=LR,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=128,
            warmup_steps=WARMUP_RATIO,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=1.0,
            seed=seed,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    return {"accuracy": trainer.predict(data["test"]).metrics["test_accuracy"], "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int, help="use so many rows only")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_split(rotten_tomatoes()[: options.limit], folder, seed=0)
        for seed in options.seeds:
            for side in (ours, theirs):
                row = {"side": side.__name__, "seed": seed, **side(folder, options.epochs, seed)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    RESULT.write_text(
        json.dumps({"epochs": options.epochs, "limit": options.limit, "rows": rows}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
