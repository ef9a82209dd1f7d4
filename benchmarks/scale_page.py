"""Pictures and a page of what ``benchmarks.scale`` measured; every number in them is read from its points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_points import EQUALITY_EPS, HF_DATA, LAYERS_WIDTH, WIDTHS_LAYERS, Point
from benchmarks.trainers import DYNAMIC, OURS

STYLE = {
    OURS: {"color": "#1f5fa8", "marker": "o"},
    DYNAMIC: {"color": "#c8562b", "marker": "s"},
    HF_DATA: {"color": "#c8562b", "marker": "s"},
}


def draw(measured: dict[str, Any], folder: Path) -> None:
    """Write ``pictures/*.png`` and ``scale.md`` in ``folder``; a group that wasn't measured is left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.dpi": 96,
            "font.size": 10,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    groups = {name: group["points"] for name, group in measured.items()}
    sections = [write(groups, pictures) for needed, write in SECTIONS if needed <= set(groups)]
    (folder / "scale.md").write_text("\n\n".join([_head(measured), *sections]) + "\n", encoding="utf-8")


def _head(measured: dict[str, Any]) -> str:
    environment = next(iter(measured.values()))["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        "# How cost grows\n\n"
        "Written by `python -m benchmarks.scale`; the points stand in `scale.json`. Each is a process of its own "
        "with a few optimizer steps, measured once unless rounds are named: read the curves, not single points. "
        f"`{OURS}` trains `model=bert_linear` by the command line's configuration, `{DYNAMIC}` the same weights "
        "and rows with transformers' Trainer and its default order. Tokens are real ones, padding isn't counted. "
        "MB are 2²⁰ bytes of peak resident memory, Python and libraries included.\n\n"
        f"{environment['date']}, {environment['processor']}, {environment['cores']} cores, "
        f"{environment['threads']} threads; {versions}."
    )


def _length(groups: dict[str, list[Point]], pictures: Path) -> str:
    points = groups["length"]
    axis = _Picture("Training time per token against text length")
    for side in (OURS, DYNAMIC):
        axis.line(side, *_microseconds(points, side, "max_length"))
    axis.logarithmic_x("text length, tokens")
    axis.y("µs per token")
    axis.save(pictures / "length.png")
    lengths, ours = _microseconds(points, OURS, "max_length")
    _, theirs = _microseconds(points, DYNAMIC, "max_length")
    tokens = points[0]["max_length"] * points[0]["batch_size"]
    return (
        "## Text length\n\n![training time per token against text length](pictures/length.png)\n\n"
        f"Every row has exactly this length (pieces of BBC articles), every batch {tokens:,} tokens, so that nothing "
        f"is padded on either side. From {lengths[0]} to {lengths[-1]} tokens the time per token goes from "
        f"{ours[0]:.0f} to {ours[-1]:.0f} µs ({ours[-1] / ours[0]:.2f} times) for `{OURS}`, from {theirs[0]:.0f} to "
        f"{theirs[-1]:.0f} µs ({theirs[-1] / theirs[0]:.2f} times) for `{DYNAMIC}`: of the work on equally many tokens only attention's grows with the length. "
        f"The Trainer takes {_range(np.divide(theirs, ours))} times our time."
    )


def _batch(groups: dict[str, list[Point]], pictures: Path) -> str:
    points = groups["batch"]
    axis = _Picture("Training time per token against batch size")
    for side in (OURS, DYNAMIC):
        axis.line(side, *_microseconds(points, side, "batch_size"))
    axis.logarithmic_x("batch size, sequences")
    axis.y("µs per token", log=True)
    axis.save(pictures / "batch.png")
    sizes, ours = _microseconds(points, OURS, "batch_size")
    _, theirs = _microseconds(points, DYNAMIC, "batch_size")
    ratio = np.divide(theirs, ours)
    return (
        "## Batch size\n\n![training time per token against batch size](pictures/batch.png)\n\n"
        "Rotten Tomatoes with its own lengths. What a step costs besides its tokens (the optimizer goes through all "
        f"weights) is spread over more of them: for `{OURS}` from {ours[0]:,.0f} µs a token at {sizes[0]} to "
        f"{ours[-1]:,.0f} at {sizes[-1]}; within a tenth of the best from {_first_near_best(sizes, ours)} on. "
        f"`{DYNAMIC}` goes from {theirs[0]:,.0f} to {theirs[-1]:,.0f} and is at its best at "
        f"{sizes[int(np.argmin(theirs))]}; it pads the rows of a batch to its longest. "
        f"It takes {ratio[0]:.2f} times our time at {sizes[0]}, {ratio[-1]:.2f} at {sizes[-1]}."
    )


def _memory(groups: dict[str, list[Point]], pictures: Path) -> str:
    import matplotlib.pyplot as plt

    by_length, by_batch = groups["length_at_fixed_rows"], groups["batch"]
    rows = by_length[0]["batch_size"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    left = _Picture(f"Peak memory against text length ({rows} rows)", axes[0])
    right = _Picture("Peak memory against batch size", axes[1])
    for side in (OURS, DYNAMIC):
        left.line(side, *_series(by_length, side, "max_length", "peak_megabytes"))
        right.line(side, *_series(by_batch, side, "batch_size", "peak_megabytes"))
    left.logarithmic_x("text length, tokens")
    right.logarithmic_x("batch size, sequences")
    for picture in (left, right):
        picture.y("MB")
    _save(figure, pictures / "memory.png")
    lengths, ours = _series(by_length, OURS, "max_length", "peak_megabytes")
    _, theirs = _series(by_length, DYNAMIC, "max_length", "peak_megabytes")
    sizes, ours_batch = _series(by_batch, OURS, "batch_size", "peak_megabytes")
    _, theirs_batch = _series(by_batch, DYNAMIC, "batch_size", "peak_megabytes")
    per_thousand = 1000 * (ours[-1] - ours[0]) / (rows * (lengths[-1] - lengths[0]))
    theirs_per_thousand = 1000 * (theirs[-1] - theirs[0]) / (rows * (lengths[-1] - lengths[0]))
    return (
        "## Memory\n\n![peak memory against text length and against batch size](pictures/memory.png)\n\n"
        f"Left, {rows} rows of one length in a batch: from {lengths[0]} to {lengths[-1]} tokens the peak goes from "
        f"{ours[0]:,.0f} to {ours[-1]:,.0f} MB for `{OURS}` ({per_thousand:,.0f} MB for 1,000 tokens more in a batch) "
        f"and from {theirs[0]:,.0f} to {theirs[-1]:,.0f} for `{DYNAMIC}` ({theirs_per_thousand:,.0f} MB). Right, Rotten "
        f"Tomatoes: from {sizes[0]} to {sizes[-1]} rows {ours_batch[0]:,.0f} to {ours_batch[-1]:,.0f} MB beside "
        f"{theirs_batch[0]:,.0f} to {theirs_batch[-1]:,.0f}."
    )


def _shape(groups: dict[str, list[Point]], pictures: Path) -> str:
    import matplotlib.pyplot as plt

    points = groups["shape"]
    deep = [point for point in points if point["width"] == LAYERS_WIDTH]
    wide = [point for point in points if point["layers"] == WIDTHS_LAYERS]
    figure, axes = plt.subplots(2, 2, figsize=(8, 5.6), layout="constrained")
    for column, (name, label, chosen) in enumerate(
        [
            ("layers", f"layers, {LAYERS_WIDTH} wide", deep),
            ("width", f"width, {WIDTHS_LAYERS} layers", wide),
        ]
    ):
        time = _Picture(f"Training time per token against {name}", axes[0][column])
        memory = _Picture(f"Peak memory against {name}", axes[1][column])
        for side in (OURS, DYNAMIC):
            time.line(side, *_microseconds(chosen, side, name))
            memory.line(side, *_series(chosen, side, name, "peak_megabytes"))
        for picture in (time, memory):
            picture.x(label)
        time.y("µs per token")
        memory.y("MB")
    _save(figure, pictures / "shape.png")
    layers, depth_time = _microseconds(deep, OURS, "layers")
    _, depth_memory = _series(deep, OURS, "layers", "peak_megabytes")
    widths, width_time = _microseconds(wide, OURS, "width")
    _, width_memory = _series(wide, OURS, "width", "peak_megabytes")
    depth_ratio = np.divide(_microseconds(deep, DYNAMIC, "layers")[1], depth_time)
    width_ratio = np.divide(_microseconds(wide, DYNAMIC, "width")[1], width_time)
    slope = (depth_time[-1] - depth_time[0]) / (layers[-1] - layers[0])
    exponent = np.log(width_time[-1] / width_time[0]) / np.log(widths[-1] / widths[0])
    return (
        "## Depth and width\n\n![time per token and peak memory against layers and width](pictures/shape.png)\n\n"
        f"Random weights, Rotten Tomatoes, batch {points[0]['batch_size']}. A layer more of width {LAYERS_WIDTH} costs "
        f"`{OURS}` {slope:.0f} µs a token and {(depth_memory[-1] - depth_memory[0]) / (layers[-1] - layers[0]):.0f} MB. "
        f"From width {widths[0]} to {widths[-1]} the time grows {width_time[-1] / width_time[0]:.1f} times, as the "
        f"{exponent:.2f}th power of the width (the matrices alone grow as the 2nd), memory from "
        f"{width_memory[0]:,.0f} to {width_memory[-1]:,.0f} MB. `{DYNAMIC}` takes {_range(depth_ratio)} times our time "
        f"over the depths, {_range(width_ratio)} over the widths."
    )


def _rows(groups: dict[str, list[Point]], pictures: Path) -> str:
    import matplotlib.pyplot as plt

    cold, warm = (
        [point for point in groups["rows"] if point["cache"] == state] for state in ("cold", "warm")
    )
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    seconds = _Picture("Reading and tokenizing against rows", axes[0])
    memory = _Picture("Peak memory of reading and tokenizing", axes[1])
    for side in (OURS, HF_DATA):
        seconds.line(side, *_series(cold, side, "rows", "seconds"))
        seconds.line(side, *_series(warm, side, "rows", "seconds"), state="warm cache", dashed=True)
        memory.line(side, *_series(cold, side, "rows", "peak_megabytes"))
    memory.line(
        OURS, *_series(cold, OURS, "rows", "mapped_megabytes"), state="size of mapped files", dashed=True
    )
    for picture in (seconds, memory):
        picture.logarithmic_x("rows", powers_of_ten=True)
    seconds.y("s", log=True)
    memory.y("MB")
    _save(figure, pictures / "rows.png")
    rows, ours = _series(cold, OURS, "rows", "seconds")
    _, ours_warm = _series(warm, OURS, "rows", "seconds")
    _, peak = _series(cold, OURS, "rows", "peak_megabytes")
    mapped = _series(cold, OURS, "rows", "mapped_megabytes")[1]
    their_rows, theirs = _series(cold, HF_DATA, "rows", "seconds")
    at_most = rows.index(their_rows[-1])
    return (
        "## Rows\n\n![seconds and peak memory of reading and tokenizing against rows](pictures/rows.png)\n\n"
        f"A csv file of short texts to memory-mapped token ids, imports not counted. {rows[-1]:,} rows take "
        f"{ours[-1]:.1f} s ({rows[-1] / ours[-1]:,.0f} rows/s), {ours_warm[-1]:.1f} s once they are in the cache (the "
        "file is still read and checked, and its content compared). "
        f"`load_dataset` and `{HF_DATA}` take {theirs[-1] / ours[at_most]:.1f} times our time at {their_rows[-1]:,}. "
        f"From {rows[0]:,} to {rows[-1]:,} rows the peak grows by {peak[-1] - peak[0]:,.0f} MB, while the files that "
        f"are memory-mapped, and that the system can drop from memory, grow by {mapped[-1] - mapped[0]:,.0f} MB."
    )


def _processes(groups: dict[str, list[Point]], pictures: Path) -> str:
    points, equal = groups["processes"], groups["equality"][0]
    arrangements = sorted({(point["processes"], point["threads"]) for point in points})
    speed = {
        each: float(
            np.median(
                [
                    point["tokens_per_second"]
                    for point in points
                    if (point["processes"], point["threads"]) == each
                ]
            )
        )
        for each in arrangements
    }
    axis = _Picture("Training speed of one and two processes (DDP, gloo)")
    axis.bars([_arrangement(*each) for each in arrangements], list(speed.values()))
    axis.y("tokens per second")
    axis.save(pictures / "processes.png")
    two, one, threads = speed[2, 1], speed[1, 1], speed[1, 2]
    rows = points[0]["batch_size"] * points[0]["processes"]
    rounds = len(points) // len(arrangements)
    return (
        "## Processes\n\n![training speed of one and two processes](pictures/processes.png)\n\n"
        f"Rotten Tomatoes, {rows} rows in a step of all processes together, MiniLM; medians of {rounds} "
        f"round{'s' * (rounds > 1)} in turn. Two processes of one thread are {two / one:.2f} times as fast as one "
        f"process of one thread, and {two / threads:.2f} times as fast as one of two threads, which is "
        f"{threads / one:.2f} times as fast as one of one. The {equal['rows_in_step']} rows of each step are the same "
        f"ones either way: without dropout, {equal['steps']} steps of two processes give the losses of one "
        f"process to {equal['largest_difference_of_losses']:.1e} and its weights to "
        f"{equal['largest_difference_of_weights']:.1e}, where training moved them by up to "
        f"{equal['largest_move_of_weights']:.1e}. (Adam with eps = {EQUALITY_EPS:g}: gradients that are nought but for rounding, "
        "as the key biases' are, would otherwise be scaled up to whole steps.)"
    )


SECTIONS = [
    ({"length"}, _length),
    ({"batch"}, _batch),
    ({"length_at_fixed_rows", "batch"}, _memory),
    ({"shape"}, _shape),
    ({"rows"}, _rows),
    ({"processes", "equality"}, _processes),
]


def _series(points: Sequence[Point], side: str, x: str, y: str) -> tuple[list[Any], list[float]]:
    """``x`` and ``y`` of one side's points, by rising ``x``."""
    found = sorted((point[x], point[y]) for point in points if point["side"] == side)
    return [each[0] for each in found], [each[1] for each in found]


def _microseconds(points: Sequence[Point], side: str, x: str) -> tuple[list[Any], list[float]]:
    values, speeds = _series(points, side, x, "tokens_per_second")
    return values, [1e6 / speed for speed in speeds]


def _range(ratios: np.ndarray) -> str:
    return f"{ratios.min():.2f} to {ratios.max():.2f}"


def _first_near_best(sizes: list[int], times: list[float]) -> int:
    return next(size for size, time in zip(sizes, times, strict=True) if time <= 1.1 * min(times))


def _arrangement(processes: int, threads: int) -> str:
    return f"{processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)}"


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    # without a date or version in it a picture of the same points is the same file
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


class _Picture:
    """One set of axes, in a figure of its own where none is given."""

    def __init__(self, title: str, axes: Any = None) -> None:
        import matplotlib.pyplot as plt

        self.figure = None
        if axes is None:
            self.figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
        self.axes = axes
        axes.set_title(title, fontsize=11, loc="left")
        self._ticks: set[Any] = set()

    def line(
        self, side: str, x: list[Any], y: list[float], state: str | None = None, dashed: bool = False
    ) -> None:
        label = side if state is None else f"{side}, {state}"
        self.axes.plot(x, y, label=label, markersize=4, linestyle="--" if dashed else "-", **STYLE[side])
        self._ticks.update(x)
        self.axes.legend(fontsize=9)

    def bars(self, names: list[str], values: list[float]) -> None:
        drawn = self.axes.bar(names, values, width=0.55, color=STYLE[OURS]["color"])
        self.axes.bar_label(drawn, fmt="{:,.0f}", padding=2)
        self.axes.margins(y=0.1)
        self.axes.tick_params(axis="x", labelsize=9)
        self.axes.grid(axis="x", visible=False)

    def x(self, label: str) -> None:
        self.axes.set_xlabel(label)
        self.axes.set_xticks(sorted(self._ticks))

    def logarithmic_x(self, label: str, powers_of_ten: bool = False) -> None:
        self.axes.set_xlabel(label)
        self.axes.set_xscale("log", base=10 if powers_of_ten else 2)
        if not powers_of_ten:
            self.axes.set_xticks(sorted(self._ticks), [str(tick) for tick in sorted(self._ticks)])

    def y(self, label: str, log: bool = False) -> None:
        from matplotlib.ticker import NullFormatter

        self.axes.set_ylabel(label)
        if log:
            self.axes.set_yscale("log")
            self.axes.yaxis.set_major_formatter("{x:,g}")
            self.axes.yaxis.set_minor_formatter(NullFormatter() if self._decades() > 1 else "{x:,g}")
        else:
            self.axes.set_ylim(bottom=0)

    def _decades(self) -> float:
        low, high = self.axes.get_ylim()
        return float(np.log10(high / low))

    def save(self, path: Path) -> None:
        _save(self.figure, path)
