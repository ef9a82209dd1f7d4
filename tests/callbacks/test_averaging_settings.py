"""Settings of averaging: learning rates beside an average in closed form, and settings that are refused."""

import csv

import pytest
import torch

from bert_ft.callbacks.averaging import ExponentialAveraging, StochasticAveraging
from bert_ft.config.build import fine_tuning
from bert_ft.errors import ConfigError
from tests.training.running import train

from .averaged import EMA, PLAIN, SWA, TABLE, assert_equal, difference, finished, trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "rows"),
    [(EMA, "split"), ([*SWA, "averaging.follow_schedule=true"], "whole")],
    ids=["ema", "swa along the schedule"],
)
def test_averaging_does_not_change_training(tmp_path, tiny_encoder, reviews, monkeypatch, overrides, rows):
    if rows == "whole":
        monkeypatch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
    _, plain, _ = finished(tmp_path / "plain", tiny_encoder, reviews)
    _, other, _ = finished(tmp_path / "other", tiny_encoder, reviews, *overrides)
    assert plain.losses == other.losses
    assert plain.rates == other.rates
    assert len(plain.raw) == len(other.raw) == 20
    for one, two in zip(plain.raw, other.raw, strict=True):
        assert_equal(trained(one), trained(two))
    assert difference(plain.validated[20], other.validated[20]) > 1e-4
    if rows == "split":  # their decay is applied at once instead of step by step, which rounds differently
        unused = TABLE.replace("weight", "unused")
        torch.testing.assert_close(plain.raw[-1][unused], other.raw[-1][unused], rtol=1e-2, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "tail"),
    [
        ([], [0.75] * 15),
        (["averaging.lr_ratio=0.5"], [0.5] * 15),
        (["averaging.lr_ratio=0.5", "averaging.cycle_steps=3"], [0.5, 0.275, 0.05] * 5),
    ],
    ids=["kept", "given", "cycles"],
)
def test_layers_keep_the_ratio_of_their_rates(tmp_path, tiny_encoder, reviews, overrides, tail):
    rates = ["schedule.warmup_ratio=null", "optimizer.layer_decay=0.5", "optimizer.head_lr=0.01"]
    _, recorder, _ = finished(tmp_path, tiny_encoder, reviews, *SWA, *overrides, *rates)
    multipliers = [1 - step / 20 for step in range(5)] + tail
    initial = recorder.initial_rates
    assert len(set(initial)) == 4  # embeddings, two layers, head
    for rates, multiplier in zip(recorder.rates, multipliers, strict=True):
        assert rates == pytest.approx([rate * multiplier for rate in initial], rel=1e-12)
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("lr-") and "weight_decay" not in name]
    logged = [sorted(float(row[name]) for name in names if row[name]) for row in rows]
    for rates, expected in zip(filter(None, logged), recorder.rates, strict=True):
        assert rates == pytest.approx(sorted(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (StochasticAveraging, {"start_ratio": 1.5}, r"start_ratio=1\.5: must be a number ≥ 0 and ≤ 1"),
        (StochasticAveraging, {"every_n_steps": 0}, r"every_n_steps=0: must be an integer ≥ 1"),
        (ExponentialAveraging, {"decay": 1.0}, r"decay=1\.0: must be a number ≥ 0 and < 1"),
        (
            StochasticAveraging,
            {"follow_schedule": True, "lr_ratio": 0.5},
            r"follow_schedule=true: .* to null",
        ),
        (StochasticAveraging, {"follow_schedule": True, "cycle_steps": 3}, r"follow_schedule=true"),
    ],
)
def test_out_of_range(kind, arguments, message):
    with pytest.raises(ConfigError, match=rf"averaging\.{message}"):
        kind(**arguments)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [*EMA, "trainer.max_epochs=-1", "trainer.max_time='00:00:01:00'"],
            r"trainer\.max_epochs=-1: a schedule needs an end",
        ),
        (
            [*PLAIN, "averaging=swa", "averaging.start_ratio=0.0", "schedule.warmup_ratio=0.2"],
            r"averaging\.start_ratio=0\.0: step 1 of 20 is in the warm-up",
        ),
    ],
    ids=["no number of steps", "a start in the warm-up"],
)
def test_a_run_without_a_start_is_refused(tmp_path, tiny_encoder, reviews, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, *overrides)
