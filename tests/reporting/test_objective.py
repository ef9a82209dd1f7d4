import numpy as np
import pytest

from bert_ft.reporting.objective import best_so_far, kept_point, objective_of
from bert_ft.reporting.run_log import RunLog
from bert_ft.reporting.scalars import Series


def log(mode: str, values: list[float], metrics=None) -> RunLog:
    tag = "val/loss" if mode == "min" else "val/accuracy"
    steps = 10 * np.arange(1, len(values) + 1)
    scalars = {tag: Series(steps, np.array(values)), "val/f1_macro": Series(steps, np.array(values) / 2)}
    return RunLog(
        folder=None, scalars=scalars, metrics=metrics, config={"objective": {"metric": tag, "mode": mode}}
    )


@pytest.mark.parametrize(("mode", "best"), [("max", (20, 0.75)), ("min", (30, 0.25))])
def test_best_so_far(mode, best):
    assert best_so_far(log(mode, [0.5, 0.75, 0.25, np.nan])) == best


@pytest.mark.parametrize("values", [[], [np.nan]])
def test_no_best(values):
    assert best_so_far(log("max", values)) is None
    assert best_so_far(RunLog(folder=None)) is None


def test_the_objective_of_metrics_counts():
    metrics = {"objective": {"metric": "val/kappa"}}
    assert objective_of(log("max", [0.5], metrics)) == ("val/kappa", "max")


def test_the_kept_checkpoint_is_marked_with_its_own_value():
    metrics = {"val": {"accuracy": 0.7, "loss": None}, "checkpoint": {"step": 20}}
    kept = log("max", [0.5, 0.7], metrics)
    assert kept_point(kept, "val/accuracy") == (20, 0.7, "kept checkpoint")
    assert kept_point(kept, "val/loss") is None


def test_without_metrics_the_best_so_far_is_marked_on_every_curve():
    broken_off = log("max", [0.5, 0.75, 0.25])
    assert kept_point(broken_off, "val/accuracy") == (20, 0.75, "best so far")
    assert kept_point(broken_off, "val/f1_macro") == (20, 0.375, "best so far")
    assert kept_point(broken_off, "val/kappa") is None
