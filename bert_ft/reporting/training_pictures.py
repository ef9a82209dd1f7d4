"""Pictures of how training went."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.style import capitalized
from bert_ft.reporting.layer_grid import LAYER, depth
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.objective import kept_point, objective_of
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import Series
from bert_ft.reporting.smoothing import smoothed

MAX_RAW = 60  # readings that are drawn as they are; of more the smoothed course is drawn in front


def losses(log: RunLog) -> Figure:
    """Training loss, raw and smoothed, and validation loss."""
    lines, says = [], []
    if layout.TRAIN_LOSS in log.scalars:
        raw = log.scalars[layout.TRAIN_LOSS]
        course = log.scalars.get(layout.TRAIN_LOSS_SMOOTHED, Series(raw.steps, smoothed(raw.values)))
        lines += [Line("training", *raw, is_faint=True), Line("training, smoothed", *course)]
        if (finite := course.values[np.isfinite(course.values)]).size:
            says.append(f"training loss {finite[0]:.3g} → {finite[-1]:.3g}")
    if layout.VAL_LOSS in log.scalars:
        validation = log.scalars[layout.VAL_LOSS]
        lines.append(Line("validation", *validation))
        if np.isfinite(validation.values).any():
            lowest = int(np.nanargmin(validation.values))
            says.append(
                f"validation {validation.values[lowest]:.3g} at its lowest, step {validation.steps[lowest]:,}"
            )
    if not lines:
        raise NotLogged(f"neither {layout.TRAIN_LOSS} nor {layout.VAL_LOSS} was logged")
    title = capitalized("; ".join(says) or "no loss is finite")
    unit = "nats" if log.task is None else log.task["loss_unit"]
    axis = f"loss ({unit})" if unit else "loss"
    return draw_curves([Panel(title, axis, lines, marked=kept_point(log, layout.VAL_LOSS))])


def validation_metrics(log: RunLog) -> Figure:
    """What validation measured beside its loss."""
    tags = [tag for tag in log.scalars if tag.startswith(layout.VAL) and tag != layout.VAL_LOSS]
    if not tags:
        raise NotLogged("no metric of a validation was logged")
    objective = objective_of(log)[0]
    shown = objective if objective in tags else tags[0]
    values = log.scalars[shown].values
    title = f"{shown} after {len(values)} validation{'s' * (len(values) > 1)}: {values[-1]:.4f}"
    if marked := kept_point(log, shown):
        title = f"{shown} is {marked[1]:.4f} at step {marked[0]:,}: {marked[2]}"
    lines = [Line(tag.removeprefix(layout.VAL), *log.scalars[tag]) for tag in tags]
    return draw_curves([Panel(title, "validation metric", lines, marked=marked)])


def learning_rates(log: RunLog) -> Figure:
    """The rate of each layer."""
    rates: dict[str, Series] = {}
    for kind in ("/no_decay", ""):  # a layer's two groups have the same rate
        rates |= _by_layer(log, kind)
        rates |= {f"{name}, trained": series for name, series in _by_layer(log, f"/trained{kind}").items()}
    if not rates:  # an optimizer without layers
        rates = {
            tag.removeprefix(layout.LEARNING_RATE): series
            for tag, series in log.scalars.items()
            if tag.startswith(layout.LEARNING_RATE) and not re.search(r"-(weight_decay|momentum)$", tag)
        }
    if not rates:
        raise NotLogged("no learning rate was logged (callback lr_monitor)")
    names = sorted(rates, key=depth)
    depths = np.linspace(0, 1, len(names)) if len(names) > 1 else [0.0]
    lines = [Line(name, *rates[name], depth=float(place)) for name, place in zip(names, depths, strict=True)]
    peaks = {name: np.nanmax(rates[name].values, initial=0) for name in names}
    title = f"Learning rate: at its peak {peaks[names[-1]]:.3g} ({names[-1]})"
    if len(names) > 1:
        title += f", {peaks[names[0]]:.3g} ({names[0]})"
    return draw_curves([Panel(title, "learning rate", lines, from_zero=True)])


def weight_decay_plots(log: RunLog) -> list[PlotSpec]:
    """One, where the weight decay changes."""
    decays = _by_layer(log, "-weight_decay")
    if all(np.ptp(series.values) == 0 for series in decays.values()):
        return []
    return [
        PlotSpec("weight_decay", "Weight decay", "Of matrices; biases and norms have none.", weight_decay)
    ]


def weight_decay(log: RunLog) -> Figure:
    """What each layer's weights are decayed by."""
    decays = _by_layer(log, "-weight_decay")
    name = sorted(decays, key=depth)[-1]  # that of all layers is the same
    series = decays[name]
    title = f"Weight decay: {series.values[0]:.3g} at first, {series.values[-1]:.3g} at the end"
    return draw_curves([Panel(title, "weight decay", [Line(name, *series)], from_zero=True)])


