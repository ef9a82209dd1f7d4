"""Training steps of ours and of what others would write, each on its own data path.

Every side trains ``BertForSequenceClassification`` (ours: ``model=bert_linear``) on the same rows with the same
batch size, fused AdamW at one rate, linear schedule and clipping at 1, and gives the real tokens that it
trained on in a second: from the end of the ``WARM_STEPS``-th step to the end of the last. Each runs in a
process of its own, on a GPU where there is one:

    python -m benchmarks.trainers <side> <workload> <seed> [32|bf16 [<steps>]]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS, Workload

WARM_STEPS = 3
OUR_CALLBACKS = ("best_checkpoint", "last_checkpoint", "early_stopping", "lr_monitor", "progress_bar")
LR, WEIGHT_DECAY, WARMUP_RATIO = 5e-5, 0.01, 0.1


def in_own_process(side: str, workload: str, seed: int, *more: str) -> float:
    """Tokens a second of one of ``SIDES``."""
    command = [sys.executable, "-m", "benchmarks.trainers", side, workload, str(seed), *more]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


class Stopwatch:
    """Real tokens of each batch as they are cut, and when each step ended."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ends: list[float] = []

    def step_ended(self) -> None:
        self.ends.append(time.perf_counter())

    def tokens_per_second(self) -> float:
        # a loader may have cut a batch more than was trained on
        trained = self.tokens[WARM_STEPS : len(self.ends)]
        return sum(trained) / (self.ends[-1] - self.ends[WARM_STEPS - 1])


def ours(workload: Workload, seed: int, *overrides: str, precision: str = "32") -> float:
    """By the command line's own configuration, with its progress bar, loggers and checkpoints off."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():  # as bert_ft.train does
        from lightning.pytorch import Callback

    stopwatch = Stopwatch()

    class Steps(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            stopwatch.tokens.append(batch.num_tokens)
            stopwatch.step_ended()

    fit_ours(workload, seed, Steps(), f"trainer.precision={precision}", *overrides)
    return stopwatch.tokens_per_second()


def fit_ours(workload: Workload, seed: int, callback: Any, *overrides: str) -> Any:
    """The ``FineTuning`` after its training, which ``callback`` has seen; ``overrides`` come last."""
    import hydra

    from bert_ft.config.build.fine_tuning import build_fine_tuning
    from bert_ft.config.paths import conf_dir

    with tempfile.TemporaryDirectory() as folder:
        with hydra.initialize_config_dir(config_dir=str(conf_dir()), job_name="train"):
            config = hydra.compose(
                "train",
                [
                    *our_settings(workload, seed),
                    f"trainer.max_steps={workload.steps + WARM_STEPS}",
                    "trainer.max_epochs=-1",
                    "trainer.limit_val_batches=0",
                    "trainer.enable_progress_bar=false",
                    "+trainer.enable_checkpointing=false",
                    *(f"callbacks.{name}=null" for name in OUR_CALLBACKS),
                    "logger=none",
                    "monitor=none",
                    *overrides,
                ],
            )
        run = build_fine_tuning(config, Path(folder))
        run.trainer.callbacks.append(callback)
        run.trainer.fit(run.module, run.data)
    return run


def our_settings(workload: Workload, seed: int) -> list[str]:
    """The overrides that make our run the peers' recipe."""
    files = workload.files()
    return [
        "data=files",
        *(f"data.{name}_file={files / name}.csv" for name in ("train", "validation", "test")),
        f"data.batch_size={workload.batch_size}",
        f"data.max_length={workload.max_length}",
        "encoder=any",
        f"encoder.name_or_path={workload.encoder_folder()}",
        "model=bert_linear",
        "loss.label_smoothing=0.0",
        f"optimizer.lr={LR}",
        f"optimizer.weight_decay={WEIGHT_DECAY}",
        "optimizer.layer_decay=1.0",
        "optimizer.head_lr=null",
        f"schedule.warmup_ratio={WARMUP_RATIO}",
        f"seed={seed}",
    ]


