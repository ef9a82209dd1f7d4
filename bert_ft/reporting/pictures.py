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
from bert_ft.reporting.missing import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.sketch import Log, Sketch

remarks = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """A picture as it goes into the report.

    Attributes:
        sketch: what was drawn.
        png: the file.
    """

    sketch: Sketch[Any]
    png: bytes


@dataclass(frozen=True)
class LeftOut:
    """What the report lacks, and why."""

    title: str
    reason: str


def sketches_of(log: RunLog) -> dict[str, list[Sketch[RunLog]]]:
    """Section → the pictures that it can have."""
    stage = {} if log.stage is None else {"Pre-training": list(pretraining_pictures.SKETCHES)}
    training = [*training_pictures.SKETCHES, *training_pictures.weight_decay_sketches(log)]
    layers = {"Layers": [*layer_pictures.SKETCHES, *layer_pictures.drift_sketches(log)]}
    if log.is_stage:
        # its losses and what is validated have pictures of their own, and there are no labels
        of_labels = (training_pictures.losses, training_pictures.validation_metrics)
        return stage | {"Training": [sketch for sketch in training if sketch.draw not in of_labels]} | layers
    return {
        **stage,
        "Training": training,
        **layers,
        "Validation": list(validation_pictures.SKETCHES),
        "Representations": list(representation_pictures.SKETCHES),
        "Attention": [*attention_pictures.SKETCHES, *attention_pictures.text_sketches(log)],
    }


def draw(sketches: list[Sketch[Log]], log: Log) -> Iterator[Picture | LeftOut]:
    """Each of them drawn, or why it can't be; one by one, for a figure is larger than its file."""
    for sketch in sketches:
        try:
            yield Picture(sketch, png(sketch.draw(log)))
        except NotLogged as reason:
            yield LeftOut(sketch.title, str(reason))
        except Exception as error:  # whatever it is, it mustn't cost the other pictures
            remarks.exception("report: %s couldn't be drawn", sketch.name)
            yield LeftOut(sketch.title, f"it couldn't be drawn: {type(error).__name__}: {error}")
