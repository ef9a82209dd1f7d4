"""What a run says about itself: at most ``MOST`` sentences, each from a rule that found evidence in what the run recorded.

A rule is a function from a ``RunLog`` to an ``Advice`` or ``None``. ``RULES`` has them all, the most urgent first; docs/advice.md
has a line for each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.reporting import advice_on_classes as classes
from bert_ft.reporting import advice_on_curves as curves
from bert_ft.reporting.advice_facts import Advice
from bert_ft.reporting.run_log import RunLog, read_run

log = logging.getLogger(__name__)

MOST = 7  # sentences: more are not read
ONE_CLASS = ("single_label", "ordinal")
WITH_CLASSES = (*ONE_CLASS, "multi_label")


@dataclass(frozen=True)
class Rule:
    """A rule of the table.

    Attributes:
        name: its name in ``metrics.json`` and docs/advice.md.
        find: returns what it found in a run.
        tasks: the tasks that it holds for; ``None`` = all, including pre-training.
        unless: an earlier rule that makes this one pointless if it found something.
    """

    name: str
    find: Callable[[RunLog], Advice | None]
    tasks: tuple[str, ...] | None = None
    unless: str | None = None


RULES = (
    Rule("unstable", curves.unstable),
    Rule("no_better_than_guessing", classes.no_better_than_guessing, ONE_CLASS),
    Rule("dead_layer", curves.dead_layer),
    Rule("never_predicted", classes.never_predicted, WITH_CLASSES),
    Rule("texts_cut", curves.texts_cut),
    Rule("still_falling", curves.still_falling),
    Rule("few_validation_rows", classes.few_validation_rows, WITH_CLASSES),
    Rule("precision_for_recall", classes.precision_for_recall, WITH_CLASSES),
    Rule("overconfident", curves.overconfident, WITH_CLASSES, unless="no_better_than_guessing"),
    Rule("clipped", curves.clipped),
    Rule("within_one_standard_error", curves.within_one_standard_error, unless="no_better_than_guessing"),
)


def advice_for(run: RunLog) -> dict[str, Advice]:
    """Return the advice of each rule that found something, by its name, at most ``MOST``."""
    task = None if run.is_stage else (run.task or {}).get("name", "single_label")
    found: dict[str, Advice] = {}
    for rule in RULES:
        is_meant = (rule.tasks is None or task in rule.tasks) and rule.unless not in found
        if is_meant and (advice := rule.find(run)) is not None:
            found[rule.name] = advice
    return dict(list(found.items())[:MOST])


def give_advice_if_possible(folder: Path) -> list[str]:
    """Add the advice to ``metrics.json`` of a finished run, and return its sentences.

    A failure is logged, since the run itself is complete.
    """
    try:
        run = read_run(folder)
        advice = advice_for(run)
        if run.metrics is not None:
            entries = [{"rule": name, **vars(each)} for name, each in advice.items()]
            text = json.dumps({**run.metrics, "advice": entries}, indent=2, ensure_ascii=False)
            write(folder / layout.METRICS_FILE, f"{text}\n".encode())
        return [each.sentence for each in advice.values()]
    except Exception:
        log.exception("no advice could be given on the run")
        return []
