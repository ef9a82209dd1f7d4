"""Pictures of what happened in each layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.heat_maps import HeatMap, draw_heat_maps
from bert_ft.reporting.layer_grid import LAYER, LayerGrid, finite_mean, layer_grid
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog

DRIFT = layout.tag(layout.WEIGHTS, f"({LAYER})", layout.AVERAGING_DRIFT)
# title → the part of a tag that names a layer's sub-block
BLOCKS = {
    "attention output": r"(layer\.\d+)\.attention",
    "feed-forward activation": r"(layer\.\d+)\.activation",
    "feed-forward output": r"(layer\.\d+)\.ffn",
    "hidden state": r"(layer\.\d+)\.hidden",
    "head": r"(head\.[^/]+)",
}


def activation_sd(log: RunLog) -> Figure:
    """The spread of what each sub-block gives."""
    return draw_heat_maps(_activations(log, "sd"), "standard deviation", is_log=True)


def activation_near_zero(log: RunLog) -> Figure:
    """The share of dead values."""
    return draw_heat_maps(_activations(log, "near_zero"), "share of values near zero")


def gradient_norm(log: RunLog) -> Figure:
    """The norm of each layer's gradients."""
    grid = _grid(
        log,
        layout.tag(layout.GRADIENTS, f"({LAYER})", layout.NORM),
        "the layers' gradient norms (monitor gradients)",
    )
    return _one_map(grid, "Gradient norm before clipping", "norm", is_log=True)


def update_ratio(log: RunLog) -> Figure:
    """How far a step moves each layer's weights."""
    grid = _grid(
        log,
        layout.tag(layout.WEIGHTS, f"({LAYER})", layout.UPDATE_RATIO),
        "the layers' update ratios (monitor weights)",
    )
    return _one_map(grid, "Update of one step / weights", "ratio of the norms", is_log=True)


def distance(log: RunLog) -> Figure:
    """How far each layer's weights have come."""
    what = "the layers' distances from the first weights (monitor.weights.distance=true)"
    grid = _grid(log, layout.tag(layout.WEIGHTS, f"({LAYER})", layout.DISTANCE), what)
    return _one_map(grid, "Distance from the first weights", "L2 norm", is_log=False)


def drift_plots(log: RunLog) -> list[PlotSpec]:
    """One, where weights were averaged."""
    if layer_grid(log.scalars, DRIFT) is None:
        return []
    reading = (
        "Small beside the distance from the first weights: the average follows closely, and brings little."
    )
    return [PlotSpec("averaging_drift", "Averaged weights beside those that train", reading, drift)]


def drift(log: RunLog) -> Figure:
    """How far the averaged weights are from those that train."""
    grid = _grid(log, DRIFT, "a distance of averaged weights")
    return _one_map(grid, "Distance of the average from the weights that train", "L2 norm", is_log=False)


def _activations(log: RunLog, statistic: str) -> list[HeatMap]:
    maps = []
    for title, block in BLOCKS.items():
        grid = layer_grid(log.scalars, layout.tag(layout.ACTIVATIONS, block, statistic))
        if grid is not None:
            maps.append(_map(grid, title) if title != "head" else replace(_map(grid, title), y="part"))
    if not maps:
        raise NotLogged(f"no activations/<block>/{statistic} was logged (monitor activations)")
    return maps


def _grid(log: RunLog, pattern: str, what: str) -> LayerGrid:
    grid = layer_grid(log.scalars, pattern)
    if grid is None:
        raise NotLogged(f"the run didn't log {what}")
    return grid


def _map(grid: LayerGrid, title: str) -> HeatMap:
    rows = [name.removeprefix("layer.").removeprefix("head.") for name in grid.names]
    return HeatMap(title, rows, grid.steps, grid.values)


def _one_map(grid: LayerGrid, title: str, colour: str, *, is_log: bool) -> Figure:
    return draw_heat_maps(
        [replace(_map(grid, title), title=f"{title}: {_extremes(grid)}")], colour, is_log=is_log
    )


def _extremes(grid: LayerGrid) -> str:
    """Which layers have the smallest and the largest mean over the steps."""
    means = finite_mean(grid.values, axis=1)
    if not np.isfinite(means).any():
        return "no finite value"
    low, high = int(np.nanargmin(means)), int(np.nanargmax(means))
    return f"on average {means[low]:.2g} in {grid.names[low]}, {means[high]:.2g} in {grid.names[high]}"


PLOTS = (
    PlotSpec(
        "activation_sd",
        "Spread of the activations",
        "A layer that grows brighter over the steps blows up; one that turns dark dies out.",
        activation_sd,
    ),
    PlotSpec(
        "activation_near_zero",
        "Activations near zero",
        "Bright layers are dead or nearly so: most of their values carry nothing.",
        activation_near_zero,
    ),
    PlotSpec(
        "gradient_norm_by_layer",
        "Gradient norm of each layer",
        "An even rise from bottom to top is usual; a dark lower half learns next to nothing. Hatched: zero, or not logged.",
        gradient_norm,
    ),
    PlotSpec(
        "update_ratio",
        "Update-to-weight ratio of each layer",
        "Around 1e-3 is usual; above 1e-2 a layer is thrown about, below 1e-5 it stands still. Hatched: zero, or not logged.",
        update_ratio,
    ),
    PlotSpec(
        "distance",
        "Distance from the first weights",
        "How far each layer has moved from its weights before training: the head from random, the others from "
        "pre-training.",
        distance,
    ),
)
