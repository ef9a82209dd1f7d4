import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from torch.nn.functional import binary_cross_entropy_with_logits

from bert_ft.errors import ConfigError, DataError
from bert_ft.nn.grade_losses import SmoothedGrades
from bert_ft.tasks.ordinal import Ordinal

SCALE = Ordinal(order=tuple(range(1, 11)))


def column(*texts):
    return pa.chunked_array([pa.array(texts, pa.string())])


def test_grades_are_read_by_number_or_by_the_given_order():
    task = SCALE.fitted(column("1.0", "2.0", "10.0"))
    assert task.class_names == tuple(map(str, range(1, 11)))
    assert task.encode(column("1", "10.0", "1e1")).tolist() == [0, 9, 9]
    assert task.names[:2] == ("above 1", "above 2")
    assert list(task.summary_warnings(task.summary(np.array([0, 1, 9])))) == ["no row of 3, 4, 5, 6, 7, 8, 9"]
    assert Ordinal().fitted(column("10", "9", "1.0")).class_names == ("1", "9", "10")
    named = Ordinal(order=["no", "maybe", "yes"]).fitted(column("yes", "no"))
    assert [named.describe(target) for target in named.encode(column("no", "yes"))] == ["no", "yes"]


def test_what_is_no_scale_is_refused():
    with pytest.raises(
        DataError, match=r"e\.csv, row 2: '11' isn't among the grades 1, 2, .*\(task\.order\)"
    ):
        SCALE.encode(column("3", "11"), origin="e.csv")
    with pytest.raises(
        DataError, match=r"'no' isn't a number, so .*from the lowest: 'task\.order=\[no,yes\]'"
    ):
        Ordinal().fitted(column("yes", "no"))
    with pytest.raises(ConfigError, match=r"task\.order=.*quote them"):
        Ordinal(order=[False, "maybe", True])
    with pytest.raises(ConfigError, match="names a grade twice"):
        Ordinal(order=[1, "1.0"])
    with pytest.raises(ConfigError, match="at least two grades"):
        Ordinal(order=[1])


def test_the_loss_is_that_of_the_paper_times_its_decisions_a_row():
    """Each decision is learned from the rows that reach it, as in the reference implementation."""
    task = Ordinal(order=(1, 2, 3, 4))
    logits, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4
    total = 0.0
    for k in range(3):
        reach = targets >= k
        total += float(
            binary_cross_entropy_with_logits(logits[reach, k], (targets[reach] > k).float(), reduction="sum")
        )
    assert float(task.plain_loss(logits, targets)) == pytest.approx(total / 20)
    probabilities = task.probabilities(logits)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(20))
    above = 1 - probabilities.cumsum(1)
    assert (above.diff(dim=1) <= 0).all()
    columns = task.decode(task.outputs(logits).numpy())
    assert columns["prediction"] == [task.class_names[index] for index in task.predicted(logits)]
    assert len(task.probability_columns(task.outputs(logits).numpy())) == 4


@pytest.mark.parametrize("spread", [0.7, 1e-3, 0.0])
def test_a_smoothed_grade_is_a_normal_curve_over_the_scale(spread):
    """Without spread it is the plain loss."""
    logits, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4
    curve = np.exp(-((np.arange(4) - targets.numpy()[:, None]) ** 2) / (2 * max(spread, 1e-3) ** 2))
    log_probabilities = np.log(Ordinal(order=(1, 2, 3, 4)).probabilities(logits).numpy())
    expected = -(curve / curve.sum(1, keepdims=True) * log_probabilities).sum(1).mean()
    assert float(SmoothedGrades(spread)(logits, targets)) == pytest.approx(expected, rel=1e-5)


def test_metrics_are_over_the_whole_scale():
    true, predicted = np.array([1, 1, 2, 2, 9, 9, 10, 10, 10, 1]), np.array([1, 2, 2, 9, 9, 10, 10, 9, 10, 1])
    metrics = SCALE.metrics()
    for half in (slice(0, 3), slice(3, 10)):
        for metric in metrics.values():
            metric.update(torch.from_numpy(predicted[half] - 1), torch.from_numpy(true[half] - 1))
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    kappa = cohen_kappa_score(true, predicted, labels=range(1, 11), weights="quadratic")
    assert found == pytest.approx({"quadratic_kappa": kappa, "mae": 1.0, "accuracy": 0.6})
    assert kappa == pytest.approx(0.8438, abs=5e-5)
    assert {*found, "loss"} == set(SCALE.objectives)
