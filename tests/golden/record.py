"""The golden record: what short runs on real text gave at commit b24be9c, to the last bit.

    python -m tests.golden.record --compare tests/golden/record.json [case ...]   # does a checkout still give it?
    python -m tests.golden.record tests/golden/record.json                        # make it

The cases run by the command line alone, so that this folder works at any commit: the package is the one that
``PYTHONPATH`` names (``PYTHONPATH=<checkout>``), else the installed one; its place is printed. Each case is a few
processes of one thread. Equal to the last bit are only runs on the same kind of processor with the same versions
(``fingerprint.py``): on another, numbers are compared within a tolerance, which is said.

``record.json`` was made at b24be9c, twice with equal results. A change that is meant to change numbers makes it again,
and says so.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.golden.cases import CASES
from tests.golden.commands import surroundings
from tests.golden.comparison import differences
from tests.golden.runs import run_case

RECORD = Path(__file__).with_name("record.json")
SHOWN = 5  # differences of a case


def read_record(path: Path = RECORD) -> dict[str, Any]:
    """Return the stored record: ``fingerprint`` and ``cases``."""
    return json.loads(path.read_text(encoding="utf-8"))


def check(
    name: str, results: dict[str, Any], record: dict[str, Any], fingerprint: dict[str, Any]
) -> tuple[str, list[str]]:
    """Compare the results of a case with the record.

    Returns:
        What was checked, and the differences.
    """
    exact = fingerprint == record["fingerprint"]
    tolerance = None if exact else CASES[name].tolerance
    checked = "to the last bit" if exact else f"with losses within {CASES[name].tolerance:g}"
    return checked, list(differences(record["cases"][name], _plain(results), tolerance))


def _plain(results: dict[str, Any]) -> dict[str, Any]:
    """Return results as a JSON file gives them back."""
    return json.loads(json.dumps(results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Record or compare; the exit code is 1 where something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.record",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the record, a JSON file")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; none: all")
    parser.add_argument("--compare", action="store_true", help="compare with the file instead of writing it")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    given = parser.parse_args(arguments)
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose of {', '.join(CASES)}")
    names = given.cases or list(CASES)
    with TemporaryDirectory(prefix="golden_") as temporary, ThreadPoolExecutor(given.jobs) as pool:
        folder = Path(temporary)
        here = surroundings(folder)
        print(f"package: {here['package']}", flush=True)
        if given.compare:
            record = read_record(given.file)
            return _compare(record, here["fingerprint"], _started(names, folder, pool))
        record = {"fingerprint": here["fingerprint"], "cases": {}}
        if given.cases and given.file.exists():  # the others stay
            record = read_record(given.file)
            if record["fingerprint"] != here["fingerprint"]:
                parser.error(f"{given.file} is of another machine or other versions; record all cases")
        for name, running in _started(names, folder, pool).items():
            record["cases"][name] = running.result()
            print(f"{name}: recorded", flush=True)
    given.file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _started(
    names: Sequence[str], folder: Path, pool: ThreadPoolExecutor
) -> dict[str, Future[dict[str, Any]]]:
    for name in names:
        (folder / name).mkdir()
    return {name: pool.submit(run_case, name, folder / name) for name in names}


def _compare(
    record: dict[str, Any], fingerprint: dict[str, Any], cases: dict[str, Future[dict[str, Any]]]
) -> int:
    for reason in differences(record["fingerprint"], fingerprint, None):
        print(f"another machine or other versions: {reason}")
    num_failed = 0
    for name, running in cases.items():
        try:
            checked, found = check(name, running.result(), record, fingerprint)
        except Exception as error:  # the other cases are compared all the same
            checked, found = "not at all", [f"{type(error).__name__}: {error}"]
        num_failed += bool(found)
        print(f"{name}: {f'DIFFERS in {len(found)} values; compared' if found else 'equal'} {checked}")
        print(*(f"  {reason}" for reason in found[:SHOWN]), sep="\n", end="\n" if found else "", flush=True)
    return int(num_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
