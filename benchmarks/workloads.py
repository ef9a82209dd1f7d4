"""What the speed of training and prediction is measured on: texts, an encoder, a batch size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpora import Rows, cache_folder, rotten_tomatoes
from benchmarks.files import write_split
from bert_ft.models.encoder import resolve_name

MINILM = "embedded/all-MiniLM-L6-v2"
BASE = "bert-12x768"


@dataclass(frozen=True)
class Workload:
    """One corpus with one encoder.

    Attributes:
        corpus: ``rotten_tomatoes`` (short texts) or ``bbc_news`` (long ones).
        encoder: ``MINILM``, or ``BASE``, a 12-layer 768-wide BERT with random weights.
        max_length: where texts are cut, in tokens.
        batch_size: sequences in a training batch.
        steps: optimizer steps that are timed; LengthGroupedSampler sorts 50 batches at a time, so that a
            multiple of 50 is a fair sample of its batches.
    """

    corpus: str
    encoder: str
    max_length: int
    batch_size: int
    steps: int

    def files(self) -> Path:
        """The folder of ``train.csv``, ``validation.csv`` and ``test.csv``."""
        folder = cache_folder() / "splits" / self.corpus
        if not (folder / "test.csv").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_split(_CORPORA[self.corpus](), folder, seed=0)
        return folder

    def encoder_folder(self) -> str:
        return resolve_name(MINILM) if self.encoder == MINILM else str(base_encoder())


WORKLOADS = {
    "short-minilm": Workload("rotten_tomatoes", MINILM, 128, 32, 100),
    "long-minilm": Workload("bbc_news", MINILM, 256, 16, 50),
    "short-base": Workload("rotten_tomatoes", BASE, 128, 32, 50),
    "long-base": Workload("bbc_news", BASE, 256, 16, 10),
}


def base_encoder() -> Path:
    """The folder of a 12-layer, 768-wide BERT with random weights and MiniLM's tokenizer; made once."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = cache_folder() / BASE
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(0)
        BertModel(BertConfig(), add_pooling_layer=True).save_pretrained(folder)
        AutoTokenizer.from_pretrained(resolve_name(MINILM)).save_pretrained(folder)
    return folder


def _bbc_news() -> Rows:
    from bert_ft.data.sources import BbcNews

    train = BbcNews().load(None).splits["train"].dataset
    return list(zip(train["text"], train["label"], strict=True))


_CORPORA = {"rotten_tomatoes": rotten_tomatoes, "bbc_news": _bbc_news}
