"""Tokenization of short texts: our speed beside the bare tokenizer's, and how memory grows with the rows.

    python -m benchmarks.tokenization [--rows 100000] [--repeats 3]

Texts are the Rotten Tomatoes snippets over and over, each with a number of its own, so that no cache helps.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.corpora import rotten_tomatoes

RESULT = Path(__file__).with_suffix(".json")
BARE_BATCH = 1_000  # the bare tokenizer's best of 100, 1,000 and 10,000


def texts(rows: int, offset: int) -> list[str]:
    snippets = [text for text, _ in rotten_tomatoes()]
    return [f"{snippets[index % len(snippets)]} {index + offset}" for index in range(rows)]


def peak_megabytes(rows: int) -> float:
    """The most memory that a process of its own holds while it reads and tokenizes a csv file of ``rows``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text",), *([text] for text in texts(rows, 0))])
        code = (
            "import resource\n"
            "from bert_ft.data.sources import read_rows\n"
            "from bert_ft.data.tokenization import load_tokenizer, tokenize\n"
            "from bert_ft.models.encoder import resolve_name\n"
            "tokenizer = load_tokenizer(resolve_name('embedded/all-MiniLM-L6-v2'))\n"
            f"tokenize(read_rows({str(path)!r}, 'text', cache_dir={folder!r}), tokenizer, 128, {folder!r})\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
        )
        result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return float(result.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    from datasets import Dataset, disable_progress_bars

    from bert_ft.data.tokenization import load_tokenizer, tokenize
    from bert_ft.models.encoder import resolve_name

    disable_progress_bars()
    tokenizer = load_tokenizer(resolve_name("embedded/all-MiniLM-L6-v2"))
    bare = tokenizer.backend_tokenizer
    bare.enable_truncation(128)
    bare_seconds, our_seconds = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for repeat in range(options.repeats):
            batch = texts(options.rows, repeat * options.rows)
            path = folder / f"texts_{repeat}.parquet"
            Dataset.from_dict({"text": batch}).to_parquet(path)
            dataset = Dataset.from_parquet(str(path), cache_dir=str(folder / "datasets"))
            started = time.monotonic()
            for first in range(0, options.rows, BARE_BATCH):
                bare.encode_batch(batch[first : first + BARE_BATCH])
            bare_seconds.append(time.monotonic() - started)
            del batch
            started = time.monotonic()
            tokenize(dataset, tokenizer, 128, folder / "cache")
            our_seconds.append(time.monotonic() - started)
    result = {
        "rows": options.rows,
        "bare_rows_per_second": options.rows / median(bare_seconds),
        "our_rows_per_second": options.rows / median(our_seconds),
        "ratio": median(bare_seconds) / median(our_seconds),
        "peak_megabytes": {
            str(rows): round(peak_megabytes(rows)) for rows in (options.rows, 10 * options.rows)
        },
    }
    print(json.dumps(result, indent=2))
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
