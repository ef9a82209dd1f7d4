"""What the pre-training stage reached, in numbers."""

from __future__ import annotations

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.table import Cell, Table, number


def held_out(log: RunLog) -> Table:
    """The held-out metrics before and after the stage."""
    metrics = None if log.stage is None else log.stage.metrics
    if metrics is None:
        raise NotLogged("the stage wrote no metrics.json")
    before, after = metrics.get("val_before") or {}, metrics.get("val") or {}
    rows = [[Cell(name), number(before.get(name)), number(value)] for name, value in after.items()]
    return Table("Held-out texts", _said(metrics.get("texts") or {}), ["", "before", "after"], rows)


def settings(log: RunLog) -> Table:
    """What the stage trained on, and how it ended."""
    metrics = None if log.stage is None else log.stage.metrics
    if metrics is None:
        raise NotLogged("the stage wrote no metrics.json")
    stage, checkpoint = metrics.get("stage") or {}, metrics.get("checkpoint") or {}
    values = {name.replace("_", " "): value for name, value in stage.items()}
    values["handed over"] = f"after {checkpoint.get('epoch', 0):g} epochs, step {checkpoint.get('step', 0):,}"
    values["training"] = f"{metrics.get('fit_seconds', 0):,.0f} s; {metrics.get('stopped')}"
    if metrics.get("head_is_fresh"):
        values["masked-token head"] = "started at random"
    if metrics.get("from_cache"):
        values["taken from the cache"] = metrics["from_cache"]
    return Table("Stage", "", ["", ""], [[Cell(name), Cell(str(value))] for name, value in values.items()])


def _said(texts: dict[str, object]) -> str:
    said = f"{texts.get('held_out')} texts of {texts.get('origin')}; trained on {texts.get('train')}."
    if texts.get("include_evaluation_texts"):
        return f"{said} The texts of validation and test rows were among them (pretrain.include_evaluation_texts=true)."
    return f"{said} {texts.get('left_out')} more were left out, which validation or test rows have, too."
