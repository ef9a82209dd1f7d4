"""What the speed of training and prediction is measured on: texts, an encoder, a batch size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpora import Rows, cache_folder, rotten_tomatoes
from benchmarks.files import write_split

# torch is imported where it is needed: our sides set up their memory before it is (bert_ft.kernels.memory)

MINILM = "embedded/all-MiniLM-L6-v2"
BASE = "bert-12x768"
LONG_PIECE_WORDS = 480  # at least 528 of MiniLM's tokens


@dataclass(frozen=True)
class Workload:
    """One corpus with one encoder.

    Attributes:
        corpus: ``rotten_tomatoes`` (short texts), ``bbc_news`` (long ones) or ``bbc_pieces`` (at least 512 tokens,
            so that ``max_length`` is the length of every row).
        encoder: ``MINILM``, or ``bert-<layers>x<width>``, a BERT of that shape with random weights.
        max_length: where texts are cut, in tokens.
        batch_size: sequences in a training batch.
        steps: optimizer steps that are timed. transformers' LengthGroupedSampler sorts 50 batches at a time, the
            longest first, so that a multiple of 50 is a fair sample; fewer show it longer texts than average.
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
        return _minilm() if self.encoder == MINILM else str(random_encoder(self.encoder))


WORKLOADS = {
    "short-minilm": Workload("rotten_tomatoes", MINILM, 128, 32, 100),
    "long-minilm": Workload("bbc_news", MINILM, 256, 16, 20),
    "short-base": Workload("rotten_tomatoes", BASE, 128, 32, 12),
    "long-base": Workload("bbc_news", BASE, 256, 16, 4),
}


def random_encoder(name: str) -> Path:
    """The folder of ``bert-<layers>x<width>`` with random weights and MiniLM's tokenizer; made once.

    Heads are 64 wide and the inner layers four times the width, as in BERT.
    """
    folder = cache_folder() / name
    if not (folder / "model.safetensors").exists():
        import torch
        from transformers import AutoTokenizer, BertConfig, BertModel

        layers, width = (int(part) for part in name.removeprefix("bert-").split("x"))
        config = BertConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
        )
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=True).save_pretrained(folder)
        AutoTokenizer.from_pretrained(_minilm()).save_pretrained(folder)
    return folder


def _minilm() -> str:
    from bert_ft.models.encoder_name import resolve_name

    return resolve_name(MINILM)


def _bbc_news() -> Rows:
    from bert_ft.data.sources import BbcNews

    train = BbcNews().load(None).splits["train"].dataset
    return list(zip(train["text"], train["label"], strict=True))


def _bbc_pieces() -> Rows:
    """All articles joined and cut every ``LONG_PIECE_WORDS`` words, with the topic that a piece begins in."""
    words = [(word, topic) for text, topic in _bbc_news() for word in text.split()]
    starts = range(0, len(words) - LONG_PIECE_WORDS, LONG_PIECE_WORDS)
    return [
        (" ".join(word for word, _ in words[start : start + LONG_PIECE_WORDS]), words[start][1])
        for start in starts
    ]


_CORPORA = {"rotten_tomatoes": rotten_tomatoes, "bbc_news": _bbc_news, "bbc_pieces": _bbc_pieces}
