"""How cost grows with length, batch, depth, width, rows and processes; pictures and a page of it.

    python -m benchmarks.scale [--groups length batch ...]     measure, then draw (about 20 minutes)
    python -m benchmarks.scale --draw                          draw what was measured

Measured points go to ``scale.json``, pictures to ``pictures/``, the page to ``scale.md``. Every point is a process
of its own with a few steps, once each, ours and the Hugging Face Trainer in turn: read the curves, not single points.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.scale_points import HF_DATA, KINDS, LAYERS_WIDTH, WIDTHS_LAYERS, Point
from benchmarks.trainers import DYNAMIC, OURS
from benchmarks.workloads import MINILM, Workload

RESULT = Path(__file__).with_suffix(".json")
SIDES = (OURS, DYNAMIC)
LENGTHS = (16, 32, 64, 128, 256, 512)
TOKENS_IN_BATCH = 2048
ROWS_IN_BATCH = 16  # where memory is drawn against length
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
LAYERS = (2, 4, 6, 12)
WIDTHS = (128, 256, 384, 768)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
HF_MOST_ROWS = 100_000  # datasets.map takes minutes beyond
PROCESS_ROUNDS = 3
EQUAL_STEPS = 5


def measured(point: Point) -> Point:
    """``point`` with what its process measured."""
    (figures,) = in_own_processes(point, 1, None)
    return shown({**point, **figures})


def in_own_processes(point: Point, count: int, threads: int | None) -> list[dict[str, Any]]:
    """What each of ``count`` processes printed; several are Lightning's replicas over gloo on the loopback."""
    command = [sys.executable, "-m", "benchmarks.scale", "--point", json.dumps(point)]
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if count > 1:
        # with LOCAL_RANK set Lightning starts no processes of its own
        environment |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "GLOO_SOCKET_IFNAME": "lo",
            "WORLD_SIZE": str(count),
            "NODE_RANK": "0",
        }
    with ExitStack() as files:
        processes = []
        for rank in range(count):
            # into a file: a replica whose pipe is full would keep the other waiting
            output = files.enter_context(tempfile.TemporaryFile("w+"))
            ranked = {**environment, "LOCAL_RANK": str(rank)} if count > 1 else environment
            processes.append((subprocess.Popen(command, env=ranked, stdout=output), output))
        codes = [process.wait() for process, _ in processes]
        if any(codes):
            raise SystemExit(f"{point}: ended with {codes}")
        figures = []
        for _, output in processes:
            output.seek(0)
            figures.append(json.loads(output.read().splitlines()[-1]))
    return figures


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shown(point: Point) -> Point:
    print(json.dumps(point), flush=True)
    return point


def training(
    side: str, *, corpus: str, max_length: int, batch_size: int, steps: int, encoder: str = MINILM
) -> Point:
    """A training point; the corpus and the encoder are made here, so that no process finds them missing."""
    workload = Workload(corpus, encoder, max_length, batch_size, steps)
    workload.files()
    workload.encoder_folder()
    return {
        "kind": "training",
        "side": side,
        "corpus": corpus,
        "encoder": encoder,
        "max_length": max_length,
        "batch_size": batch_size,
        "steps": steps,
    }


def by_length(tiny: bool) -> list[Point]:
    """Rows of one length, ``TOKENS_IN_BATCH`` tokens in each batch."""
    return [
        measured(
            training(
                side,
                corpus="bbc_pieces",
                max_length=length,
                batch_size=TOKENS_IN_BATCH // length,
                steps=1 if tiny else 8,
            )
        )
        for length in (LENGTHS[-2:] if tiny else LENGTHS)
        for side in SIDES
    ]


def by_length_at_fixed_rows(tiny: bool) -> list[Point]:
    """Rows of one length, ``ROWS_IN_BATCH`` rows in each batch; for memory, so hardly any steps."""
    return [
        measured(training(side, corpus="bbc_pieces", max_length=length, batch_size=ROWS_IN_BATCH, steps=1))
        for length in (LENGTHS[:2] if tiny else LENGTHS)
        for side in SIDES
    ]


