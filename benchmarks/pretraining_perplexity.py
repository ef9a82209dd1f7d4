"""A small BERT from random weights, trained by ``bert_ft.pretrain pretrain=mlm`` for at most ten minutes of one core.

    python -m benchmarks.pretraining_perplexity

Texts: the paragraphs of BBC News and the Rotten Tomatoes snippets; a tenth of the articles and snippets is held out, whole,
before anything is learnt from the rest, the vocabulary of 2,000 word pieces included, and of it whatever the rest repeats is
left out. What comes out is judged outside of bert_ft: the folder is loaded by ``transformers.AutoModelForMaskedLM``, the
held-out texts are masked by transformers' own collator (15%, 80/10/10), and the perplexity of the masked tokens stands beside
that of the best unigram model on the very same ones: token frequencies of the training texts, whose additive smoothing is
chosen on the held-out tokens themselves.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch.nn import functional as F
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
)

from benchmarks.commands import finished
from benchmarks.corpora import rotten_tomatoes
from benchmarks.measure import record
from benchmarks.recipe_data import bbc_news
from bert_ft.data.texts import normalized

SEED = 0
HELD_OUT = 0.1
VOCAB_SIZE = 2000
MAX_LENGTH = 128
MAX_CPU_SECONDS = 600
LEAST_RATIO = 3.0
SHAPE = {
    "hidden_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "initializer_range": 0.06,  # near 1 / sqrt(hidden_size): at BERT's 0.02 so narrow a model learns late to attend
}
SETTINGS = [
    "pretrain=mlm",
    "pretrain.masking.mlm_probability=0.2",
    "pretrain.batch_size=32",
    "pretrain.trainer.max_steps=2400",
    "pretrain.trainer.val_check_interval=800",
    "pretrain.trainer.check_val_every_n_epoch=null",
    "pretrain.optimizer.lr=1.5e-3",
    "pretrain.optimizer.head_lr=null",
    "pretrain.held_out_ratio=0.01",
    "pretrain.num_cached=0",
    f"data.max_length={MAX_LENGTH}",
    "encoder.hidden_dropout=0.0",
    "encoder.attention_dropout=0.0",
    "monitor=none",
    "logger=none",
    "report=false",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


def documents() -> list[list[str]]:
    """The paragraphs of each article, and each snippet, in a random order; copies only once."""
    found = [[line.strip() for line in text.splitlines() if line.strip()] for text, _ in bbc_news()]
    found += [[text] for text, _ in rotten_tomatoes()]
    unique = list({"\n".join(paragraphs): paragraphs for paragraphs in found}.values())
    random.Random(SEED).shuffle(unique)
    return unique


def random_encoder(folder: Path, train_file: Path) -> None:
    """A BERT with random weights and a vocabulary of the training texts, as a Hugging Face folder."""
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train([str(train_file)], vocab_size=VOCAB_SIZE, show_progress=False)
    folder.mkdir()
    trained.save_model(str(folder))
    tokenizer = BertTokenizerFast.from_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    torch.manual_seed(SEED)
    BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **SHAPE)
    ).save_pretrained(folder)


def masked_batches(folder: Path, texts: list[str]) -> list[dict[str, torch.Tensor]]:
    """The texts as transformers masks them, shortest first."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    rows.sort(key=len)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=SEED)
    return [collator([{"input_ids": ids} for ids in rows[at : at + 64]]) for at in range(0, len(rows), 64)]


@torch.no_grad()
def nats_of_model(folder: Path, batches: list[dict[str, torch.Tensor]]) -> float:
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    total, count = 0.0, 0
    for batch in batches:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        is_target = batch["labels"] != -100
        total += F.cross_entropy(logits[is_target], batch["labels"][is_target], reduction="sum").item()
        count += int(is_target.sum())
    return total / count


def nats_of_unigrams(folder: Path, texts: list[str], batches: list[dict[str, torch.Tensor]]) -> float:
    """The smallest over all amounts of smoothing."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(texts, truncation=True, max_length=MAX_LENGTH, add_special_tokens=False)["input_ids"]
    counts = np.bincount(
        np.concatenate([np.asarray(ids, dtype=np.int64) for ids in rows]), minlength=len(tokenizer)
    )
    counts[tokenizer.all_special_ids] = 0  # never masked
    targets = torch.cat([batch["labels"][batch["labels"] != -100] for batch in batches]).numpy()
    is_possible = ~np.isin(np.arange(len(counts)), tokenizer.all_special_ids)

    def nats(smoothing: float) -> float:
        smoothed = (counts + smoothing) * is_possible
        return float(-np.log(smoothed / smoothed.sum())[targets].mean())

    with np.errstate(divide="ignore"):
        return min(nats(smoothing) for smoothing in np.geomspace(1e-3, 100, 51))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        held_out, train = np.split(np.array(documents(), dtype=object), [round(HELD_OUT * len(documents()))])
        texts = {
            "train": [text for rows in train for text in rows],
            "held_out": [text for rows in held_out for text in rows],
        }
        seen = {normalized(text) for text in texts["train"]}  # some articles repeat paragraphs of others
        texts["held_out"] = [text for text in texts["held_out"] if normalized(text) not in seen]
        (folder / "train.txt").write_text("\n".join(texts["train"]) + "\n", encoding="utf-8")
        random_encoder(folder / "random", folder / "train.txt")
        command = [
            sys.executable,
            "-m",
            "bert_ft.pretrain",
            "data=files",
            f"data.train_file={folder}/train.txt",
        ]
        command += ["encoder=any", f"encoder.name_or_path={folder}/random", f"data.cache_dir={folder}/cache"]
        command += [f"hydra.run.dir={folder}/run", f"seed={SEED}", *SETTINGS, *sys.argv[1:]]
        _, seconds = finished(command)
        batches = masked_batches(folder / "run/model", texts["held_out"])
        nats = {
            "unigram": nats_of_unigrams(folder / "run/model", texts["train"], batches),
            "before": nats_of_model(folder / "random", batches),
            "after": nats_of_model(folder / "run/model", batches),
        }
    perplexity = {side: round(math.exp(value), 1) for side, value in nats.items()}
    ratio = perplexity["unigram"] / perplexity["after"]
    content = {
        "texts": {side: len(found) for side, found in texts.items()},
        "masked_tokens": sum(int((batch["labels"] != -100).sum()) for batch in batches),
        "perplexity": perplexity,
        "times_below_unigram": round(ratio, 2),
        "cpu_seconds": round(seconds),
        "shape": SHAPE,
        "settings": SETTINGS,
    }
    record(__file__, "bbc_and_rotten_tomatoes", content)
    if ratio < LEAST_RATIO or seconds > MAX_CPU_SECONDS:
        sys.exit(f"wanted: {LEAST_RATIO} times below the unigram model in {MAX_CPU_SECONDS} seconds")


if __name__ == "__main__":
    main()
