"""Pictures of judged rows that need no training: of a test split, or of a file that was evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from bert_ft.reporting import label_set_report, number_report, validation_pictures
from bert_ft.reporting.plot_spec import PlotSpec
from bert_ft.reporting.run_log import RunLog


def judged_pictures(section: str, log: RunLog) -> list[PlotSpec[RunLog]]:
    """Return the pictures of a section of one task: ``Validation``, ``Label sets`` or ``Numbers``."""
    found: dict[str, Sequence[PlotSpec[RunLog]]] = {
        "Validation": (
            validation_pictures.confidence,
            validation_pictures.reliability,
            validation_pictures.confusion,
        ),
        "Label sets": (label_set_report.decision_reliability,),
        "Numbers": list(number_report.plots_of(log)),
    }
    return list(found.get(section, ()))
