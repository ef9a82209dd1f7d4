"""One run of transformers' Trainer with run_classification's settings, for ``benchmarks.recipes``.

    python -m benchmarks.hf_recipe FOLDER SEED cpu|cuda

Prints its scores as json. Padding is dynamic where run_classification pads to 128: the same numbers, sooner.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.recipe_data import MAX_LENGTH


def main(folder: Path, seed: int, accelerator: str) -> dict[str, float]:
    import numpy as np
    from datasets import load_dataset
    from sklearn.metrics import f1_score
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
    data = load_dataset("csv", data_files=files, keep_default_na=False)
    labels = sorted(set(data["train"]["label"]))
    ids = {name: index for index, name in enumerate(labels)}
    data = data.map(
        lambda rows: {
            **tokenizer(rows["text"], truncation=True, max_length=MAX_LENGTH),
            "labels": [ids[label] for label in rows["label"]],
        },
        batched=True,
        remove_columns=["text", "label"],
    )
    with tempfile.TemporaryDirectory() as output:
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(path, num_labels=len(labels)),
            TrainingArguments(
                output_dir=output,
                num_train_epochs=3,
                learning_rate=5e-5,
                per_device_train_batch_size=8,
                per_device_eval_batch_size=64,
                seed=seed,
                bf16=True,
                use_cpu=accelerator == "cpu",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=data["train"],
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        trainer.train()
        scores: dict[str, float] = {}
        for prefix, name in (("val_", "validation"), ("", "test")):
            predicted = trainer.predict(data[name])
            chosen = np.argmax(predicted.predictions, axis=1)
            scores[f"{prefix}accuracy"] = float((chosen == predicted.label_ids).mean())
            # over all classes of the training data or the split, as ours
            scores[f"{prefix}f1_macro"] = float(
                f1_score(predicted.label_ids, chosen, average="macro", zero_division=0)
            )
            scores[f"{prefix}loss"] = float(predicted.metrics["test_loss"])
    return scores


if __name__ == "__main__":
    folder, seed, accelerator = sys.argv[1:]
    print(json.dumps(main(Path(folder), int(seed), accelerator)))
