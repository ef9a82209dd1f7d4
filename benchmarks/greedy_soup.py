"""AutoGluon's greedy soup of the checkpoints of a run, for ``benchmarks.recipes``.

    python -m benchmarks.greedy_soup RUN DATA

Weights of the best checkpoint, into which each next one is averaged if validation accuracy doesn't fall. Source: Wortsman
et al. 2022, arXiv 2203.05482. Prints its scores as json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from sklearn.metrics import f1_score

from bert_ft.data.prepare import prepare
from bert_ft.data.sources import Files
from bert_ft.models.bundle import load_bundle
from bert_ft.models.outputs import compute_outputs_and_logits
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.shared_weights import read_checkpoint


def main(run: Path, data: Path) -> dict[str, float]:
    bundle = load_bundle(run / "model")
    files = {f"{name}_file": str(data / f"{name}.csv") for name in ("train", "validation", "test")}
    splits = prepare(
        Files(**files).load(), bundle.tokenizer, max_length=bundle.max_length, task=SingleLabel(), seed=0
    ).splits

    def scores(state: dict[str, torch.Tensor], name: str) -> tuple[float, float]:
        bundle.classifier.load_state_dict(state)
        chosen = compute_outputs_and_logits(bundle.classifier, bundle.task, splits[name])[0].argmax(axis=1)
        labels = splits[name].known_labels
        return float((chosen == labels).mean()), float(
            f1_score(labels, chosen, average="macro", zero_division=0)
        )

    ingredients = []
    for path in (run / "checkpoints").glob("best*.ckpt"):
        checkpoint = read_checkpoint(path)
        state = {
            name.removeprefix("classifier."): value
            for name, value in checkpoint["state_dict"].items()
            if name.startswith("classifier.")
        }
        ingredients.append((checkpoint["val_metrics"]["accuracy"], state))
    ingredients.sort(key=lambda ingredient: -ingredient[0])
    soup, size = ingredients[0][1], 1
    best, _ = scores(soup, "validation")
    for _, state in ingredients[1:]:
        mixed = {
            name: torch.lerp(value, state[name], 1 / (size + 1)) if value.is_floating_point() else value
            for name, value in soup.items()
        }
        reached, _ = scores(mixed, "validation")
        if reached >= best:
            soup, size, best = mixed, size + 1, reached
    accuracy, f1_macro = scores(soup, "test")
    return {"accuracy": accuracy, "f1_macro": f1_macro, "val_accuracy": best, "in_soup": size}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
