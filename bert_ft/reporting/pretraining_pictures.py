"""Pictures of the pre-training stage, before fine-tuning or alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from bert_ft import layout
from bert_ft.drawing.curves import Line, Panel, draw_curves
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import Series
from bert_ft.reporting.smoothing import smoothed


def losses(stage: RunLog) -> Figure:
    """What is minimized, in training and on the held-out texts."""
    lines, says = [], "Pre-training loss"
    if layout.TRAIN_LOSS in stage.scalars:
        raw = stage.scalars[layout.TRAIN_LOSS]
        course = stage.scalars.get(layout.TRAIN_LOSS_SMOOTHED, Series(raw.steps, smoothed(raw.values)))
        lines += [Line("training", *raw, is_faint=True), Line("training, smoothed", *course)]
    if layout.VAL_LOSS in stage.scalars:
        held_out = stage.scalars[layout.VAL_LOSS]
        lines.append(Line("held out", *held_out))
        says = f"Held-out loss {held_out.values[0]:.3g} → {held_out.values[-1]:.3g}"
    if not lines:
        raise NotLogged(f"neither {layout.TRAIN_LOSS} nor {layout.VAL_LOSS} was logged")
    return draw_curves([Panel(says, "loss (nats)", lines, marked=_kept(stage, layout.VAL_LOSS))])


def guesses(stage: RunLog) -> Figure:
    """How well masked tokens of held-out texts are guessed."""
    perplexity, accuracy = (
        stage.series(f"{layout.VAL}{layout.PERPLEXITY}"),
        stage.series(f"{layout.VAL}{layout.MASKED_ACCURACY}"),
    )
    first, last = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in perplexity.values[[0, -1]]
    )
    said = f"Perplexity {first} → {last}"
    right = f"Right guesses {accuracy.values[0]:.1%} → {accuracy.values[-1]:.1%}"
    return draw_curves(
        [
            Panel(
                said,
                "perplexity",
                [Line("held out", *perplexity)],
                is_log=True,
                marked=_kept(stage, f"{layout.VAL}{layout.PERPLEXITY}"),
            ),
            Panel(right, "share of masked tokens", [Line("held out", *accuracy)], from_zero=True),
        ]
    )


def geometry(stage: RunLog) -> Figure:
    """How close two views of a text are, and how spread the texts."""
    alignment, uniformity = (
        stage.series(f"{layout.VAL}{layout.ALIGNMENT}"),
        stage.series(f"{layout.VAL}{layout.UNIFORMITY}"),
    )
    panels = []
    for name, unit, held_out in (
        ("Alignment", "squared distance", alignment),
        ("Uniformity", "log mean potential", uniformity),
    ):
        lines = [Line("held out", *held_out)]
        if (training := stage.scalars.get(f"{layout.TRAIN}{name.lower()}")) is not None:
            course = training.values if np.isnan(training.values).all() else smoothed(training.values)
            lines.insert(0, Line("training, smoothed", training.steps, course))
        title = f"{name} {held_out.values[0]:.3g} → {held_out.values[-1]:.3g}"
        panels.append(Panel(title, unit, lines))
    return draw_curves(panels)


def _kept(stage: RunLog, tag: str) -> tuple[int, float, str] | None:
    value = ((stage.metrics or {}).get("val") or {}).get(tag.removeprefix(layout.VAL))
    return None if value is None or stage.kept_step is None else (stage.kept_step, value, "handed over")


def _of_stage(draw: Callable[[RunLog], Figure]) -> Callable[[RunLog], Figure]:
    def drawn(log: RunLog) -> Figure:
        if log.stage is None:
            raise NotLogged("the encoder was fine-tuned as it came (pretrain=none)")
        return draw(log.stage)

    return drawn


PLOTS = (
    PlotSpec(
        "pretraining_losses",
        "Loss",
        "The stage's own steps; the star is the checkpoint that is handed over. Where the held-out loss rises, the encoder "
        "learns the texts by heart.",
        _of_stage(losses),
    ),
    PlotSpec(
        "pretraining_predictions",
        "Masked tokens",
        "Of held-out texts, the same tokens masked in each validation. A perplexity of n is the uncertainty of a choice among "
        "n tokens.",
        _of_stage(guesses),
    ),
    PlotSpec(
        "pretraining_geometry",
        "Vectors of texts",
        "Alignment near 0: two views of a text coincide. Uniformity near 0: all texts do, a collapse; spread texts have -2 to "
        "-4 (Wang and Isola 2020).",
        _of_stage(geometry),
    ),
)
