"""Rows scored by each task: metrics are the task's own, confidences and classes those of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from bert_ft.evaluation.evaluation import evaluated, intervals_of, scores_of_classes
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import baseline_of, training_labels
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.votes import Votes

RNG = np.random.default_rng(0)
ROWS = 40
THREE = ("a", "b", "c")
CLASSES = RNG.integers(3, size=ROWS)
GRADES = ("1", "2", "3", "4")
NUMBERS = {"center": (5.0, -2.0), "scale": (2.0, 30.0)}
TASKS = {
    "single_label": (SingleLabel(THREE), CLASSES),
    "two classes with a threshold": (
        SingleLabel(("no", "yes"), thresholds="f1", positive="yes", cut_off=0.3),
        CLASSES % 2,
    ),
    "soft labels": (Votes(THREE), RNG.multinomial(3, [0.5, 0.3, 0.2], size=ROWS).astype(np.float32) / 3),
    "multi_label": (
        MultiLabel(THREE, thresholds="f1", cut_offs=(0.2, 0.5, 0.7)),
        RNG.random((ROWS, 3)) < 0.4,
    ),
    "ordinal": (
        Ordinal(tuple(f"above {grade}" for grade in GRADES[:-1]), order=GRADES),
        RNG.integers(4, size=ROWS),
    ),
    "regression": (
        Regression(("score",), center=(5.0,), scale=(2.0,)),
        RNG.normal(size=(ROWS, 1)).astype(np.float32),
    ),
    "two numbers and how far they may be off": (
        Regression(("x", "y", "x (log variance)", "y (log variance)"), variance=True, **NUMBERS),
        RNG.normal(size=(ROWS, 2)).astype(np.float32),
    ),
}


def scored_by(name: str) -> Scored:
    task, targets = TASKS[name]
    logits = np.random.default_rng(1).normal(scale=2, size=(ROWS, len(task.names))).astype(np.float32)
    return Scored(task, logits, targets)


@pytest.mark.parametrize("name", TASKS)
def test_metrics_are_those_that_the_task_logs(name):
    scored = scored_by(name)
    logits, targets = torch.from_numpy(scored.logits), torch.from_numpy(scored.targets)
    expected = scored.task.scores(logits, targets)
    expected["loss"] = float(scored.task.plain_loss(logits, targets))
    found = intervals_of(scored, num_resamples=50)
    assert {key: each.value for key, each in found.items()} == pytest.approx(expected, rel=1e-5)
    assert all(each.low <= each.value <= each.high for each in found.values())


@pytest.mark.parametrize("name", TASKS)
def test_guessing_from_the_training_labels(name):
    """Of the rows themselves: for classes no constant is right more often, for numbers none has a lower error."""
    scored = scored_by(name)
    baseline = baseline_of(scored, training_labels(scored.task, scored.targets))
    assert baseline.guess.startswith("always ")
    assert baseline.values.keys() <= scored.metrics.keys()
    if scored.counts is not None:
        labels = scored.labels[scored.decided]
        most = np.bincount(labels).max() / len(labels)
        if name not in ("soft labels", "ordinal"):
            assert baseline.values["accuracy"] == pytest.approx(most)
    assert baseline_of(scored, None) is None or isinstance(scored.task, Regression)


@pytest.mark.parametrize("name", ["single_label", "soft labels", "ordinal", "multi_label"])
def test_scores_of_classes_are_scikit_learns(name):
    scored = scored_by(name)
    rows = slice(None) if name == "multi_label" else scored.decided
    truth = scored.targets if name == "multi_label" else scored.labels[rows]
    ids = range(len(scored.names))
    expected = precision_recall_fscore_support(
        truth, scored.predicted[rows], labels=None if name == "multi_label" else ids
    )
    groups = np.arange(ROWS) // 4
    for found in (scores_of_classes(scored), scores_of_classes(scored, groups)):
        assert [each.name for each in found] == list(scored.names)
        for kind, values in zip(("precision", "recall", "f1", "rows"), expected, strict=True):
            ours = [getattr(each, kind) for each in found]
            assert [each if kind == "rows" else each.value for each in ours] == pytest.approx(list(values))


def test_rows_that_belong_together_never_give_a_bare_score():
    """Each of six documents is right in all of its rows: as exact as six rows."""
    scored = Scored(
        SingleLabel(("a", "b")), np.eye(2, dtype=np.float32)[np.arange(60) % 2], np.arange(60) % 2
    )
    found = scores_of_classes(scored, np.arange(60) // 10)
    assert [(each.recall.value, each.recall.low) for each in found] == [
        (1, pytest.approx(0.5407, abs=1e-4))
    ] * 2
    assert all(each.f1.low == pytest.approx(2 * each.recall.low / (1 + each.recall.low)) for each in found)


def test_subgroups_together_are_all_rows():
    scored = scored_by("single_label")
    groups = ["mail"] * 24 + ["phone"] * 15 + ["fax"]
    found = evaluated(scored, groups=groups)
    assert {name: group.rows for name, group in found.groups.items()} == {"mail": 24, "phone": 15, "fax": 1}
    mean = sum(group.rows * group.metrics["accuracy"].value for group in found.groups.values()) / ROWS
    assert found.metrics["accuracy"].value == pytest.approx(mean)
    single = found.groups["fax"].metrics["accuracy"]
    assert (single.low, single.high) in ((0, 0.975), (0.025, 1))


def test_another_model_on_the_same_rows():
    """Class names may be in another order: what counts is which rows are right."""
    scored = scored_by("single_label")
    order = [2, 0, 1]
    other = Scored(
        SingleLabel(tuple(THREE[index] for index in order)),
        scored.logits[:, order],
        np.array([order.index(label) for label in CLASSES]),
    )
    found = {each.metric: each for each in evaluated(scored, against=other).comparisons}
    assert found.keys() == {"accuracy", "f1_macro", "loss"}
    assert all(each.first == pytest.approx(each.second) and not each.differs for each in found.values())
    better = Scored(scored.task, np.eye(3, dtype=np.float32)[CLASSES] * 9, CLASSES)
    assert all(each.better == 2 and each.differs for each in evaluated(scored, against=better).comparisons)
