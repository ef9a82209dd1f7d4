"""Which pictures a run's log gives, section by section."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bert_ft.drawing.style import png
from bert_ft.reporting import (
    attention_pictures,
    layer_pictures,
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
    """A picture as it goes into the report.

    Attributes:
        spec: what was drawn.
        png: the file.
    """

    spec: PlotSpec[Any]
    png: bytes


@dataclass(frozen=True)
class LeftOut:
    """What the report lacks, and why."""

    title: str
    reason: str


def plot_specs_of(log: RunLog) -> dict[str, list[PlotSpec[RunLog]]]:
    """Section → the pictures that it can have."""
    stage = {} if log.stage is None else {"Pre-training": list(pretraining_pictures.PLOTS)}
    training = [*training_pictures.PLOTS, *training_pictures.weight_decay_plots(log)]
    layers = {"Layers": [*layer_pictures.PLOTS, *layer_pictures.drift_plots(log)]}
    if log.is_stage:
        # its losses and what is validated have pictures of their own, and there are no labels
        of_labels = (training_pictures.losses, training_pictures.validation_metrics)
        return stage | {"Training": [spec for spec in training if spec.draw not in of_labels]} | layers
    return {
        **stage,
        "Training": training,
        **layers,
        "Validation": list(validation_pictures.PLOTS),
        "Representations": list(representation_pictures.PLOTS),
        "Attention": [*attention_pictures.PLOTS, *attention_pictures.text_plots(log)],
    }


def draw(plots: list[PlotSpec[Log]], log: Log) -> Iterator[Picture | LeftOut]:
    """Each of them drawn, or why it can't be; one by one, for a figure is larger than its file."""
    for spec in plots:
        try:
            yield Picture(spec, png(spec.draw(log)))
        except NotLogged as reason:
            yield LeftOut(spec.title, str(reason))
        except Exception as error:  # whatever it is, it mustn't cost the other pictures
            remarks.exception("report: %s couldn't be drawn", spec.name)
            yield LeftOut(spec.title, f"it couldn't be drawn: {type(error).__name__}: {error}")