def by_batch_size(tiny: bool) -> list[Point]:
    """Rotten Tomatoes' own lengths."""
    return [
        measured(
            training(
                side,
                corpus="rotten_tomatoes",
                max_length=128,
                batch_size=size,
                steps=1 if tiny else min(100, max(8, 1024 // size)),
            )
        )
        for size in (BATCH_SIZES[:3] if tiny else BATCH_SIZES)
        for side in SIDES
    ]


def by_shape(tiny: bool) -> list[Point]:
    """Random weights: ``LAYERS`` at one width, ``WIDTHS`` at one depth, each shape once."""
    shapes = [(layers, LAYERS_WIDTH) for layers in LAYERS] + [(WIDTHS_LAYERS, width) for width in WIDTHS]
    shapes = shapes[:2] + shapes[4:6] if tiny else shapes
    return [
        {
            "layers": layers,
            "width": width,
            **measured(
                training(
                    side,
                    corpus="rotten_tomatoes",
                    encoder=f"bert-{layers}x{width}",
                    max_length=128,
                    batch_size=4 if tiny else 32,
                    steps=1 if tiny else 8,
                )
            ),
        }
        for layers, width in dict.fromkeys(shapes)
        for side in SIDES
    ]


def by_rows(tiny: bool) -> list[Point]:
    """From a csv file to token ids: first without, then with what the first left in the cache."""
    from benchmarks.tokenization import texts

    points = []
    for rows in ROWS[:2] if tiny else ROWS:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "texts.csv"
            with file.open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened).writerows([("text",), *([text] for text in texts(rows, 0))])
            for side in (OURS, HF_DATA) if rows <= HF_MOST_ROWS else (OURS,):
                cache = Path(folder) / side
                point = {"kind": "data", "side": side, "file": str(file), "cache": str(cache)}
                for state in ("cold", "warm"):
                    figures = in_own_processes(point, 1, None)[0]
                    mapped = sum(part.stat().st_size for part in cache.rglob("*.arrow")) / 2**20
                    points.append(
                        shown(
                            {
                                "side": side,
                                "rows": rows,
                                "cache": state,
                                **figures,
                                "mapped_megabytes": mapped,
                            }
                        )
                    )
    return points


def by_processes(tiny: bool) -> list[Point]:
    """Two processes of one thread beside one of two and one of one, equally many rows in a step of all together."""
    arrangements = [(1, 1), (1, 2), (2, 1)]
    rows_in_step = 4 if tiny else 32
    points = []
    for index in range(1 if tiny else PROCESS_ROUNDS):
        for processes, threads in arrangements if index % 2 == 0 else reversed(arrangements):
            point = training(
                OURS,
                corpus="rotten_tomatoes",
                max_length=128,
                batch_size=rows_in_step // processes,
                steps=1 if tiny else 20,
            )
            point |= {"processes": processes, "threads": threads}
            figures = in_own_processes(point, processes, threads)
            points.append(
                shown(
                    {
                        **point,
                        "round": index,
                        # each replica counts its own rows
                        "tokens_per_second": sum(each["tokens_per_second"] for each in figures),
                        "peak_megabytes": sum(each["peak_megabytes"] for each in figures),
                    }
                )
            )
    return points


def equality(tiny: bool) -> list[Point]:
    """Two processes on ``b`` rows each beside one on the same ``2b`` rows, dropout off.

    The rows are the same: of a shuffled order, rank ``r`` of 2 takes ``rows[r::2]`` and cuts it in batches of ``b``,
    so that the ranks' first batches together are the order's first ``2b`` rows, and so on
    (``bert_ft.data.batching.RandomBatches``).
    """
    import torch

    rows_in_step = 4 if tiny else 32
    losses, weights = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2):
            point = training(
                OURS,
                corpus="rotten_tomatoes",
                max_length=128,
                batch_size=rows_in_step // processes,
                steps=EQUAL_STEPS,
            )
            file = Path(folder) / f"{processes}.pt"
            point |= {"kind": "losses", "processes": processes, "weights": str(file)}
            ranks = [each["losses"] for each in in_own_processes(point, processes, 1)]
            losses[processes] = [sum(step) / processes for step in zip(*ranks, strict=True)]
            weights[processes] = torch.load(file, weights_only=True)
    return [
        shown(
            {
                "steps": len(losses[1]),
                "rows_in_step": rows_in_step,
                "losses": losses,
                "largest_difference_of_losses": max(
                    abs(one - two) for one, two in zip(losses[1], losses[2], strict=True)
                ),
                "largest_difference_of_weights": max(
                    float((one - weights[2][name]).abs().max()) for name, one in weights[1].items()
                ),
                "largest_move_of_weights": _largest_move(weights[1]),
            }
        )
    ]


def _largest_move(weights: dict[str, Any]) -> float:
    """How far training moved a weight of the encoder: what the differences are to be held against."""
    from safetensors.torch import load_file

    folder = Path(Workload("rotten_tomatoes", MINILM, 128, 32, 1).encoder_folder())
    before = load_file(folder / "model.safetensors")
    moves = []
    for name, value in weights.items():
        old = before.get(name, before.get(name.removeprefix("bert.")))
        if old is not None and old.shape == value.shape and old.is_floating_point():
            moves.append(float((value - old.float()).abs().max()))
    return max(moves)


GROUPS: dict[str, Callable[[bool], list[Point]]] = {
    "length": by_length,
    "length_at_fixed_rows": by_length_at_fixed_rows,
    "batch": by_batch_size,
    "shape": by_shape,
    "rows": by_rows,
    "processes": by_processes,
    "equality": equality,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--tiny", action="store_true", help="a few points of next to no work: does it run?")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured")
    parser.add_argument("--point", type=json.loads, help="measure this one in this process and stop")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.point:
        print(json.dumps(KINDS[options.point["kind"]](options.point)))
        return
    if not options.draw:
        from benchmarks.measure import record

        for group in options.groups:
            record(__file__, group, {"points": GROUPS[group](options.tiny)})

    from benchmarks.scale_page import draw

    draw(json.loads(RESULT.read_text()), Path(__file__).parent)


if __name__ == "__main__":
    main()
