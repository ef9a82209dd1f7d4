"""Pictures of training."""

import re

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.drawing.style import capitalized
from bert_ft.reporting.layer_grid import LAYER, depth
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.objective import kept_point, objective_of
from bert_ft.reporting.plot_spec import PlotSpec, plot
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import Series, smoothed

MAX_RAW = 60  # readings that are drawn as they are; with more, a smoothed curve is drawn in front


@plot(
    "Loss",
    "A validation loss that rises while the training loss still falls is overfitting; the star is the checkpoint that "
    "is tested and saved. Training loss includes the regularization terms, validation loss is the plain loss.",
)
def losses(log: RunLog) -> Figure:
    lines, says = training_loss(log), []
    if lines and (finite := lines[-1].values[np.isfinite(lines[-1].values)]).size:
        says.append(f"training loss {finite[0]:.3g} → {finite[-1]:.3g}")
    if layout.VAL_LOSS in log.scalars:
        steps, values = log.scalars[layout.VAL_LOSS]
        lines.append(Line("validation", steps, values))
        if np.isfinite(values).any():
            lowest = int(np.nanargmin(values))
            says.append(f"validation {values[lowest]:.3g} at its lowest, step {steps[lowest]:,}")
    if not lines:
        raise NotLogged(f"neither {layout.TRAIN_LOSS} nor {layout.VAL_LOSS} was logged")
    title = capitalized("; ".join(says) or "no loss is finite")
    unit = "nats" if log.task is None else log.task["loss_unit"]
    axis = f"loss ({unit})" if unit else "loss"
    return draw_curves([Panel(title, axis, lines, marked=kept_point(log, layout.VAL_LOSS))])


def training_loss(log: RunLog) -> list[Line]:
    """Return the training loss, raw and smoothed; nothing if it wasn't logged."""
    if layout.TRAIN_LOSS not in log.scalars:
        return []
    raw = log.scalars[layout.TRAIN_LOSS]
    course = log.scalars.get(layout.TRAIN_LOSS_SMOOTHED, Series(raw.steps, smoothed(raw.values)))
    return [Line("training", *raw, is_faint=True), Line("training, smoothed", *course)]


@plot(
    "Validation metrics",
    "One point for each validation; the star is the checkpoint that is kept. If the last value is the best one, longer "
    "training might still help.",
)
def validation_metrics(log: RunLog) -> Figure:
    tags = [tag for tag in log.scalars if tag.startswith(layout.VAL) and tag != layout.VAL_LOSS]
    if not tags:
        raise NotLogged("no validation metric was logged")
    objective = objective_of(log)[0]
    shown = objective if objective in tags else tags[0]
    values = log.scalars[shown].values
    title = f"{shown} after {len(values)} validation{'s' * (len(values) > 1)}: {values[-1]:.4f}"
    if marked := kept_point(log, shown):
        title = f"{shown} is {marked[1]:.4f} at step {marked[0]:,}: {marked[2]}"
    # shares and correlations on one scale; errors in the unit of the labels on another
    values_of = {tag: log.scalars[tag].values for tag in tags}
    large = {tag for tag, of in values_of.items() if np.abs(of[np.isfinite(of)]).max(initial=0) > 1}
    with_shown = [tag for tag in tags if (tag in large) == (shown in large)]
    others = [tag for tag in tags if tag not in with_shown]

    def lines(of: list[str]) -> list[Line]:
        return [Line(tag.removeprefix(layout.VAL), *log.scalars[tag]) for tag in of]

    panels = [Panel(title, "validation metric", lines(with_shown), marked=marked)]
    return draw_curves([*panels, *([Panel("", "validation metric", lines(others))] if others else [])])


