"""Draw the pictures for which a run has logged values, by section."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bert_ft.drawing.style import png
from bert_ft.reporting import (
    attention_pictures,
    label_set_report,
    layer_pictures,
    number_report,
    pretraining_pictures,
    representation_pictures,
    training_pictures,
    validation_pictures,
)
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.plot_spec import Log, PlotSpec
from bert_ft.reporting.run_log import RunLog

remarks = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A drawn picture; ``png`` is the content of its file."""

    spec: PlotSpec[Any]
    png: bytes


@dataclass(frozen=True)
class LeftOut:
    """A part that the report lacks, and why."""

    title: str
    reason: str


def plot_specs_of(log: RunLog) -> dict[str, list[PlotSpec[RunLog]]]:
    """Return section → the pictures that it can have."""
    stage = {} if log.stage is None else {"Pre-training": list(pretraining_pictures.PLOTS)}
    training = [*training_pictures.PLOTS, *training_pictures.weight_decay_plots(log)]
    layers = {"Layers": [*layer_pictures.PLOTS, *layer_pictures.drift_plots(log)]}
    if log.is_stage:
        # the stage's section shows its losses and metrics, and there are no labels
        replaced = (training_pictures.losses, training_pictures.validation_metrics)
        return stage | {"Training": [spec for spec in training if spec not in replaced]} | layers
    return {
        **stage,
        "Training": training,
        **layers,
        "Validation": list(validation_pictures.PLOTS),
        "Label sets": list(label_set_report.PLOTS),
        "Numbers": list(number_report.plots_of(log)),
        "Representations": list(representation_pictures.PLOTS),
        "Attention": [*attention_pictures.PLOTS, *attention_pictures.text_plots(log)],
    }


def draw(plots: list[PlotSpec[Log]], log: Log) -> Iterator[Picture | LeftOut]:
    """Yield each picture, or why it can't be drawn; one by one, since a figure is larger than its file."""
    for spec in plots:
        try:
            yield Picture(spec, png(spec.draw(log)))
        except NotLogged as reason:
            yield LeftOut(spec.title, str(reason))
        except Exception as error:  # the other pictures can still be drawn
            remarks.exception("report: %s couldn't be drawn", spec.name)
            yield LeftOut(spec.title, f"it couldn't be drawn: {type(error).__name__}: {error}")