def _by_layer(log: RunLog, suffix: str) -> dict[str, Series]:
    """Layer → what ``lr_monitor`` logged of it under a tag with this end."""
    return {
        match[1]: series
        for tag, series in log.scalars.items()
        if (match := re.fullmatch(rf"{layout.LEARNING_RATE}[^/]+/({LAYER}){suffix}", tag))
    }


def gradient_norms(log: RunLog) -> Figure:
    """The norm of all gradients before and after clipping."""
    tags = (layout.GRAD_NORM, layout.GRAD_NORM_CLIPPED)
    if tags[0] not in log.scalars:
        tags = (f"{layout.GRADIENTS}{layout.NORM}", f"{layout.GRADIENTS}{layout.NORM_CLIPPED}")
    before = log.series(tags[0])
    after = log.scalars.get(tags[1], before)
    lines = []
    if len(before.values) > MAX_RAW:
        lines.append(Line("before clipping", *before, is_faint=True))
        before_course, after_course = smoothed(before.values), smoothed(after.values)
        lines.append(Line("before, smoothed", before.steps, before_course))
        lines.append(Line("after, smoothed", after.steps, after_course))
    else:
        lines += [Line("before clipping", *before), Line("after clipping", *after)]
    clip = log.setting("trainer.gradient_clip_val")
    by_norm = log.setting("trainer.gradient_clip_algorithm") in ("norm", None)
    threshold = (float(clip), f"clipped at {clip:g}") if clip is not None and by_norm else None
    shared = min(len(before.values), len(after.values))
    clipped = after.values[:shared] < before.values[:shared] * (
        1 - 1e-4
    )  # norms that differ by rounding are alike
    title = f"{100 * clipped.mean():.0f}% of the logged steps were clipped"
    return draw_curves([Panel(title, "norm of the gradient", lines, is_log=True, threshold=threshold)])


def throughput(log: RunLog) -> Figure:
    """Speed, padding and memory."""
    panels = []
    for tag, what, unit in (
        (layout.TOKENS_PER_SECOND, "Speed", "tokens per second"),
        (layout.PADDING_RATIO, "Padding", "share of places"),
        (layout.PEAK_MEMORY, "Peak memory", "MB"),
    ):
        series = log.scalars.get(tag)
        if series is None or not np.nanmax(series.values, initial=0) > 0:  # packed batches have no padding
            continue
        median = float(np.nanmedian(series.values))
        title = (
            f"{what}: median {median:,.0f} {unit}" if median > 100 else f"{what}: median {median:.3g} {unit}"
        )
        panels.append(Panel(title, unit, [Line(what, *series)], from_zero=True))
    if not panels:
        raise NotLogged("no throughput was logged (monitor curves)")
    return draw_curves(panels)


PLOTS = (
    PlotSpec(
        "losses",
        "Loss",
        "A validation loss that rises while the training loss still falls is overfitting; the star is the checkpoint "
        "that is tested and saved. Training loss includes what it is regularized by, validation is the plain loss.",
        losses,
    ),
    PlotSpec(
        "validation_metrics",
        "Validation metrics",
        "One point for each validation; the star is the checkpoint that is kept. Where the best value is the last one, "
        "longer training might still help.",
        validation_metrics,
    ),
    PlotSpec(
        "learning_rates",
        "Learning rate of each layer",
        "From the embeddings (dark) to the head (light); warm-up rises, then the schedule falls.",
        learning_rates,
    ),
    PlotSpec(
        "gradient_norms",
        "Gradient norm",
        "Above the dotted line the gradient is scaled down to it; peaks that grow late in training are a warning.",
        gradient_norms,
    ),
    PlotSpec(
        "throughput",
        "Speed",
        "Real tokens without padding; validation, and what is saved after it, isn't counted.",
        throughput,
    ),
)
