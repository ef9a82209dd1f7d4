"""Schedules against those of transformers, step by step, and at their limits."""

import pytest
import torch
import transformers

from bert_ft.errors import ConfigError
from bert_ft.optim.schedules import Constant, Cosine, InverseSqrt, Linear, WarmupStableDecay

ALL = [Constant, Linear, Cosine, InverseSqrt, WarmupStableDecay]


def reference(name, num_steps, **kwargs):
    """Return the lr at the steps 0..num_steps of one of transformers' schedulers, at a base lr of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = getattr(transformers, f"get_{name}")(optimizer, **kwargs)
    lrs = []
    for _ in range(num_steps + 1):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


def values(schedule, total_steps):
    multiplier = schedule.multiplier(total_steps)
    return [multiplier(step) for step in range(total_steps + 1)]


@pytest.mark.parametrize(("warmup", "total"), [(0, 41), (1, 40), (7, 41), (40, 40)])
@pytest.mark.parametrize(
    ("schedule", "ours", "name", "theirs"),
    [
        (Constant, {}, "constant_schedule_with_warmup", {}),
        (Linear, {}, "linear_schedule_with_warmup", {"num_training_steps": None}),
        (Cosine, {}, "cosine_schedule_with_warmup", {"num_training_steps": None}),
        (
            Cosine,
            {"min_lr_ratio": 0.1},
            "cosine_with_min_lr_schedule_with_warmup",
            {"num_training_steps": None, "min_lr_rate": 0.1},
        ),
        (InverseSqrt, {}, "inverse_sqrt_schedule", {}),
        (InverseSqrt, {"timescale": 5}, "inverse_sqrt_schedule", {"timescale": 5}),
    ],
)
def test_equals_transformers(schedule, ours, name, theirs, warmup, total):
    theirs = {key: total if key == "num_training_steps" else value for key, value in theirs.items()}
    expected = reference(name, total, num_warmup_steps=warmup, **theirs)
    assert values(schedule(warmup_steps=warmup, **ours), total) == expected


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize(("warmup", "decay_ratio", "num_decay"), [(4, 0.25, 10), (0, 0.5, 20), (0, 1.0, 40)])
def test_warmup_stable_decay_equals_transformers(shape, warmup, decay_ratio, num_decay):
    steps = {"num_warmup_steps": warmup, "num_decay_steps": num_decay, "num_training_steps": 40}
    expected = reference("wsd_schedule", 40, **steps, decay_type=shape)
    schedule = WarmupStableDecay(warmup_steps=warmup, decay_ratio=decay_ratio, shape=shape)
    assert values(schedule, 40) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Constant(), 1.0),
        (Linear(), 0.0),
        (Cosine(), 0.0),
        (Cosine(min_lr_ratio=0.3), 0.3),
        (InverseSqrt(timescale=10), (1 / 3) ** 0.5),
        (WarmupStableDecay(), 0.0),
    ],
)
def test_steps_past_the_end_keep_the_end_value(schedule, end):
    multiplier = schedule.multiplier(20)
    assert [multiplier(step) for step in (20, 21, 1000)] == pytest.approx([end] * 3)


@pytest.mark.parametrize("schedule", ALL)
def test_warmup_ratio_is_the_share_of_all_steps_rounded_up(schedule):
    assert values(schedule(warmup_ratio=0.1), 41) == values(schedule(warmup_steps=5), 41)
    assert values(schedule(warmup_ratio=0.1), 41) != values(schedule(warmup_steps=4), 41)


@pytest.mark.parametrize("schedule", ALL)
def test_no_warmup_starts_at_the_full_lr(schedule):
    for warmup in ({}, {"warmup_steps": 0}, {"warmup_ratio": 0.0}):
        assert schedule(**warmup).multiplier(100)(0) == 1.0


def test_warmup_longer_than_the_training():
    message = (
        r"schedule\.warmup_steps=800 exceeds total_steps=500; "
        r"lower it or raise trainer\.max_epochs or trainer\.max_steps"
    )
    with pytest.raises(ConfigError, match=message):
        Linear(warmup_steps=800).multiplier(500)


def test_both_warmups():
    with pytest.raises(
        ConfigError, match=r"schedule\.warmup_steps=0 and schedule\.warmup_ratio=0\.1 exclude"
    ):
        Linear(warmup_steps=0, warmup_ratio=0.1)


def test_an_endless_training():
    with pytest.raises(ConfigError, match=r"infinite; set trainer\.max_epochs or trainer\.max_steps"):
        Linear().multiplier(float("inf"))


def test_warmup_and_decay_that_overlap():
    with pytest.raises(
        ConfigError, match=r"schedule\.decay_ratio=0\.6 takes 60 of total_steps=100.*takes 50"
    ):
        WarmupStableDecay(warmup_ratio=0.5, decay_ratio=0.6).multiplier(100)


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (Linear, {"warmup_steps": -1}, r"schedule\.warmup_steps=-1: must"),
        (Cosine, {"min_lr_ratio": -0.1}, r"schedule\.min_lr_ratio=-0\.1: must"),
        (InverseSqrt, {"timescale": 0}, r"schedule\.timescale=0: must"),
        (
            WarmupStableDecay,
            {"shape": "sqrt"},
            r"schedule\.shape=sqrt: must be one of linear, cosine, 1-sqrt",
        ),
    ],
)
def test_out_of_range(schedule, arguments, message):
    with pytest.raises(ConfigError, match=message):
        schedule(**arguments)