@plot(
    "Learning rate of each layer",
    "From the embeddings (dark) to the head (light); it rises during the warm-up, then falls with the schedule.",
)
def learning_rates(log: RunLog) -> Figure:
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
    title = f"Peak learning rate {peaks[names[-1]]:.3g} ({names[-1]})"
    if len(names) > 1:
        title += f", {peaks[names[0]]:.3g} ({names[0]})"
    return draw_curves([Panel(title, "learning rate", lines, from_zero=True)])


@plot("Weight decay", "Applies to matrices; biases and norms have none.")
def weight_decay(log: RunLog) -> Figure:
    decays = _by_layer(log, "-weight_decay")
    name = sorted(decays, key=depth)[-1]  # all layers have the same
    series = decays[name]
    title = f"Weight decay: {series.values[0]:.3g} at first, {series.values[-1]:.3g} at the end"
    return draw_curves([Panel(title, "weight decay", [Line(name, *series)], from_zero=True)])


def weight_decay_plots(log: RunLog) -> list[PlotSpec]:
    """Return ``weight_decay`` if the weight decay changes."""
    decays = _by_layer(log, "-weight_decay").values()
    return [weight_decay] if any(np.ptp(series.values) != 0 for series in decays) else []


def _by_layer(log: RunLog, suffix: str) -> dict[str, Series]:
    """Return layer → the values that ``lr_monitor`` logged for it under a tag with this suffix."""
    return {
        match[1]: series
        for tag, series in log.scalars.items()
        if (match := re.fullmatch(rf"{layout.LEARNING_RATE}[^/]+/({LAYER}){suffix}", tag))
    }


@plot(
    "Gradient norm",
    "Above the dotted line the gradient is scaled down to it; peaks that grow late in training are a warning.",
)
def gradient_norms(log: RunLog) -> Figure:
    tags = (layout.GRAD_NORM, layout.GRAD_NORM_CLIPPED)
    if tags[0] not in log.scalars:
        tags = (f"{layout.GRADIENTS}{layout.NORM}", f"{layout.GRADIENTS}{layout.NORM_CLIPPED}")
    before = log.series(tags[0])
    after = log.scalars.get(tags[1], before)
    if len(before.values) > MAX_RAW:
        lines = [
            Line("before clipping", *before, is_faint=True),
            Line("before, smoothed", before.steps, smoothed(before.values)),
            Line("after, smoothed", after.steps, smoothed(after.values)),
        ]
    else:
        lines = [Line("before clipping", *before), Line("after clipping", *after)]
    clip = log.setting("trainer.gradient_clip_val")
    by_norm = log.setting("trainer.gradient_clip_algorithm") in ("norm", None)
    threshold = (float(clip), f"clipped at {clip:g}") if clip is not None and by_norm else None
    shared = min(len(before.values), len(after.values))
    unclipped = before.values[:shared] * (1 - 1e-4)  # norms that differ by rounding count as equal
    title = f"{100 * (after.values[:shared] < unclipped).mean():.0f}% of the logged steps were clipped"
    return draw_curves([Panel(title, "norm of the gradient", lines, is_log=True, threshold=threshold)])


@plot("Speed", "Real tokens without padding; validation and saving aren't counted.")
def throughput(log: RunLog) -> Figure:
    panels = []
    for tag, what, unit in (
        (layout.TOKENS_PER_SECOND, "Speed", "tokens per second"),
        (layout.PADDING_RATIO, "Padding", "share of positions"),
        (layout.PEAK_MEMORY, "Peak memory", "MB"),
    ):
        series = log.scalars.get(tag)
        if series is None or not np.nanmax(series.values, initial=0) > 0:  # packed batches have no padding
            continue
        median = float(np.nanmedian(series.values))
        shown = f"{median:,.0f}" if median > 100 else f"{median:.3g}"
        title = f"{what}: median {shown} {unit}"
        panels.append(Panel(title, unit, [Line(what, *series)], from_zero=True))
    if not panels:
        raise NotLogged("no throughput was logged (monitor curves)")
    return draw_curves(panels)


PLOTS = (losses, validation_metrics, learning_rates, gradient_norms, throughput)
