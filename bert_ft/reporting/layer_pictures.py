"""Pictures of each layer's statistics."""

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.heat_maps import HeatMap, draw_heat_maps
from bert_ft.reporting.layer_grid import LAYER, finite_mean, layer_grid, logged_grid
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec, plot
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


@plot(
    "Spread of the activations",
    "A layer that grows brighter over the steps blows up; one that turns dark dies out.",
)
def activation_sd(log: RunLog) -> Figure:
    return draw_heat_maps(_activations(log, "sd"), "standard deviation", is_log=True)


@plot(
    "Activations near zero", "Bright layers are dead or nearly so: most of their values carry no information."
)
def activation_near_zero(log: RunLog) -> Figure:
    return draw_heat_maps(_activations(log, "near_zero"), "share of values near zero")


@plot(
    "Gradient norm of each layer",
    "An even rise from bottom to top is usual; a dark lower half learns next to nothing. Hatched: zero, or not logged.",
)
def gradient_norm_by_layer(log: RunLog) -> Figure:
    pattern = layout.tag(layout.GRADIENTS, f"({LAYER})", layout.NORM)
    return _by_layer(
        log,
        pattern,
        "the layers' gradient norms (monitor gradients)",
        "Gradient norm before clipping",
        "norm",
    )


@plot(
    "Update-to-weight ratio of each layer",
    "Around 1e-3 is usual; above 1e-2 a layer is unstable, below 1e-5 it hardly changes. Hatched: zero, or not logged.",
)
def update_ratio(log: RunLog) -> Figure:
    pattern = layout.tag(layout.WEIGHTS, f"({LAYER})", layout.UPDATE_RATIO)
    what = "the layers' update ratios (monitor weights)"
    return _by_layer(log, pattern, what, "Update of one step / weights", "ratio of the norms")


@plot(
    "Distance from the first weights",
    "How far each layer has moved from its weights before training: the head from random ones, the others from "
    "pre-trained ones.",
)
def distance(log: RunLog) -> Figure:
    pattern = layout.tag(layout.WEIGHTS, f"({LAYER})", layout.DISTANCE)
    what = "the layers' distances from the first weights (monitor.weights.distance=true)"
    return _by_layer(log, pattern, what, "Distance from the first weights", "L2 norm", is_log=False)


@plot(
    "Averaged weights and trained weights",
    "Small compared with the distance from the first weights: the average follows closely, and changes little.",
)
def averaging_drift(log: RunLog) -> Figure:
    title = "Distance of the average from the trained weights"
    return _by_layer(log, DRIFT, "a distance of averaged weights", title, "L2 norm", is_log=False)


def drift_plots(log: RunLog) -> list[PlotSpec]:
    """Return ``averaging_drift`` if weights were averaged."""
    return [] if layer_grid(log.scalars, DRIFT) is None else [averaging_drift]


def _activations(log: RunLog, statistic: str) -> list[HeatMap]:
    maps = []
    for title, block in BLOCKS.items():
        grid = layer_grid(log.scalars, layout.tag(layout.ACTIVATIONS, block, statistic))
        if grid is not None:
            maps.append(grid.heat_map(title, "part" if title == "head" else "layer"))
    if not maps:
        raise NotLogged(f"no activations/<block>/{statistic} was logged (monitor activations)")
    return maps


def _by_layer(log: RunLog, pattern: str, what: str, title: str, scale: str, *, is_log: bool = True) -> Figure:
    """Draw one map, whose title names the layers with the smallest and the largest mean over the steps."""
    grid = logged_grid(log.scalars, pattern, f"the run didn't log {what}")
    means, extremes = finite_mean(grid.values, axis=1), "no finite value"
    if np.isfinite(means).any():
        low, high = int(np.nanargmin(means)), int(np.nanargmax(means))
        extremes = (
            f"on average {means[low]:.2g} in {grid.names[low]}, {means[high]:.2g} in {grid.names[high]}"
        )
    return draw_heat_maps([grid.heat_map(f"{title}: {extremes}")], scale, is_log=is_log)


PLOTS = (activation_sd, activation_near_zero, gradient_norm_by_layer, update_ratio, distance)
