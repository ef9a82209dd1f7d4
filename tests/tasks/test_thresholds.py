import numpy as np
import pytest
import torch

from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.thresholds import fit_threshold, rule_of

RNG = np.random.default_rng(0)
LABELS = RNG.random(200) < 0.2
PROBABILITIES = (
    np.round(np.where(LABELS, RNG.beta(3, 4, 200), RNG.beta(1, 6, 200)), 2) / 100
)  # with ties, all small


def at(threshold):
    given = threshold <= PROBABILITIES
    right = (given & LABELS).sum()
    return right / max(given.sum(), 1), right / LABELS.sum()


def f1(threshold):
    precision, recall = at(threshold)
    return 2 * precision * recall / max(precision + recall, 1e-9)


@pytest.mark.parametrize("given", ["f1", "precision:0.6", "recall:0.9"])
def test_no_other_threshold_is_better(given):
    found = fit_threshold(LABELS, PROBABILITIES, rule_of(given))
    assert found not in PROBABILITIES
    every = np.unique(PROBABILITIES)
    if given == "f1":
        assert f1(found) == max(map(f1, every))
    elif given == "precision:0.6":
        assert at(found)[0] >= 0.6
        assert at(found)[1] == max(at(each)[1] for each in every if at(each)[0] >= 0.6)
    else:
        assert at(found)[1] >= 0.9
        assert not any(at(each)[1] >= 0.9 for each in every if each > found + 1e-4)


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ConfigError, match=r"no threshold reaches it on the validation rows; the best is 0\.5000"
    ):
        fit_threshold(np.array([False, True]), np.array([0.9, 0.8]), rule_of("precision:0.9"))
    for wrong in ("f2", "precision", "precision:2", 0, 1.0, True, "recall:x"):
        with pytest.raises(ConfigError, match=r"task\.thresholds=.*must be f1, precision"):
            MultiLabel(thresholds=wrong)


def test_a_label_with_few_rows_keeps_the_shared_threshold():
    labels = np.zeros((200, 2), dtype=bool)
    labels[:, 0], labels[:2, 1] = LABELS, True
    logits = np.log(np.stack([PROBABILITIES, PROBABILITIES + 0.1], 1) + 1e-6).astype(np.float32)
    task, record, notes = MultiLabel(("a", "b"), thresholds="f1").calibrated(logits, labels)
    assert [each["positives"] for each in record["thresholds"].values()] == [LABELS.sum(), 2]
    assert any(
        "b: 2 validation rows have it, fewer than 5; it keeps the shared threshold" in note for note in notes
    )
    scores = task.scores(torch.from_numpy(logits), torch.from_numpy(labels))
    predicted = task.decode(task.outputs(torch.from_numpy(logits)).numpy())["prediction"].to_pylist()
    given = np.array([[name in row for name in "ab"] for row in predicted])
    expected = [
        2 * (given[:, i] & labels[:, i]).sum() / (given[:, i].sum() + labels[:, i].sum()) for i in (0, 1)
    ]
    assert scores["f1_macro"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("positive", [None, "ham"])
def test_one_of_two_classes_has_a_threshold(positive):
    task = SingleLabel(thresholds="recall:0.9", positive=positive).fitted(["spam", "ham"])
    assert task.positive == (positive or "spam")
    column = task.names.index(task.positive)
    logits, ids = np.zeros((200, 2), dtype=np.float32), np.where(LABELS, column, 1 - column)
    logits[:, column] = np.log(PROBABILITIES + 1e-6)
    task, record, notes = task.calibrated(logits, ids)
    assert record == {"thresholds": {task.positive: {"threshold": task.cut_off, "positives": LABELS.sum()}}}
    assert not notes
    predicted = task.decode(task.outputs(torch.from_numpy(logits)).numpy())["prediction"]
    assert predicted == [task.names[index] for index in task.predicted(torch.from_numpy(logits))]
    is_given = np.array(predicted) == task.positive
    assert 0.9 <= (is_given & LABELS).sum() / LABELS.sum() < 1
    scores = task.scores(torch.from_numpy(logits), torch.from_numpy(ids))
    assert scores["accuracy"] == pytest.approx((is_given == LABELS).mean())
    assert SingleLabel(**task.settings(), names=task.names).cut_off == task.cut_off


def test_without_a_threshold_the_more_probable_class_is_predicted():
    logits = np.array([[0, 1], [0, 2]] * 10, dtype=np.float32)
    task = SingleLabel(("ham", "spam"), thresholds="precision:0.95", positive="spam")
    for ids, why in (
        (np.array([0, 1] * 10), "no threshold reaches it on the validation rows; the best is 0.5000"),
        (np.array([0, 1, 0, 1] + [0] * 16), "2 validation rows are of it, fewer than 5"),
    ):
        found, record, (note,) = task.calibrated(logits[:, ::-1].copy(), ids)
        assert why in note
        assert "the more probable class is predicted, as without task.thresholds" in note
        assert found.cut_off is None
        assert record["thresholds"]["spam"]["threshold"] == 0.5


def test_a_threshold_needs_two_classes():
    with pytest.raises(
        DataError, match=r"task\.thresholds=f1: .*but t\.csv has 3 \(a, b, c\); set it to null"
    ):
        SingleLabel(thresholds="f1").fitted(["a", "b", "c"], "t.csv")
    with pytest.raises(DataError, match=r"task\.positive=x: isn't one of the classes a, b of t\.csv"):
        SingleLabel(thresholds="f1", positive="x").fitted(["a", "b"], "t.csv")
    with pytest.raises(ConfigError, match=r"task\.positive=x: has no effect without task\.thresholds"):
        SingleLabel(positive="x")
