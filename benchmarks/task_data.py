"""Data sets whose labels are sets, scores, grades and votes, made of real texts and cut small, for ``benchmarks.tasks``.

The texts are VADER's (Hutto and Gilbert 2014): snippets of movie reviews, tweets, product reviews and editorials, each rated from
-4 to 4 by about 20 people; and Debian's fortunes.

    movies_score, tweets_score    the mean rating of a text
    movies_grade, amazon_grade    the mean rating in five grades from -2 to 2, cut at -1.5, -0.5, 0.5 and 1.5
    amazon_opinions               any of negative, neutral, positive and strong: at least 30% of the ratings are below, at or above
                                  zero, or at least 3 from zero
    fortunes_topics               the names of the ``TOPICS`` files that have the text, ``question`` if it has a question mark, and
                                  ``quotation`` if a line begins with two dashes, as the name of an author does
    tweets_votes, editorial_votes the number of ratings below, at and above zero

Only short texts, of 3 to 12 words (fortunes: 15), so that a run takes about a minute on a CPU. For each seed a set is cut anew, at
random; a text is in it once.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.corpora import cache_folder, fortunes, ratings

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 300, 150, 800
MAX_LENGTH = 64  # tokens
TOPICS = ("computers", "food", "men-women", "politics", "science", "songs-poems", "startrek", "work")
OPINIONS = ("negative", "neutral", "positive", "strong")
VOTES = ("negative", "neutral", "positive")
CUTS = (-1.5, -0.5, 0.5, 1.5)
LEAST_SHARE = 0.3

Table = list[tuple[str, tuple[float, ...]]]  # a text, and what its label columns have


def _scores(name: str) -> Table:
    return [(text, (round(mean(values), 4),)) for text, values in ratings(name)]


def _grades(name: str) -> Table:
    return [(text, (int(np.digitize(mean(values), CUTS)) - 2,)) for text, values in ratings(name)]


def _votes(name: str) -> Table:
    return [(text, tuple(_signs(values))) for text, values in ratings(name)]


def _opinions(name: str) -> Table:
    rows: Table = []
    for text, values in ratings(name):
        counts = [*_signs(values), sum(abs(value) >= 3 for value in values)]
        rows.append((text, tuple(int(count >= LEAST_SHARE * len(values)) for count in counts)))
    return rows


def _signs(values: list[int]) -> list[int]:
    signs = np.sign(values).tolist()
    return [signs.count(sign) for sign in (-1, 0, 1)]


def _fortunes_topics() -> Table:
    files: dict[str, set[str]] = {}
    for text, name in fortunes():
        if name in TOPICS:
            files.setdefault(text, set()).add(name)
    return [
        (
            " ".join(text.split()),
            (
                *(int(topic in names) for topic in TOPICS),
                int("?" in text),
                int(any(line.strip().startswith("--") for line in text.splitlines())),
            ),
        )
        for text, names in files.items()
    ]


# name → label columns, rows
DATASETS: dict[str, tuple[tuple[str, ...], Callable[[], Table]]] = {
    "amazon_opinions": (OPINIONS, lambda: _opinions("amazonReviewSnippets")),
    "fortunes_topics": ((*TOPICS, "question", "quotation"), _fortunes_topics),
    "movies_score": (("label",), lambda: _scores("movieReviewSnippets")),
    "tweets_score": (("label",), lambda: _scores("tweets")),
    "movies_grade": (("label",), lambda: _grades("movieReviewSnippets")),
    "amazon_grade": (("label",), lambda: _grades("amazonReviewSnippets")),
    "tweets_votes": (VOTES, lambda: _votes("tweets")),
    "editorial_votes": (VOTES, lambda: _votes("nytEditorialSnippets")),
}


def folder_of(dataset: str, seed: int) -> Path:
    """``train.csv``, ``validation.csv`` and ``test.csv``, made at the first call; ``majority.csv`` of a set with votes.

    The latter has the training rows with all votes for the class that has most; rows without such a class are left out.
    """
    folder = cache_folder() / "tasks" / f"{dataset}_{seed}"
    if (folder / "test.csv").exists():
        return folder
    columns, rows_of = DATASETS[dataset]
    most = 15 if dataset.startswith("fortunes") else 12
    rows = [row for row in rows_of() if 3 <= len(row[0].split()) <= most]
    order = np.random.default_rng(seed).permutation(len(rows))
    cuts = np.cumsum([TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS])
    folder.mkdir(parents=True, exist_ok=True)
    train, validation, test = ([rows[index] for index in part] for part in np.split(order, cuts)[:3])
    _write(folder / "train.csv", columns, train)
    if columns == VOTES:
        clear = [(text, votes) for text, votes in train if votes.count(max(votes)) == 1]
        _write(
            folder / "majority.csv",
            columns,
            [(text, tuple(sum(votes) * (vote == max(votes)) for vote in votes)) for text, votes in clear],
        )
    _write(folder / "validation.csv", columns, validation)
    _write(folder / "test.csv", columns, test)  # last: its presence says that all are there
    return folder


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """Texts and labels, ``(rows, columns)``."""
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return [text for text, *_ in rows], np.array([values for _, *values in rows], dtype=np.float64)


def _write(path: Path, columns: tuple[str, ...], rows: Table) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", *columns))
        writer.writerows((text, *values) for text, values in rows)
