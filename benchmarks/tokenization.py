"""Tokenization of short texts: our speed beside the bare tokenizer's, and how memory grows with the rows.

    python -m benchmarks.tokenization [--rows 100000] [--repeats 3]
    python -m benchmarks.tokenization --rows 1000000 --repeats 1

Texts are the Rotten Tomatoes snippets over and over, each with a number of its own, so that no cache helps.
``peak_megabytes`` counts pages of memory-mapped files as far as they were read, which the system can drop;
``mapped_megabytes`` is the size of those files, and what is left without them should not grow with the rows.
The json file has the default's figures at its top, those of another ``--rows`` under its number.
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

DEFAULT_ROWS = 100_000
RESULT = Path(__file__).with_suffix(".json")
BARE_BATCH = 1_000  # the bare tokenizer's best of 100, 1,000 and 10,000


def texts(rows: int, offset: int) -> list[str]:
    snippets = [text for text, _ in rotten_tomatoes()]
    return [f"{snippets[index % len(snippets)]} {index + offset}" for index in range(rows)]


def memory(rows: int) -> tuple[float, float]:
    """While a process of its own reads and tokenizes a csv file: its peak, and the files that it maps, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text",), *([text] for text in texts(rows, 0))])
        code = (
            "from bert_ft.data.sources import read_rows\n"
            "from bert_ft.data.tokenization import load_tokenizer, tokenize\n"
            "from bert_ft.models.encoder_name import resolve_name\n"
            "from benchmarks.memory import peak_megabytes\n"
            "tokenizer = load_tokenizer(resolve_name('embedded/all-MiniLM-L6-v2'))\n"
            f"tokenize(read_rows({str(path)!r}, 'text', cache_dir={folder!r}), tokenizer, 128, {folder!r})\n"
            "print(peak_megabytes())\n"
        )
        result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        mapped = sum(file.stat().st_size for file in Path(folder).glob("*.arrow"))
        return float(result.stdout.split()[-1]), mapped / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--memory-rows",
        type=int,
        nargs="+",
        default=[DEFAULT_ROWS, 10 * DEFAULT_ROWS],
        help="for peak_megabytes",
    )
    options = parser.parse_args()

    from datasets import Dataset, disable_progress_bars

    from bert_ft.data.tokenization import load_tokenizer, tokenize
    from bert_ft.models.encoder_name import resolve_name

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
    memories = {str(rows): memory(rows) for rows in options.memory_rows}
    result = {
        "rows": options.rows,
        "bare_rows_per_second": options.rows / median(bare_seconds),
        "our_rows_per_second": options.rows / median(our_seconds),
        "ratio": median(bare_seconds) / median(our_seconds),
        "peak_megabytes": {rows: round(peak) for rows, (peak, _) in memories.items()},
        "mapped_megabytes": {rows: round(mapped) for rows, (_, mapped) in memories.items()},
        "beyond_mapped_megabytes": {rows: round(peak - mapped) for rows, (peak, mapped) in memories.items()},
    }
    print(json.dumps(result, indent=2))
    measured = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    measured |= result if options.rows == DEFAULT_ROWS else {str(options.rows): result}
    RESULT.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
