"""Rules of advice on classes and their validation rows."""

from __future__ import annotations

import numpy as np

from bert_ft import layout
from bert_ft.reporting.advice_facts import MAX_NAMES, Advice, class_counts, listed
from bert_ft.reporting.run_log import RunLog
from bert_ft.standard_error import standard_error

FEW_ROWS = 5  # up to here one row changes a recall by 20 points or more
RARE = 0.5  # times the rows that a class would have if all had as many
GAP = 0.3  # between precision and recall


def no_better_than_guessing(run: RunLog) -> Advice | None:
    """Find an accuracy within a standard error of what predicting the most frequent class would give."""
    counts, value = class_counts(run), ((run.metrics or {}).get("val") or {}).get("accuracy")
    if counts is None or value is None or not (total := int(counts.support.sum())):
        return None
    most = int(np.nanargmax(counts.support))
    guessing = counts.support[most] / total
    if np.count_nonzero(counts.support) < 2 or value > guessing + standard_error(guessing, total):
        return None
    lr = run.setting("optimizer.lr")
    return Advice(
        f"Validation accuracy {value:.3f} is no better than always predicting {listed([counts.names[most]])} "
        f"({guessing:.3f}), so the model has learned nothing useful: check that the labels belong to the texts, then "
        f"try another optimizer.lr{f' (now {lr:g})' if isinstance(lr, float) else ''}.",
        ("optimizer.lr",),
    )


def never_predicted(run: RunLog) -> Advice | None:
    """Find classes that have enough validation rows, and are predicted for none."""
    counts = class_counts(run)
    if counts is None:
        return None
    found = [
        (name, int(support))
        for name, support, predicted in zip(counts.names, counts.support, counts.predicted, strict=True)
        if not predicted and support > FEW_ROWS
    ]
    if not found:
        return None
    names, rows = [name for name, _ in found], sum(support for _, support in found)
    is_one = len(names) == 1
    remedy, keys = _more_of_the_rare(run, "it" if is_one else "them")
    return Advice(
        f"{listed(names)} {'is' if is_one else 'are'} never predicted, though {rows} validation rows "
        f"have {'this label' if is_one else 'these labels'}: {remedy}.",
        keys,
    )


def few_validation_rows(run: RunLog) -> Advice | None:
    """Find classes with so few validation rows that their scores are luck."""
    split = ((run.data_report or {}).get("splits") or {}).get("validation", {})
    rows, names = split.get("label_counts", {}), (run.metrics or {}).get("labels") or []
    few = sorted((rows[name], name) for name in names if rows.get(name, FEW_ROWS + 1) <= FEW_ROWS)
    if not few:
        return None
    its = "its" if len(few) == 1 else "their"
    if len(few) <= MAX_NAMES:
        shown = [f"{layout.counted(count, 'row')} of {listed([name])}" for count, name in few]
        evidence = f"The validation split has only {listed(shown)}"
    else:
        shown = [f"{listed([name])} {count}" for count, name in few[:MAX_NAMES]]
        evidence = f"{len(few)} of {len(names)} classes have at most {FEW_ROWS} validation rows ({', '.join(shown)}, …)"
    ratio, file = run.setting("data.validation_ratio"), run.setting("data.validation_file")
    keys: tuple[str, ...]
    if file is not None:
        remedy, keys = "add rows to data.validation_file", ("data.validation_file",)
    elif ratio:
        remedy, keys = f"raise data.validation_ratio (now {ratio:g})", ("data.validation_ratio",)
    else:
        remedy, keys = "add validation rows", ()
    return Advice(
        f"{evidence}, so {its} scores, and {its} part in macro averages, are mostly luck: {remedy}.",
        keys,
    )


def precision_for_recall(run: RunLog) -> Advice | None:
    """Find the rare class with the largest gap between precision and recall, if that is more than chance."""
    counts = class_counts(run)
    if counts is None:
        return None
    usual = counts.support.sum() / max(1, len(counts.names))
    best: tuple[float, str, float, float, int] | None = None
    for name, right, support, predicted in zip(*counts, strict=True):
        if support <= FEW_ROWS or not right or support > RARE * usual:
            continue
        recall, precision = right / support, right / predicted
        chance = np.hypot(standard_error(recall, int(support)), standard_error(precision, int(predicted)))
        gap = abs(precision - recall)
        if gap > max(GAP, 2 * chance) and (best is None or gap > best[0]):
            best = (gap, name, float(precision), float(recall), int(support))
    if best is None:
        return None
    _, name, precision, recall, support = best
    evidence = f"The rare class {listed([name])} ({support} validation rows) has precision {precision:.2f} and recall {recall:.2f}"
    if precision > recall:
        remedy, keys = _more_of_the_rare(run, "it")
        return Advice(f"{evidence}, so most of its rows are missed: {remedy}.", keys)
    weights = run.setting("loss.class_weights")
    remedy = (
        f"loss.class_weights=null (now {weights}) predicts it less often"
        if weights
        else "only more training rows like those that are mistaken for it help"
    )
    return Advice(f"{evidence}, so most of its predictions are wrong: {remedy}.", ("loss.class_weights",))


def _more_of_the_rare(run: RunLog, it: str) -> tuple[str, tuple[str, ...]]:
    """Return what makes a model predict rare classes more often, and its key."""
    is_multi_label = (run.task or {}).get("name") == "multi_label"
    if is_multi_label and run.setting("task.thresholds") is None:
        return f"task.thresholds=f1 chooses the probability from which on to give {it}", ("task.thresholds",)
    if not run.setting("loss.class_weights"):
        return f"loss.class_weights=balanced predicts {it} more often", ("loss.class_weights",)
    return (
        f"loss.class_weights is set already, so {it} {'needs' if it == 'it' else 'need'} more training rows",
        ("loss.class_weights",),
    )
