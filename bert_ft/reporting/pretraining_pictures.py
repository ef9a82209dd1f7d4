"""Pictures of the pre-training stage, before fine-tuning or standalone."""

from collections.abc import Callable
from functools import wraps

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.objective import kept_point
from bert_ft.reporting.plot_spec import plot
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import smoothed
from bert_ft.reporting.training_pictures import training_loss


def _of_stage(draw: Callable[[RunLog], Figure]) -> Callable[[RunLog], Figure]:
    @wraps(draw)
    def drawn(log: RunLog) -> Figure:
        if log.stage is None:
            raise NotLogged("the encoder wasn't pre-trained here (pretrain=none)")
        return draw(log.stage)

    return drawn


@plot(
    "Loss",
    "The stage's own steps; the star is the checkpoint that fine-tuning starts from. If the held-out loss rises, the "
    "encoder memorizes the texts.",
)
@_of_stage
def pretraining_losses(stage: RunLog) -> Figure:
    lines, title = training_loss(stage), "Pre-training loss"
    if layout.VAL_LOSS in stage.scalars:
        held_out = stage.scalars[layout.VAL_LOSS]
        lines.append(Line("held out", *held_out))
        title = f"Held-out loss {held_out.values[0]:.3g} → {held_out.values[-1]:.3g}"
    if not lines:
        raise NotLogged(f"neither {layout.TRAIN_LOSS} nor {layout.VAL_LOSS} was logged")
    return draw_curves([Panel(title, "loss (nats)", lines, marked=kept_point(stage, layout.VAL_LOSS))])


@plot(
    "Masked tokens",
    "Measured on held-out texts, with the same tokens masked in each validation. A perplexity of n is the "
    "uncertainty of a "
    "choice among n tokens.",
)
@_of_stage
def pretraining_predictions(stage: RunLog) -> Figure:
    tag = f"{layout.VAL}{layout.PERPLEXITY}"
    perplexity, accuracy = stage.series(tag), stage.series(f"{layout.VAL}{layout.MASKED_ACCURACY}")
    first, last = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in perplexity.values[[0, -1]]
    )
    lines = [Line("held out", *perplexity)]
    panel = Panel(
        f"Perplexity {first} → {last}", "perplexity", lines, is_log=True, marked=kept_point(stage, tag)
    )
    title = f"Correct predictions {accuracy.values[0]:.1%} → {accuracy.values[-1]:.1%}"
    lines = [Line("held out", *accuracy)]
    return draw_curves([panel, Panel(title, "share of masked tokens", lines, from_zero=True)])


@plot(
    "Vectors of texts",
    "Alignment near 0: two views of a text coincide. Uniformity near 0: all texts coincide, a collapse; spread texts "
    "have -2 to -4 (Wang and Isola 2020).",
)
@_of_stage
def pretraining_geometry(stage: RunLog) -> Figure:
    panels = []
    for key, unit in ((layout.ALIGNMENT, "squared distance"), (layout.UNIFORMITY, "log mean potential")):
        held_out = stage.series(f"{layout.VAL}{key}")
        lines = [Line("held out", *held_out)]
        if (training := stage.scalars.get(f"{layout.TRAIN}{key}")) is not None:
            course = training.values if np.isnan(training.values).all() else smoothed(training.values)
            lines.insert(0, Line("training, smoothed", training.steps, course))
        title = f"{key.capitalize()} {held_out.values[0]:.3g} → {held_out.values[-1]:.3g}"
        panels.append(Panel(title, unit, lines))
    return draw_curves(panels)


PLOTS = (pretraining_losses, pretraining_predictions, pretraining_geometry)
