"""Several labels in one cell: a list, a list written as text, or names with a delimiter between them."""

from __future__ import annotations

import ast
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from reprlib import repr as short  # cuts long values short
from typing import TYPE_CHECKING, Any, ClassVar

from bert_ft.data.targets import LabelReader, LabelTexts, is_missing, label_text
from bert_ft.errors import DataError
from bert_ft.tasks.flags import Flags
from bert_ft.tasks.label_looks import listed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DELIMITERS = (";", "|", ",", "/", "\t", "\n")  # tried in this order
_ADVICE = 'write a JSON list, ["a", "b"], or the names with a delimiter between them'


class LabelSets(LabelTexts):
    """Reads the labels of a row; stored are a list as JSON, and a text as it is. An empty text is a row without labels."""

    cell: ClassVar[LabelReader] = Flags()

    def read(self, value: Any, place: str, class_names: Sequence[str] | None = None) -> str:
        """See ``LabelReader.read``."""
        if isinstance(value, str):
            return _of_text(value.strip(), place)
        if isinstance(value, list | tuple):
            return _as_json([super(LabelSets, self).read(each, place, class_names) for each in value])
        if is_missing(value):
            raise DataError(
                f"{place}: the labels are missing; write an empty list or text for a row without any"
            )
        return super().read(value, place, class_names)


def _of_text(text: str, place: str) -> str:
    if text[:1] == "{" and text[-1:] == "}":
        raise DataError(f"{place}: {short(text)} is no list of labels; {_ADVICE}")
    if text[:1] != "[" or text[-1:] != "]":
        return text
    with suppress(ValueError):
        return _as_json([label_text(each, place) for each in json.loads(text)])
    # as a data frame writes a list; adjacent texts, as numpy prints them, would be joined to one, so compare
    with suppress(ValueError, SyntaxError):
        found = ast.literal_eval(text)
        if repr(found) == text:
            return _as_json([label_text(each, place) for each in found])
    raise DataError(f"{place}: {short(text)} is no list of labels; {_ADVICE}")


def _as_json(names: list[str]) -> str:
    return json.dumps(names, ensure_ascii=False)


@dataclass(frozen=True)
class Split:
    """The labels of a stored cell.

    Attributes:
        names: the labels, each once.
        num_spaced: labels with white space at their ends, which was dropped.
        num_empty: empty pieces, which were dropped.
        repeated: labels that the row has several times.
    """

    names: tuple[str, ...]
    num_spaced: int = 0
    num_empty: int = 0
    repeated: tuple[str, ...] = ()


def split_labels(stored: str, delimiter: str | None) -> Split:
    """Return the labels of a cell that ``LabelSets`` read; without a delimiter a text is one label."""
    if stored[:1] == "[" and stored[-1:] == "]":
        pieces = json.loads(stored)
    elif stored and delimiter is not None:
        pieces = stored.split(delimiter)
    else:
        pieces = [stored] if stored else []
    counts = Counter(stripped for piece in pieces if (stripped := piece.strip()))
    return Split(
        names=tuple(counts),
        num_spaced=sum(piece != piece.strip() and bool(piece.strip()) for piece in pieces),
        num_empty=sum(not piece.strip() for piece in pieces),
        repeated=tuple(name for name, count in counts.items() if count > 1),
    )


def find_delimiter(cells: Iterable[str]) -> str | None:
    """Return what is between the names: the first of ``DELIMITERS`` that divides cells into names which other cells have too.

    ``None`` if there is none: then each cell is one label.
    """
    texts = {cell for cell in cells if cell[:1] != "["}
    for delimiter in DELIMITERS:
        if not any(delimiter in text for text in texts):
            continue
        found: dict[str, set[Collection[str]]] = defaultdict(set)
        for text in texts:
            names = split_labels(text, delimiter).names
            for name in names:
                found[name].add(frozenset(names))
        if any(len(sets) > 1 for sets in found.values()):
            return delimiter
    return None


def split_column(labels: pa.ChunkedArray, delimiter: str | None) -> tuple[list[Split], np.ndarray]:
    """Return the different cells, split, and which of them each row has, ``(num_rows,)``."""
    import numpy as np

    coded = labels.combine_chunks().dictionary_encode()
    cells = [split_labels(cell, delimiter) for cell in coded.dictionary.to_pylist()]
    return cells, np.asarray(coded.indices, dtype=np.int64)


def encode_sets(
    labels: pa.ChunkedArray,
    names: Sequence[str],
    delimiter: str | None,
    *,
    origin: str = "",
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Return ``(num_rows, num_labels)`` bool, whether a row has the label ``names[i]``; see ``Task.encode``.

    Raises:
        DataError: a label isn't among ``names``.
    """
    import numpy as np

    cells, of_row = split_column(labels, delimiter)
    index = {name: position for position, name in enumerate(names)}
    found = np.zeros((len(cells), len(names)), dtype=bool)
    for number, cell in enumerate(cells):
        for name in cell.names:
            if name not in index:
                row = int(np.flatnonzero(of_row == number)[0])
                place = row + 1 if rows is None else int(rows[row])
                raise DataError(
                    f"{origin}, row {place}: label {name!r} doesn't occur in the training rows; known are {listed(names)}"
                )
            found[number, index[name]] = True
    return found[of_row]


def reading_notes(labels: pa.ChunkedArray, delimiter: str | None, origin: str) -> Iterator[str]:
    """Yield between which characters labels were split, what was dropped, and which rows have a label twice."""
    import numpy as np

    cells, of_row = split_column(labels, delimiter)
    counts = np.bincount(of_row, minlength=len(cells)).tolist()
    if any(not cell.startswith("[") for cell in labels.unique().to_pylist() if cell):
        how = "taken whole" if delimiter is None else f"split at {delimiter!r}"
        yield f"{origin}: labels are {how} (task.delimiter)"
    dropped = {
        "spaces around labels": [cell.num_spaced for cell in cells],
        "empty pieces": [cell.num_empty for cell in cells],
    }
    for what, of_cell in dropped.items():
        if num_rows := sum(count for count, number in zip(counts, of_cell, strict=True) if number):
            yield f"{origin}: {what} were dropped in {num_rows:,} rows"
    if twice := [number for number, cell in enumerate(cells) if cell.repeated]:
        found = np.flatnonzero(np.isin(of_row, twice)) + 1
        yield (
            f"{origin}: {len(found):,} rows have a label twice, which counts once (the first is row {found[0]}: "
            f"{cells[of_row[found[0] - 1]].repeated[0]!r})"
        )