def hf_trainer(
    workload: Workload,
    seed: int,
    *,
    sampling: str = "random",
    pad_to: int | None = None,
    precision: str = "32",
) -> float:
    """transformers' Trainer: dynamic padding, or every text padded to ``pad_to`` (run_classification's default)."""
    import torch
    from transformers import (
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
        set_seed,
    )

    stopwatch = Stopwatch()

    class Steps(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            stopwatch.step_ended()

    set_seed(seed)
    tokenizer, rows = tokenized_by_hf(workload, pad_to)
    collate = default_data_collator if pad_to else DataCollatorWithPadding(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            hf_model(workload, len(rows.features["label"].names)),
            TrainingArguments(
                output_dir=folder,
                # padded to one length every step costs the same, so that fewer will do
                max_steps=(workload.steps // 4 if pad_to else workload.steps) + WARM_STEPS,
                learning_rate=LR,
                per_device_train_batch_size=workload.batch_size,
                warmup_steps=WARMUP_RATIO,
                weight_decay=WEIGHT_DECAY,
                max_grad_norm=1.0,
                train_sampling_strategy=sampling,
                use_cpu=not torch.cuda.is_available(),
                bf16=precision == "bf16",
                dataloader_pin_memory=torch.cuda.is_available(),
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                seed=seed,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
            data_collator=counting(collate, stopwatch),
            callbacks=[Steps()],
        )
        trainer.train()
    return stopwatch.tokens_per_second()


def plain_lightning(workload: Workload, seed: int, precision: str = "32") -> float:
    """The LightningModule of the tutorials: HF model, dynamic padding in random order."""
    import torch
    from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
    from torch.utils.data import DataLoader
    from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup

    stopwatch = Stopwatch()

    class Steps(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            stopwatch.step_ended()

    class Plain(LightningModule):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model.train()  # as loaded it is in eval mode, and would train without dropout

        def training_step(self, batch: dict[str, Any], index: int) -> Any:
            loss = self.model(**batch).loss
            self.log("train/loss", loss.detach())
            return loss

        def configure_optimizers(self) -> Any:
            fused = precision == "32"  # in mixed precision Lightning refuses to clip with it
            optimizer = torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=fused)
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = get_linear_schedule_with_warmup(optimizer, int(steps * WARMUP_RATIO), steps)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    seed_everything(seed, verbose=False)
    tokenizer, rows = tokenized_by_hf(workload, None)
    collate = counting(DataCollatorWithPadding(tokenizer), stopwatch)
    loader = DataLoader(rows, batch_size=workload.batch_size, shuffle=True, collate_fn=collate)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        Trainer(
            max_steps=workload.steps + WARM_STEPS,
            max_epochs=-1,
            precision={"32": "32-true", "bf16": "bf16-mixed"}[precision],
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[Steps()],
        ).fit(Plain(hf_model(workload, len(rows.features["label"].names))), loader)
    return stopwatch.tokens_per_second()


def hf_model(workload: Workload, num_labels: int) -> Any:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoModelForSequenceClassification.from_pretrained(
        workload.encoder_folder(), num_labels=num_labels
    )


def tokenized_by_hf(workload: Workload, pad_to: int | None, split: str = "train") -> tuple[Any, Any]:
    """The tokenizer, and a split as ``datasets.map`` leaves it."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    files = workload.files()
    tokenizer = AutoTokenizer.from_pretrained(workload.encoder_folder())
    rows = datasets.load_dataset(
        "csv", data_files={split: str(files / f"{split}.csv")}, split=split, cache_dir=str(files / "datasets")
    )
    options: dict[str, Any] = {"truncation": True, "max_length": pad_to or workload.max_length}
    if pad_to:
        options["padding"] = "max_length"
    rows = rows.class_encode_column("label").map(
        lambda part: tokenizer(part["text"], **options), batched=True
    )
    return tokenizer, rows.remove_columns("text")


def counting(collate: Any, stopwatch: Stopwatch) -> Any:
    """``collate`` that notes the real tokens of each batch."""

    def collate_and_count(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = collate(rows)
        stopwatch.tokens.append(int(batch["attention_mask"].sum()))
        return batch

    return collate_and_count


OURS = "bert_ft"
DYNAMIC = "HF Trainer, dynamic padding"
GROUPED = "HF Trainer, group_by_length"
PADDED = "HF Trainer, padded to 128"
PLAIN = "plain Lightning, dynamic padding"
SIDES = {
    OURS: ours,
    DYNAMIC: hf_trainer,
    GROUPED: partial(hf_trainer, sampling="group_by_length"),
    PLAIN: plain_lightning,
    PADDED: partial(hf_trainer, pad_to=128),
}

if __name__ == "__main__":
    side, name, seed, *more = sys.argv[1:]
    workload = replace(WORKLOADS[name], steps=int(more[1])) if more[1:] else WORKLOADS[name]
    print(SIDES[side](workload, int(seed), precision=more[0] if more else "32"))
