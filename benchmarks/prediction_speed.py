"""Sequences classified in a second: ours beside transformers' model and ONNX Runtime on the same weights.

    python -m benchmarks.prediction_speed [--workloads short-minilm long-minilm ...] [--rows 2000] [--rounds 3]

The texts are the first rows of the test, validation and training splits, in this order; the weights are one saved
``bert_linear`` with a fresh head. Tokenization, reading and loading are not counted: every side begins with token
ids in memory and ends with probabilities in the rows' order; choosing batches and padding are counted. Padding is
done in numpy for all who pad, and no side computes gradients. Where a side's best batch size isn't known, several
are measured and the best is named. All probabilities are compared with those of transformers in input order.
Each side runs in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workloads import WORKLOADS, Workload

OURS = "bert_ft"
INPUT_ORDER = "HF, input order, batch 32"
HF_SORTED, HF_BATCHES = "HF, sorted", (32, 128)
ORT, ORT_BATCHES = "ONNX Runtime", (8, 16, 32, 64)
GRAPHS = {f"{ORT}, sorted": "model.onnx", f"{ORT}, fused operators, sorted": "fused.onnx"}
ROWS = {"short-minilm": 2000, "long-minilm": 300, "short-base": 300, "long-base": 60}
WARM_ROWS = 64  # classified before the clock starts

# what is asked of all sides: equal labels for this share of the rows, and probabilities no further apart
MIN_EQUAL_LABELS = 0.999
MAX_DIFFERENCE = 1e-3

Classify = Callable[[np.ndarray], np.ndarray]  # row numbers → (len(rows), num_labels) probabilities


def prepare(workload: Workload, num_rows: int, folder: Path) -> None:
    """``texts.csv``, ``bundle/`` and the graphs in ``folder``."""
    import torch

    from bert_ft.data.tokenization import load_tokenizer
    from bert_ft.inference.onnx import export_onnx
    from bert_ft.models.bundle import load_bundle, save_bundle
    from bert_ft.models.classifier import build_linear
    from bert_ft.models.encoder import EncoderSpec
    from bert_ft.tasks.single_label import SingleLabel

    rows: list[tuple[str, str]] = []
    for split in ("test", "validation", "train"):
        with (workload.files() / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            rows += [(row["text"], row["label"]) for row in csv.DictReader(file)]
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text",), *([text] for text, _ in rows[:num_rows])])
    torch.manual_seed(0)
    encoder = EncoderSpec(workload.encoder_folder())
    task = SingleLabel(tuple(sorted({label for _, label in rows})))
    classifier = build_linear(encoder, task.config_entries(), dropout=None)
    tokenizer = load_tokenizer(workload.encoder_folder())
    save_bundle(folder / "bundle", classifier, task, tokenizer, max_length=workload.max_length)
    bundle = load_bundle(folder / "bundle")
    export_onnx(bundle, folder / "model.onnx")
    export_onnx(bundle, folder / "fused.onnx", optimize=True)


def ours(folder: Path) -> tuple[Classify, np.ndarray]:
    """As ``bert_ft.predict`` classifies, with the batches of ``conf/predict.yaml``."""
    import yaml

    from bert_ft.config.paths import conf_dir
    from bert_ft.config.startup import heavy_imports

    with heavy_imports():  # as bert_ft.predict does
        from bert_ft.models.bundle import load_bundle
        from bert_ft.models.outputs import compute_outputs_and_logits

    defaults = yaml.safe_load((conf_dir() / "predict.yaml").read_text(encoding="utf-8"))
    batches = {name: defaults[name] for name in ("batch_size", "max_tokens")}
    bundle = load_bundle(folder / "bundle")
    split = tokenized(folder)

    def run(rows: np.ndarray) -> np.ndarray:
        chosen = split if len(rows) == len(split) else split.select(rows)
        return compute_outputs_and_logits(bundle.classifier, bundle.task, chosen, **batches)[0]

    return run, split.lengths


def hf(folder: Path, *, batch_size: int, in_order: bool = False) -> tuple[Classify, np.ndarray]:
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "bundle", attn_implementation="sdpa"
    ).eval()

    def logits(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            return model(**tensors).logits.numpy()

    return padded_classify(folder, logits, batch_size, in_order)


def onnx_runtime(folder: Path, *, graph: str, batch_size: int) -> tuple[Classify, np.ndarray]:
    """With all graph optimizations and as many threads as torch takes."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(folder / graph, options, providers=["CPUExecutionProvider"])

    def logits(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return session.run(["logits"], inputs)[0]

    return padded_classify(folder, logits, batch_size)


def padded_classify(
    folder: Path,
    logits: Callable[[dict[str, np.ndarray]], np.ndarray],
    batch_size: int,
    in_order: bool = False,
) -> tuple[Classify, np.ndarray]:
    """Rows by falling length, or as they come, each batch padded to its longest."""
    split = tokenized(folder)
    lengths, offsets = split.lengths, split.columns.offsets
    ids = [split.columns.input_ids[offsets[row] : offsets[row + 1]] for row in range(len(split))]

    def run(rows: np.ndarray) -> np.ndarray:
        order = np.arange(len(rows)) if in_order else np.argsort(-lengths[rows], kind="stable")
        found: Any = None
        for start in range(0, len(rows), batch_size):
            positions = order[start : start + batch_size]
            probabilities = softmax(logits(pad([ids[row] for row in rows[positions]])))
            if found is None:
                found = np.empty((len(rows), probabilities.shape[1]), np.float32)
            found[positions] = probabilities
        return found

    return run, lengths


def pad(sequences: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The model's three inputs, ``(batch, longest)`` int64 each."""
    longest = max(map(len, sequences))
    input_ids = np.zeros((len(sequences), longest), np.int64)  # 0: BERT's [PAD]
    attention_mask = np.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence
        attention_mask[row, : len(sequence)] = 1
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": np.zeros_like(input_ids),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def tokenized(folder: Path) -> Any:
    """``texts.csv`` as ids; from the cache in ``folder`` after the first time."""
    import datasets

    from bert_ft import layout
    from bert_ft.data.dataset import TokenizedSplit
    from bert_ft.data.sources import read_rows
    from bert_ft.data.tokenization import load_tokenizer, tokenize

    datasets.disable_progress_bars()
    import yaml

    specification = yaml.safe_load(
        (folder / "bundle" / layout.SPECIFICATION_FILE).read_text(encoding="utf-8")
    )
    texts = read_rows(folder / "texts.csv", "text", cache_dir=folder)
    tokenizer = load_tokenizer(folder / "bundle")
    columns = tokenize(texts, tokenizer, specification["max_length"], folder)
    return TokenizedSplit.from_columns("texts", columns, texts)


SIDES: dict[str, Callable[[Path], tuple[Classify, np.ndarray]]] = {
    OURS: ours,
    INPUT_ORDER: partial(hf, batch_size=32, in_order=True),
    **{f"{HF_SORTED}, batch {size}": partial(hf, batch_size=size) for size in HF_BATCHES},
    **{
        f"{name}, batch {size}": partial(onnx_runtime, graph=graph, batch_size=size)
        for name, graph in GRAPHS.items()
        for size in ORT_BATCHES
    },
}


def be_side(side: str, folder: Path) -> None:
    """Print sequences a second, and leave the probabilities in ``folder``."""
    run, lengths = SIDES[side](folder)
    rows = np.arange(len(lengths))
    # the longest among them, so that the allocators know the largest batch
    run(np.argsort(-lengths, kind="stable")[:WARM_ROWS])
    started = time.perf_counter()
    probabilities = run(rows)
    seconds = time.perf_counter() - started
    np.save(folder / f"{side}.npy", probabilities)
    print(len(rows) / seconds)


def in_own_process(side: str, folder: Path, _: int) -> float:
    command = [sys.executable, "-m", "benchmarks.prediction_speed", "--side", side, "--folder", str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def agreement(folder: Path, sides: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of each side, how its probabilities compare with transformers' in input order.

    Raises:
        SystemExit: a side computes something else.
    """
    reference = np.load(folder / f"{INPUT_ORDER}.npy")
    found = {}
    for side in sides:
        probabilities = np.load(folder / f"{side}.npy")
        equal = float((probabilities.argmax(axis=1) == reference.argmax(axis=1)).mean())
        difference = float(np.abs(probabilities - reference).max())
        found[side] = {"equal_labels": equal, "largest_difference": difference}
        if equal < MIN_EQUAL_LABELS or difference > MAX_DIFFERENCE:
            raise SystemExit(f"{side}: differs from {INPUT_ORDER}: {found[side]}")
    return found


def best_of(speeds: dict[str, float], prefix: str) -> str:
    return max((side for side in speeds if side.startswith(prefix)), key=lambda side: speeds[side])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--rows", type=int, help=f"default: {ROWS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepare", choices=list(WORKLOADS), help="fill --folder for this workload and stop")
    parser.add_argument("--side", choices=list(SIDES), help="be this side on --folder and stop")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.prepare:
        prepare(WORKLOADS[options.prepare], options.rows, options.folder)
    elif options.side:
        be_side(options.side, options.folder)
    else:
        for name in options.workloads:
            measure(name, options.rows or ROWS[name], options.rounds)


def measure(name: str, num_rows: int, rounds: int) -> None:
    from benchmarks.measure import alternate, medians, ratios, record

    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        command = [sys.executable, "-m", "benchmarks.prediction_speed", "--prepare", name]
        command += ["--rows", str(num_rows), "--folder", path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        figures = alternate({side: partial(in_own_process, side, folder) for side in SIDES}, rounds)
        compared = agreement(folder, SIDES)
        lengths = tokenized(folder).lengths
    speeds, over = medians(figures), ratios(figures, OURS)
    best = [INPUT_ORDER, best_of(speeds, HF_SORTED), best_of(speeds, ORT)]
    record(
        __file__,
        name,
        {
            "rounds": rounds,
            "rows": len(lengths),
            "tokens_per_row": round(float(lengths.mean()), 1),
            "sequences_per_second": speeds,
            "tokens_per_second": {
                side: round(value * float(lengths.mean()), 1) for side, value in speeds.items()
            },
            "bert_ft_over": over,
            "bert_ft_over_best": {side: over[side] for side in best},
            "agreement": compared,
        },
    )


if __name__ == "__main__":
    main()
