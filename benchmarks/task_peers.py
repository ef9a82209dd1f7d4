"""One run of what others would train on a task of ``benchmarks.tasks``; prints its scores as json.

    python -m benchmarks.task_peers hf KIND FOLDER SEED LR EPOCHS    transformers' Trainer, batches of 16, else its defaults
    python -m benchmarks.task_peers logistic multi_label FOLDER      logistic regression for each label, on frozen vectors

KIND is ``multi_label``, ``regression``, ``ordinal`` or ``votes``: binary cross entropy; squared error; the same, rounded to the
grade; cross entropy to the class with most votes. Padding is dynamic.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.task_data import MAX_LENGTH, read

SPLITS = {"val_": "validation", "": "test"}
STRENGTHS = (0.3, 1, 3, 10, 30, 100)
PROBLEM_TYPES = {
    "multi_label": "multi_label_classification",
    "regression": "regression",
    "ordinal": "regression",
    "votes": "single_label_classification",
}


def scores(kind: str, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The task's scores by scikit-learn and scipy; ``outputs`` are probabilities or numbers, ``(rows, columns)`` as ``labels``."""
    from scipy.stats import entropy, spearmanr
    from sklearn.metrics import cohen_kappa_score, f1_score

    if kind == "multi_label":
        f1 = f1_score(labels, outputs >= 0.5, average="macro", zero_division=0)
        return {"f1_macro": float(f1)}
    if kind == "regression":
        return {"spearman": float(spearmanr(outputs[:, 0], labels[:, 0]).statistic)}
    if kind == "ordinal":
        grades = np.clip(np.rint(outputs[:, 0]), labels.min(), labels.max())
        kappa = cohen_kappa_score(labels[:, 0].astype(int), grades.astype(int), weights="quadratic")
        return {"quadratic_kappa": float(kappa)}
    clear = (labels == labels.max(1, keepdims=True)).sum(1) == 1
    right = outputs.argmax(1) == labels.argmax(1)
    divergence = entropy(labels, np.maximum(outputs, np.finfo(np.float32).tiny), axis=1)
    return {"accuracy": float(right[clear].mean()), "kl": float(divergence.mean())}


def hf_trainer(kind: str, folder: Path, seed: int, lr: float, epochs: int) -> dict[str, float]:
    """Scores of the weights that training ends with."""
    from datasets import Dataset
    from scipy.special import expit, softmax
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)
    path = _minilm()
    tokenizer = AutoTokenizer.from_pretrained(path)

    def dataset(name: str) -> tuple[Any, np.ndarray]:
        texts, labels = read(folder / f"{name}.csv")
        targets: Any = labels.astype(np.float32)
        if kind == "votes":
            targets = labels.argmax(1)
        elif kind != "multi_label":
            targets = targets[:, 0]
        encoded = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)
        return Dataset.from_dict({**encoded, "labels": list(targets)}), labels

    train, labels = dataset("majority" if kind == "votes" else "train")
    with tempfile.TemporaryDirectory() as output:
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(
                path, num_labels=labels.shape[1], problem_type=PROBLEM_TYPES[kind]
            ),
            TrainingArguments(
                output_dir=output,
                num_train_epochs=epochs,
                learning_rate=lr,
                per_device_train_batch_size=16,
                per_device_eval_batch_size=64,
                seed=seed,
                bf16=True,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=train,
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        found: dict[str, float] = {}
        for prefix, name in SPLITS.items():
            rows, labels = dataset(name)
            logits = trainer.predict(rows).predictions.reshape(len(labels), -1).astype(np.float64)
            outputs = {"multi_label": expit, "votes": lambda x: softmax(x, axis=1)}.get(kind, lambda x: x)(
                logits
            )
            found |= {prefix + key: value for key, value in scores(kind, outputs, labels).items()}
    return found


def logistic(folder: Path) -> dict[str, float]:
    """On the mean token vector at length 1, as sentence-transformers gives it; of ``STRENGTHS``, C with the best validation score."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    rows = {}
    for name in ("train", "validation", "test"):
        texts, labels = read(folder / f"{name}.csv")
        rows[name] = _vectors(texts), labels

    def found(c: float) -> dict[str, float]:
        model = OneVsRestClassifier(LogisticRegression(C=c, max_iter=1000)).fit(*rows["train"])
        return {
            prefix + key: value
            for prefix, name in SPLITS.items()
            for key, value in scores("multi_label", model.predict_proba(rows[name][0]), rows[name][1]).items()
        }

    return max(({**found(c), "c": c} for c in STRENGTHS), key=lambda one: one["val_f1_macro"])


def _vectors(texts: list[str]) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(_minilm()), AutoModel.from_pretrained(_minilm()).eval()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                texts[start : start + 64],
                truncation=True,
                max_length=MAX_LENGTH,
                padding=True,
                return_tensors="pt",
            )
            mask = batch["attention_mask"][..., None]
            summed = (model(**batch).last_hidden_state * mask).sum(1)
            vectors.append(torch.nn.functional.normalize(summed, dim=1).numpy())
    return np.concatenate(vectors)


def _minilm() -> str:
    from bert_ft.models.encoder_name import resolve_name

    return str(resolve_name("embedded/all-MiniLM-L6-v2"))


if __name__ == "__main__":
    peer, kind, folder, *rest = sys.argv[1:]
    if peer == "hf":
        seed, lr, epochs = rest
        print(json.dumps(hf_trainer(kind, Path(folder), int(seed), float(lr), int(epochs))))
    else:
        print(json.dumps(logistic(Path(folder))))
