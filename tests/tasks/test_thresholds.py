import numpy as np
import pytest
import torch

from bert_ft.errors import ConfigError
from bert_ft.tasks.multi_label import MultiLabel
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
