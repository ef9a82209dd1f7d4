"""Weight-decay schedules in closed form, and their effect on real AdamW steps."""

import math

import pytest
import torch

from bert_ft.errors import ConfigError
from bert_ft.optim.weight_decay import Constant, Cosine, Linear, WeightDecayScheduler

TOTAL = 8


def new_optimizer(weight_decay=0.1, lr=0.5):
    decayed, undecayed = (torch.ones(2, requires_grad=True) for _ in range(2))
    return torch.optim.AdamW(
        [{"params": [decayed], "weight_decay": weight_decay}, {"params": [undecayed], "weight_decay": 0.0}],
        lr=lr,
    )


def train(optimizer, scheduler, steps):
    """Steps with zero gradients: what moves is the weight decay alone."""
    for step in steps:
        scheduler.step(step)
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = torch.zeros_like(param)
        optimizer.step()


def weights(optimizer):
    return [group["params"][0].detach().clone() for group in optimizer.param_groups]


@pytest.mark.parametrize("end_ratio", [0.0, 0.25, 4.0])
def test_closed_forms(end_ratio):
    for step in range(TOTAL + 1):
        linear = 1 + (end_ratio - 1) * step / TOTAL
        cosine = end_ratio + (1 - end_ratio) * math.cos(math.pi * step / TOTAL / 2) ** 2
        assert Linear(end_ratio=end_ratio).multiplier(TOTAL)(step) == pytest.approx(linear)
        assert Cosine(end_ratio=end_ratio).multiplier(TOTAL)(step) == pytest.approx(cosine)
        assert Constant().multiplier(TOTAL)(step) == 1.0


@pytest.mark.parametrize("schedule", [Linear(end_ratio=0.25), Cosine(end_ratio=0.25)])
def test_steps_past_the_end_keep_the_end_value(schedule):
    assert [schedule.multiplier(TOTAL)(step) for step in (TOTAL, TOTAL + 1, 1000)] == pytest.approx(
        [0.25] * 3
    )


def test_weights_shrink_by_the_product_of_lr_and_scheduled_decay():
    optimizer = new_optimizer()
    multiplier = Linear(end_ratio=0.0).multiplier(TOTAL)
    train(optimizer, WeightDecayScheduler(optimizer, multiplier), range(TOTAL))
    shrunk = math.prod(1 - 0.5 * 0.1 * (1 - step / TOTAL) for step in range(TOTAL))
    decayed, undecayed = weights(optimizer)
    torch.testing.assert_close(decayed, torch.full((2,), shrunk))
    assert torch.equal(undecayed, torch.ones(2))


def test_groups_at_zero_stay_at_zero_even_when_the_decay_grows():
    optimizer = new_optimizer()
    scheduler = WeightDecayScheduler(optimizer, Cosine(end_ratio=10.0).multiplier(TOTAL))
    for step in range(TOTAL + 1):
        scheduler.step(step)
        assert optimizer.param_groups[1]["weight_decay"] == 0.0
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(1.0)


def test_a_resumed_run_goes_on_from_the_initial_value():
    multiplier = Cosine(end_ratio=0.1).multiplier(TOTAL)
    straight = new_optimizer()
    train(straight, WeightDecayScheduler(straight, multiplier), range(TOTAL))

    first = new_optimizer()
    train(first, WeightDecayScheduler(first, multiplier), range(TOTAL // 2))
    resumed = new_optimizer()
    scheduler = WeightDecayScheduler(resumed, multiplier)
    resumed.load_state_dict(first.state_dict())
    with torch.no_grad():
        for group, values in zip(resumed.param_groups, weights(first), strict=True):
            group["params"][0].copy_(values)
    train(resumed, scheduler, range(TOTAL // 2, TOTAL))

    assert [g["weight_decay"] for g in resumed.param_groups] == [
        g["weight_decay"] for g in straight.param_groups
    ]
    assert torch.equal(weights(resumed)[0], weights(straight)[0])


def test_negative_end_ratio():
    with pytest.raises(ConfigError, match=r"weight_decay_schedule\.end_ratio=-0\.5: must be a number ≥ 0"):
        Linear(end_ratio=-0.5)
