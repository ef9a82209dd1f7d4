"""What one point of ``benchmarks.scale`` measures; each runs in a process of its own.

A point is a dictionary of plain values with ``kind``, ``side`` and what it varies; what is measured is another.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks import trainers
from benchmarks.memory import peak_megabytes
from benchmarks.workloads import MINILM, Workload

Point = dict[str, Any]
DATA_MAX_LENGTH = 128
LAYERS_WIDTH, WIDTHS_LAYERS = 384, 6  # the width at which the depth is varied, and the other way round
NO_DROPOUT = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0", "model.dropout=0.0"]
# Gradients that are nought but for rounding, as those of the key biases are, move Adam's weights by whole steps
# of the learning rate in directions that rounding decides. With this eps they move nothing.
EQUALITY_EPS = 1e-4


def training(point: Point) -> dict[str, float]:
    """Tokens a second of a side of ``benchmarks.trainers``, and the process's peak memory."""
    side = trainers.SIDES[point["side"]]
    overrides = _replicated() if point.get("processes", 1) > 1 else ["trainer.devices=1"]
    arguments = overrides if point["side"] == trainers.OURS else []
    tokens_per_second = side(_workload(point), 0, *arguments)
    return {"tokens_per_second": tokens_per_second, "peak_megabytes": peak_megabytes()}


def losses(point: Point) -> dict[str, Any]:
    """The loss of each step without dropout; the trained weights go to the file ``weights``."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        import torch
        from lightning.pytorch import Callback

    found: list[float] = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            found.append(float(outputs["loss"]))

    replicated = _replicated() if point["processes"] > 1 else ["trainer.devices=1"]
    adam = f"optimizer.algorithm.eps={EQUALITY_EPS}"
    run = trainers.fit_ours(_workload(point), 0, Losses(), *replicated, *NO_DROPOUT, adam)
    if run.trainer.is_global_zero:
        torch.save(run.module.classifier.saved_state(), point["weights"])
    return {"losses": found}


def data(point: Point) -> dict[str, float]:
    """Seconds from a csv file to memory-mapped token ids, and the process's peak memory; imports not counted."""
    seconds = {trainers.OURS: _our_data, HF_DATA: _hf_data}[point["side"]](point["file"], point["cache"])
    return {"seconds": seconds, "peak_megabytes": peak_megabytes()}


def _our_data(file: str, cache: str) -> float:
    from bert_ft.data.sources import read_rows
    from bert_ft.data.tokenization import load_tokenizer, tokenize
    from bert_ft.models.encoder_name import resolve_name

    tokenizer = load_tokenizer(resolve_name(MINILM))
    started = time.perf_counter()
    tokenize(read_rows(file, "text", cache_dir=cache), tokenizer, DATA_MAX_LENGTH, cache)
    return time.perf_counter() - started


def _hf_data(file: str, cache: str) -> float:
    import datasets
    from transformers import AutoTokenizer

    from bert_ft.models.encoder_name import resolve_name

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(resolve_name(MINILM))
    started = time.perf_counter()
    rows = datasets.load_dataset("csv", data_files=file, split="train", cache_dir=cache)
    rows.map(lambda part: tokenizer(part["text"], truncation=True, max_length=DATA_MAX_LENGTH), batched=True)
    return time.perf_counter() - started


def _workload(point: Point) -> Workload:
    return Workload(
        point["corpus"], point["encoder"], point["max_length"], point["batch_size"], point["steps"]
    )


def _replicated() -> list[str]:
    """Overrides for one of several processes; which it is stands in its environment (see ``replicas``)."""
    return [
        "trainer.accelerator=cpu",
        f"trainer.devices={os.environ['WORLD_SIZE']}",
        "trainer.strategy=ddp",
    ]


HF_DATA = "datasets.map"
KINDS = {"training": training, "losses": losses, "data": data}
