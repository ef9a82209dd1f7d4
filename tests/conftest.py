"""What tests share: no network, a tiny encoder, a small data set that can be learnt.

What isn't installed or made by the test itself isn't there.
"""

import csv
import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
# Tensors here are tiny, and two processes of pytest-xdist on two cores would wait for each other's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell ignores Ctrl-C for what it starts in the background, and that is inherited
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOOD = ["good", "fine", "lovely", "bright", "warm", "clever"]
BAD = ["bad", "dull", "awful", "grey", "cold", "stupid"]
NEUTRAL = ["film", "plot", "actor", "scene", "music", "the", "a", "and", "of", "story", "camera", "ending"]


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that at the end no worker waits for the other's last one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def make_rows(num_rows: int, seed: int) -> list[tuple[str, str]]:
    """``(text, label)``: a text is positive if it has more good words than bad ones."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_rows):
        label = ["negative", "positive"][rng.integers(2)]
        words = list(rng.choice(NEUTRAL, size=rng.integers(2, 12)))
        words += list(rng.choice(GOOD if label == "positive" else BAD, size=rng.integers(1, 4)))
        rng.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture(autouse=True)
def own_log_handlers():
    """What Hydra hangs onto the root logger writes into the folder of one test, and that is gone in the next."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers and isinstance(handler, logging.FileHandler):
            handler.close()
    root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def reviews(tmp_path_factory) -> dict[str, Path]:
    """Csv files of 160, 40 and 40 rows."""
    folder = tmp_path_factory.mktemp("reviews")
    sizes = {"train": 160, "validation": 40, "test": 40}
    return {
        name: write_csv(folder / f"{name}.csv", make_rows(size, seed))
        for seed, (name, size) in enumerate(sizes.items())
    }


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """The folder of a BERT of 2 layers, 32 wide, with random weights and a WordPiece tokenizer."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny_encoder")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words += [*GOOD, *BAD, *(word for word in NEUTRAL if len(word) > 1)]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    import torch

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def workplace(tmp_path, tiny_encoder, monkeypatch):
    """The current folder, with ``reviews.csv`` and two names for the encoder."""
    write_csv(tmp_path / "reviews.csv", make_rows(240, seed=3))
    for name in ("tiny_encoder", "my_encoder"):
        os.symlink(tiny_encoder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BERT_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def pytest_terminal_summary(terminalreporter):
    """Print how exactly runs were compared with the golden record: it depends on the machine."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "golden":
                    terminalreporter.write_line(f"golden record: {value}")
