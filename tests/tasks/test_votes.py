import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.special import rel_entr
from sklearn.metrics import accuracy_score, f1_score

from bert_ft.data.targets import cell_reader
from bert_ft.errors import ConfigError, DataError
from bert_ft.nn.losses import CrossEntropy
from bert_ft.tasks.metrics.agreement import agreement
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.votes import Votes

VOTES = np.array([[4, 1, 0], [2, 2, 1], [0, 5, 0], [1, 1, 3], [0, 0, 2], [3, 2, 0]], dtype=float)


def columns(votes):
    rows = [dict(zip("abc", row, strict=True)) for row in np.asarray(votes, dtype=float).tolist()]
    return pa.chunked_array([pa.array(rows)])


def test_counts_and_shares_are_one_data_set():
    task = SingleLabel().fitted(columns(VOTES))
    assert isinstance(task, Votes)
    shares = VOTES / VOTES.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(task.encode(columns(VOTES)), shares, rtol=1e-6)
    np.testing.assert_allclose(task.encode(columns(shares * 0.99)), shares, rtol=1e-6)
    assert task.majority_targets(task.encode(columns(VOTES))).tolist() == [0, -1, 1, 2, 2, 0]
    summary = task.summary(task.encode(columns(VOTES)))
    assert [summary[name] for name in ("a", "b", "c", "(no majority)")] == [2, 1, 2, 1]
    notes = " ".join(task.notes(columns(VOTES), "t"))
    assert "1 rows have no majority and count in the loss only: 2" in notes
    assert "isn't known from shares" in " ".join(task.notes(columns(shares), "t"))


@pytest.mark.parametrize(
    ("cell", "said"), [("-1", "below 0"), ("", "missing"), ("nan", "finite"), ("x", "finite")]
)
def test_what_is_no_vote_is_refused(cell, said):
    with pytest.raises(DataError, match=f"row 3, column 'a': .*{said}"):
        cell_reader(SingleLabel().reader, ["a", "b"]).read(cell, "row 3, column 'a'")


def test_rows_without_votes_are_refused():
    votes = VOTES.copy()
    votes[3] = 0
    with pytest.raises(DataError, match=r"t\.csv, row 4: the votes for a, b, c add up to 0"):
        Votes(("a", "b", "c")).encode(columns(votes), origin="t.csv")
    with pytest.raises(ConfigError, match=r"loss\.class_weights"):
        Votes(("a", "b", "c")).class_weights("balanced", votes)


def test_loss_and_metrics():
    task, shares = Votes(("a", "b", "c")), VOTES / VOTES.sum(axis=1, keepdims=True)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets, p = torch.from_numpy(shares), logits.softmax(1).numpy()
    assert float(task.plain_loss(logits, targets)) == pytest.approx(-(shares * np.log(p)).sum(1).mean())
    assert float(CrossEntropy()(logits, targets)) == pytest.approx(float(task.plain_loss(logits, targets)))
    rows = [0, 2, 3, 4, 5]  # with a majority
    true, predicted = shares[rows].argmax(1), p[rows].argmax(1)
    expected = {
        "accuracy": accuracy_score(true, predicted),
        "f1_macro": f1_score(true, predicted, average="macro"),
        "kl": rel_entr(shares, p).sum(1).mean(),
    }
    assert task.scores(logits, targets) == pytest.approx(expected)


def test_agreement_is_that_of_the_pairs():
    """Krippendorff's alpha from its coincidence matrix, pair by pair."""
    coincidences = np.zeros((3, 3))
    shares = []
    for row in VOTES.astype(int):
        votes = np.repeat(np.arange(3), row)
        pairs = [(a, b) for i, a in enumerate(votes) for j, b in enumerate(votes) if i != j]
        shares.append(np.mean([a == b for a, b in pairs]))
        for a, b in pairs:
            coincidences[a, b] += 1 / (len(votes) - 1)
    of_class, total = coincidences.sum(0), coincidences.sum()
    expected = (total**2 - (of_class**2).sum()) / (total - 1)
    alpha = 1 - (total - np.trace(coincidences)) / expected
    assert agreement(VOTES) == pytest.approx((np.mean(shares), alpha))
    assert agreement(VOTES / 2) is None
