"""Records of plain text files: one text per line, optionally with a label in front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_ft.data.text_file import UTF_8, check_text, encoding_of_mark, open_text
from bert_ft.errors import DataError

TEXT, LABEL = "text", "label"
FASTTEXT = "__label__"
_SAMPLE_LINES = 1000
_LEAST_SHARE = 0.9  # of the lines with a tab, for what is before it to be a label
_MOST_DIFFERENT = 0.5  # labels, for each line; else they are no labels


class LinesReader:
    """One text per line; white space at the ends of a line is stripped, and empty lines are skipped.

    A label may be in front of each text: ``label<TAB>text``, or ``__label__name text`` as fastText has it. The first lines
    decide which; every line must have the same form.

    Args:
        path: the file.
        encoding: ``None`` = the encoding of the file's byte order mark, else UTF-8.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        self.encoding = encoding or encoding_of_mark(path) or UTF_8
        self.separator = _separator(list(islice((line for _, line in self.lines()), _SAMPLE_LINES)))
        self.columns: tuple[str, ...] = (TEXT,) if self.separator is None else (TEXT, LABEL)
        self.notes: list[str] = []
        if self.encoding.lower() != UTF_8:
            self.notes.append(f"{path}: read as {self.encoding}")
        if self.separator is not None:
            shown = "label<TAB>text" if self.separator == "\t" else f"{FASTTEXT}label text"
            self.notes.append(f"{path}: read as {shown}, one per line")

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.columns])

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """Yield ``batch_size`` texts, and their labels, at a time."""
        rows = self._rows()
        while batch := list(islice(rows, batch_size)):
            texts, labels = zip(*batch, strict=True)
            values = {TEXT: list(texts), LABEL: list(labels)}
            yield {name: values[name] for name in columns}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield each non-empty line exactly as in the file, and stripped of white space at its ends."""
        with open_text(self.path, self.encoding) as file:
            for line in file:
                if text := line.strip():
                    yield line, text

    def _rows(self) -> Iterator[tuple[str, str | None]]:
        for row, (raw, line) in enumerate(self.lines(), 1):
            place = f"{self.path}, row {row}"
            check_text(line, place, self.encoding)
            if "\0" in line:
                raise DataError(
                    f"{place}: has a null byte; is this a file of text? If it is UTF-16: data.encoding=utf-16-le"
                )
            yield (line, None) if self.separator is None else self._with_label(raw.strip("\r\n"), place)

    def _with_label(self, line: str, place: str) -> tuple[str, str]:
        assert self.separator is not None
        if self.separator == "\t":
            label, found, text = line.partition("\t")
            if not found:
                raise DataError(f"{place}: no tab, but the lines before it are label<TAB>text; add its label")
            return text.strip(), label
        label, _, text = line.strip().partition(" ")
        if not label.startswith(FASTTEXT):
            raise DataError(
                f"{place}: doesn't begin with {FASTTEXT}, as the lines before it do; add its label"
            )
        if text.lstrip().startswith(FASTTEXT):
            raise DataError(f"{place}: has several labels, but a row needs exactly one; remove the others")
        return text.strip(), label.removeprefix(FASTTEXT)


def _separator(lines: list[str]) -> str | None:
    """Return what separates label and text: a tab, a space (after fastText's labels), or ``None`` if there are no labels."""
    if not lines:
        return None
    if all(line.startswith(FASTTEXT) for line in lines[:2]):
        return " "
    labels = [line.partition("\t")[0] for line in lines if "\t" in line]
    if len(labels) < _LEAST_SHARE * len(lines) or "\t" not in lines[0]:
        return None
    return "\t" if len(set(labels)) <= max(2, _MOST_DIFFERENT * len(lines)) else None
