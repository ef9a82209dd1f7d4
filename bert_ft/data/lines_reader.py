"""Records of plain text files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_ft.data.text_file import check_utf8, open_text
from bert_ft.errors import DataError

COLUMN = "text"
SUFFIXES = (".txt", ".txt.gz")


def has_only_texts(path: Path | str) -> bool:
    """Whether the file, by its suffix, is one of texts without any other column."""
    return str(path).lower().endswith(SUFFIXES)


class LinesReader:
    """A text a line, without labels; white space at a line's ends isn't its text's, and empty lines are no records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: tuple[str, ...] = (COLUMN,)

    def schema(self) -> pa.Schema:
        return pa.schema([(COLUMN, pa.string())])

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """``batch_size`` texts at a time."""
        texts = self._texts()
        while batch := list(islice(texts, batch_size)):
            yield dict.fromkeys(columns, batch)

    def _texts(self) -> Iterator[str]:
        row = 0
        with open_text(self.path) as file:
            for line in file:
                if text := line.strip():
                    row += 1
                    check_utf8(text, f"{self.path}, row {row}")
                    if "\0" in text:
                        raise DataError(f"{self.path}, row {row}: has a null byte; is this a file of text?")
                    yield text
