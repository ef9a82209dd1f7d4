import math

import pytest
import torch

from bert_ft.errors import ConfigError
from bert_ft.optim.averaging import AveragingTail, first_averaged_step, move_towards
from bert_ft.optim.schedules import Linear


@pytest.mark.parametrize(("ratio", "step"), [(0, 1), (0.25, 25), (0.251, 26), (1, 100)])
def test_the_first_averaged_step(ratio, step):
    assert first_averaged_step(100, ratio) == step


def test_a_share_of_no_end_is_refused():
    with pytest.raises(ConfigError, match=r"averaging\.start_ratio=0\.5.*infinite"):
        first_averaged_step(math.inf, 0.5)


def test_the_rate_follows_the_schedule_and_then_stays():
    schedule = Linear(warmup_steps=10)
    before, tailed = (
        schedule.multiplier(100),
        AveragingTail(schedule=schedule, start_ratio=0.5).multiplier(100),
    )
    assert [tailed(step) for step in range(50)] == [before(step) for step in range(50)]
    assert {tailed(step) for step in range(50, 101)} == {before(50)}
    given = AveragingTail(schedule=schedule, start_ratio=0.5, lr_ratio=0.3).multiplier(100)
    assert {given(step) for step in range(50, 101)} == {0.3}


def test_cycles_fall_on_a_line_and_start_anew():
    tail = AveragingTail(
        schedule=Linear(), start_ratio=0.5, lr_ratio=0.8, cycle_steps=5, cycle_end_ratio=0.25
    ).multiplier(100)
    assert [tail(step) for step in range(50, 60)] == pytest.approx(2 * [0.8, 0.65, 0.5, 0.35, 0.2])


def test_moving_is_torchs_lerp_in_the_averages_precision():
    generator = torch.Generator().manual_seed(0)
    averaged = [torch.randn(7, 3, generator=generator), torch.arange(4)]
    current = [torch.randn(7, 3, generator=generator).bfloat16(), torch.tensor([5, 6, 7, 8])]
    expected = torch.lerp(averaged[0].double(), current[0].double(), 0.3)
    move_towards(averaged, current, 0.3)
    torch.testing.assert_close(averaged[0].double(), expected, atol=1e-6, rtol=0)
    assert averaged[1].tolist() == [5, 6, 7, 8]
