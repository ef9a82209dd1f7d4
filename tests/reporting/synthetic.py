"""Folders as runs leave them, made without a run: any size, and no second of training."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from sklearn.metrics import confusion_matrix
from torch.utils.tensorboard import SummaryWriter

WORDS = ["the", "film", "is", "not", "as", "clever", "or", "moving", "as", "its", "makers", "think"]


@dataclass(frozen=True)
class Size:
    num_layers: int = 2
    num_heads: int = 2
    num_classes: int = 3
    num_rows: int = 60
    num_steps: int = 40
    num_validations: int = 4
    num_tokens: int = 6
    num_texts: int = 1
    every: int = 1
    one_class: bool = False

    @property
    def names(self) -> list[str]:
        return [f"class {number}" for number in range(self.num_classes)]

    @property
    def layers(self) -> list[str]:
        return ["embeddings", *(f"layer.{number}" for number in range(self.num_layers)), "head"]

    @property
    def validation_steps(self) -> list[int]:
        return np.linspace(0, self.num_steps, self.num_validations + 1).astype(int)[1:].tolist()

    @property
    def kept_step(self) -> int:
        return self.validation_steps[-2:][0]


def write_run(folder: Path, size: Size = Size(), *, finished: bool = True) -> Path:
    """Everything that a run with all monitors leaves, and that a report reads."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scalars(folder, training_scalars(size) + validation_scalars(size))
    for step in size.validation_steps:
        write_monitor_files(folder / "monitor", size, step)
    write_settings(folder)
    write_json(folder / "data_report.json", data_report(size))
    write_json(folder / "environment.json", ENVIRONMENT)
    if finished:
        (folder / "model").mkdir(exist_ok=True)
        write_json(folder / "metrics.json", metrics(size))
    return folder


def write_json(path: Path, content) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_scalars(folder: Path, scalars: list[tuple[str, int, float]]) -> Path:
    """One event file with ``(tag, step as it is stamped, value)``."""
    before = set((folder / "tensorboard").glob("*"))
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for tag, step, value in scalars:
            writer.add_scalar(tag, value, step)
    (path,) = set((folder / "tensorboard").glob("*")) - before
    return path


