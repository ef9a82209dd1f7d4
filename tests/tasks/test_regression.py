import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from omegaconf import OmegaConf
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from bert_ft.config.build.task import check_objective
from bert_ft.errors import ConfigError, DataError
from bert_ft.evaluation.scored import Scored
from bert_ft.evaluation.training_labels import baseline_of
from bert_ft.nn.number_losses import Huber
from bert_ft.tasks.metrics.number_scores import number_scores
from bert_ft.tasks.numbers import Numbers
from bert_ft.tasks.regression import Regression


def column(*values):
    return pa.chunked_array([pa.array(values, pa.float64())])


@pytest.mark.parametrize(
    ("cell", "value"), [(" 3.5 ", 3.5), ("1e1", 10), ("+2.5", 2.5), ("-.5", -0.5), (7, 7), (0.25, 0.25)]
)
def test_numbers_are_read(cell, value):
    assert Numbers().read(cell, "x") == value


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        *(
            (cell, "isn't a finite number")
            for cell in ("nan", "Infinity", "1_000", "4/5", "n/a", "1e999", "٣", True)
        ),
        *((cell, "the number is missing") for cell in ("", None, float("nan"))),
        ("3,5", "'3,5' has a decimal comma; write 3.5"),
    ],
)
def test_what_is_no_number_is_refused(cell, said):
    with pytest.raises(DataError, match=r"x\.csv, row 7, column 'score': ") as error:
        Numbers().read(cell, "x.csv, row 7, column 'score'")
    assert said in str(error.value)


@pytest.mark.parametrize(("offset", "unit"), [(0, 1), (1e7, 1), (0, 1e-5)])
def test_metrics_are_those_of_scipy_and_scikit_learn(offset, unit):
    """Also through standardized float32, of numbers that float32 would round."""
    rng = np.random.default_rng(0)
    true = offset + unit * rng.integers(10, size=50).astype(float)
    predicted = true + unit * rng.normal(size=50)
    expected = {
        "pearson": pearsonr(predicted, true).statistic,
        "spearman": spearmanr(predicted, true).statistic,
        "mae": mean_absolute_error(true, predicted),
        "rmse": root_mean_squared_error(true, predicted),
        "r2": r2_score(true, predicted),
    }
    assert number_scores(predicted, true) == pytest.approx(expected)
    task = Regression().fitted(column(*true))
    logits = torch.from_numpy((predicted - task.center) / task.scale).float()[:, None]
    found = task.scores(logits, torch.from_numpy(task.encode(column(*true))))
    assert found == pytest.approx(expected, rel=1e-5)
    assert {*found, "loss"} == set(task.objectives)
    np.testing.assert_allclose(
        task.decode(task.outputs(logits).numpy())["prediction"], predicted, atol=1e-6 * unit
    )


def test_undefined_correlations():
    assert math.isnan(number_scores(np.arange(3.0), np.ones(3))["spearman"])
    assert number_scores(np.ones(3), np.arange(3.0)) == pytest.approx(
        {"pearson": 0, "spearman": 0, "mae": 2 / 3, "rmse": math.sqrt(2 / 3), "r2": 0}
    )
    task = Regression().fitted(column(1, 2, 3))
    same = task.encode(column(2, 2))
    (warning,) = task.summary_warnings(task.summary(same))
    assert "all rows have the number 2, so that correlations" in warning
    config = OmegaConf.create({"objective": {"metric": "val/spearman"}})
    with pytest.raises(
        ConfigError, match=r"objective\.metric=val/spearman: isn't defined .* all have 2; .*val/mae"
    ):
        check_objective(config, task, same)
    check_objective(config, task, task.encode(column(1, 2)))
    with pytest.raises(DataError, match=r"t\.csv: all training rows have the number 3\.5"):
        Regression().fitted(column(3.5, 3.5), "t.csv")


def test_losses_and_the_baseline():
    rng = np.random.default_rng(0)
    task = Regression().fitted(column(*rng.normal(5, 2, size=40)))
    targets = torch.from_numpy(task.encode(column(3, 9, 4)))
    logits = torch.randn(3, 1, generator=torch.Generator().manual_seed(0))
    assert float(task.plain_loss(logits, targets)) == pytest.approx(
        float(torch.nn.MSELoss()(logits, targets))
    )
    assert float(Huber(0.7)(logits, targets)) == pytest.approx(
        float(torch.nn.HuberLoss(delta=0.7)(logits, targets))
    )
    baseline = baseline_of(Scored(task, np.zeros((3, 1), np.float32), targets.numpy()), None).values
    assert baseline["mae"] == pytest.approx(np.abs(np.array([3, 9, 4]) - task.center[0]).mean())
    assert baseline["spearman"] == 0
    gaussian = Regression(variance=True).fitted(column(1, 2, 6))
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.GaussianNLLLoss()(logits[:, :1], targets, logits[:, 1:].exp())
    assert float(gaussian.plain_loss(logits, targets)) == pytest.approx(float(expected))
    assert list(gaussian.decode(gaussian.outputs(logits).numpy())) == ["prediction", "deviation"]


def test_several_targets():
    rows = [{"clarity": float(i), "tone": float(i % 3) * 100} for i in range(30)]
    labels = pa.chunked_array([pa.array(rows)])
    task = Regression().fitted(labels)
    targets = task.encode(labels)
    assert targets.shape == (30, 2)
    assert task.names == ("clarity", "tone")
    np.testing.assert_allclose(task.in_unit(targets)[:, 1], [i % 3 * 100 for i in range(30)], atol=1e-5)
    assert list(task.decode(task.outputs(torch.zeros(1, 2)).numpy())) == [
        "prediction_clarity",
        "prediction_tone",
    ]
    assert len(set(task.strata(targets).tolist())) == 3