def training_scalars(size: Size) -> list[tuple[str, int, float]]:
    """Lightning's own, stamped with the steps before, and the monitors', stamped with the steps done."""
    rng = np.random.default_rng(0)
    found = []
    for step in range(0, size.num_steps, size.every):
        done = step / size.num_steps
        norm = float(np.exp(rng.normal(0.2 - done, 0.5)))
        found += [
            ("train/loss", step, 1.5 * np.exp(-3 * done) + 0.2 + abs(rng.normal(0, 0.15))),
            ("train/grad_norm", step, norm),
            ("train/grad_norm_clipped", step, min(norm, 1.0)),
        ]
        for depth, layer in enumerate(size.layers):
            rate = 1e-4 * 0.9 ** (len(size.layers) - depth) * min(10 * done, (1 - done) / 0.9)
            found += [
                (f"lr-AdamW/{layer}", step, rate),
                (f"lr-AdamW/{layer}/no_decay", step, rate),
                (f"lr-AdamW/{layer}-weight_decay", step, 0.01),
            ]
    for step in range(1, size.num_steps + 1, max(size.every, size.num_steps // 60)):
        found += monitor_scalars(size, step, rng)
    return found


def monitor_scalars(size: Size, step: int, rng) -> list[tuple[str, int, float]]:
    done = step / size.num_steps
    found = [
        ("throughput/tokens_per_second", step, 4000 + rng.normal(0, 150)),
        ("throughput/sequences_per_second", step, 140 + rng.normal(0, 5)),
        ("throughput/padding_ratio", step, 0.0),
        ("throughput/peak_memory_mb", step, 1200 + 300 * done),
        ("seconds/data", step, 0.01),
        ("seconds/forward", step, 0.3),
        ("seconds/backward", step, 0.6),
    ]
    for depth, layer in enumerate(size.layers):
        share = depth / len(size.layers)
        wobble = float(np.exp(rng.normal(0, 0.15)))
        found += [
            (f"gradients/{layer}/norm", step, 0.02 * 10 ** (1.5 * share) * (1.2 - done) * wobble),
            (f"weights/{layer}/update_ratio", step, 3e-3 * (0.3 + share) * (1 - done) * wobble),
            (f"weights/{layer}/distance", step, 2 * (0.2 + share) * done**0.6),
        ]
    for layer in range(size.num_layers):
        for kind, usual in (("attention", 0.25), ("activation", 0.4), ("ffn", 0.5), ("hidden", 1.0)):
            spread = (
                usual * (1 + 0.4 * layer / size.num_layers) * (1 + 0.3 * done) * np.exp(rng.normal(0, 0.04))
            )
            found.append((f"activations/layer.{layer}.{kind}/sd", step, float(spread)))
            found.append(
                (f"activations/layer.{layer}.{kind}/near_zero", step, 0.05 + 0.3 * (kind == "activation"))
            )
    for name in ("dense", "output"):
        found.append((f"activations/head.{name}/sd", step, 0.8 + done))
        found.append((f"activations/head.{name}/near_zero", step, 0.02))
    return found


def validation_scalars(size: Size) -> list[tuple[str, int, float]]:
    rng = np.random.default_rng(1)
    found = []
    for step in size.validation_steps:
        done = step / size.num_steps
        found += [
            ("val/loss", step, 0.6 * np.exp(-3 * done) + 0.25 + 0.12 * done),
            ("val/accuracy", step, 0.95 - 0.4 * np.exp(-4 * done)),
            ("val/f1_macro", step, 0.94 - 0.45 * np.exp(-4 * done)),
            ("confidence/ece", step, 0.08 - 0.05 * done + abs(rng.normal(0, 0.005))),
            ("confidence/brier", step, 0.3 - 0.2 * done),
            ("confidence/mean_correct", step, 0.7 + 0.2 * done),
            ("confidence/mean_wrong", step, 0.5 + 0.2 * done),
            ("representations/silhouette", step, 0.6 * done),
            ("representations/centroid_distance", step, 2 + 3 * done),
            ("representations/effective_rank", step, 40 - 25 * done),
        ]
        found += [(f"class/{name}/f1", step, float(rng.beta(2 + 8 * done, 2))) for name in size.names]
        found += [
            (f"attention/layer.{layer}/entropy", step, 0.7 - 0.4 * done * layer / size.num_layers)
            for layer in range(size.num_layers)
        ]
    return found


def validation_outputs(size: Size, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels: most rows right and sure of it."""
    rng = np.random.default_rng(seed)
    labels = (
        np.zeros(size.num_rows, int) if size.one_class else rng.integers(size.num_classes, size=size.num_rows)
    )
    logits = rng.normal(0, 1, (size.num_rows, size.num_classes))
    logits[np.arange(size.num_rows), labels] += rng.gamma(4, 1, size.num_rows)
    return logits.astype(np.float32), labels


def whole_split(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``outputs`` of all rows of a split, with what a monitor adds of those that it doesn't save."""
    finite = np.isfinite(outputs["logits"]).all(1)
    labels, predictions = outputs["labels"][finite], outputs["logits"][finite].argmax(1)
    counts = (
        confusion_matrix(labels, predictions, labels=np.arange(len(outputs["names"]))) if finite.any() else 0
    )
    return {**outputs, "confusion": np.asarray(counts), "num_rows": np.array(len(finite))}


def write_monitor_files(folder: Path, size: Size, step: int) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(step)
    names, rows = np.array(size.names), np.arange(size.num_rows)
    logits, labels = validation_outputs(size, seed=step)
    outputs = {"logits": logits, "labels": labels, "rows": rows, "names": names}
    np.savez_compressed(folder / f"validation_{step}.npz", **whole_split(outputs))
    centres = rng.normal(0, 3, (size.num_classes, 16))
    vectors = (centres[labels] + rng.normal(0, 1, (size.num_rows, 16))).astype(np.float32)
    content = outputs | {"vectors": vectors, "predictions": logits.argmax(1)}
    np.savez_compressed(folder / f"representations_{step}.npz", **content)
    np.savez_compressed(folder / f"attention_{step}.npz", **attention(size, rng))
    classes = {"label": size.names[0], "prediction": size.names[-1]}
    losses = []
    for row in range(10):
        text = f"row {row}: " + " ".join(rng.choice(WORDS, size=25))
        losses.append(
            {"row": row, "text": text, **classes, "probability": 0.01 * (row + 1), "loss": 4.6 - row / 10}
        )
    write_json(folder / f"top_losses_{step}.json", losses)


def attention(size: Size, rng) -> dict[str, np.ndarray]:
    heads = (size.num_layers, size.num_heads)
    found = {
        name: rng.random(heads).astype(np.float32) for name in ("entropy", "on_first", "on_last", "on_self")
    }
    found["distance"] = (8 * rng.random(heads)).astype(np.float32)
    places = np.arange(size.num_tokens)
    for number in range(size.num_texts):
        focus, width = rng.integers(-3, 4, heads), rng.uniform(0.5, 6, heads)
        distances = places[None, None, None] - places[None, None, :, None] - focus[..., None, None]
        scores = -(distances**2) / (2 * width[..., None, None] ** 2)
        scores[..., 0] += rng.uniform(-3, 3, heads)[..., None]
        maps = np.exp(scores)
        tokens = ["[CLS]", *rng.choice(WORDS, size=size.num_tokens - 2), "[SEP]"]
        found[f"text_{number}_tokens"] = np.array(tokens)
        found[f"text_{number}_attention"] = (maps / maps.sum(-1, keepdims=True)).astype(np.float16)
    return found


def write_settings(folder: Path) -> None:
    hydra = folder / ".hydra"
    hydra.mkdir(exist_ok=True)
    config = {
        "seed": 3,
        "objective": {"metric": "val/accuracy", "mode": "max"},
        "trainer": {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"},
        "callbacks": {"best": {"dirpath": "${hydra:runtime.output_dir}/checkpoints"}},
    }
    (hydra / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    overrides = ["data=files", "data.train_file=my data/train.csv", "model.head.hidden_sizes=[768,256]"]
    (hydra / "overrides.yaml").write_text(yaml.safe_dump(overrides), encoding="utf-8")


def metrics(size: Size) -> dict:
    val = {
        tag.removeprefix("val/"): value
        for tag, step, value in validation_scalars(size)
        if tag.startswith("val/") and step == size.kept_step
    }
    return {
        "val": val,
        "test": {"loss": 0.33, "accuracy": 0.9125, "f1_macro": 0.91},
        "weights": "raw",
        "objective": {"metric": "val/accuracy", "value": val["accuracy"]},
        "checkpoint": {"path": "checkpoints/best.ckpt", "epoch": 2.0, "step": size.kept_step},
        "stopped": "all steps done",
        "seed": 3,
        "precision": {"requested": "16", "effective": "bf16-mixed"},
        "labels": size.names,
        "rows": {"train": 640, "validation": size.num_rows, "test": 80},
        "fit_seconds": 131.25,
    }


ENVIRONMENT = {
    "system": "Linux",
    "processor": "a <b>fast</b> one",
    "cores": 2,
    "precision": {"requested": "16", "effective": "bf16-mixed"},
    "seed": 3,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "lightning": "2.6.6"},
}


def data_report(size: Size) -> dict:
    def split(rows: int) -> dict:
        return {
            "num_rows": rows,
            "label_counts": dict.fromkeys(size.names, rows // size.num_classes),
            "lengths": {"mean": 10.5, "p50": 11.0, "p95": 15.0, "max": 16},
            "truncated_ratio": 0.025,
            "lost_ratio": 0.01,
            "num_duplicates": 4,
            "num_leaks": 1,
            "num_near_leaks": 2,
            "leak_rows": [78],
        }

    warnings = ["validation: 1 row has the text of a training row; its score will be too good (rows 78)"]
    splits = {"train": split(640), "validation": split(size.num_rows), "test": split(80)}
    return {"max_length": 32, "splits": splits, "num_conflicts": 0, "warnings": warnings, "notes": []}
