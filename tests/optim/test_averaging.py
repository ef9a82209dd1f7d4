"""When averaging starts, the rate that it trains under in closed form, and the step of the average against torch."""

import math

import pytest
import torch

from bert_ft.errors import ConfigError
from bert_ft.optim.averaging import AveragingTail, first_averaged_step, move_towards
from bert_ft.optim.schedules import Constant, Cosine, Linear

TOTAL = 20


class TestFirstAveragedStep:
    @pytest.mark.parametrize(
        ("total_steps", "start_ratio", "step"),
        [
            (20, 0.0, 1),
            (20, 0.05, 1),
            (20, 0.051, 2),
            (20, 0.5, 10),
            (21, 0.5, 11),
            (20, 1.0, 20),
            (1, 0.5, 1),
        ],
    )
    def test_by_hand(self, total_steps, start_ratio, step):
        assert first_averaged_step(total_steps, start_ratio) == step
        assert first_averaged_step(float(total_steps), start_ratio) == step

    @pytest.mark.parametrize("total_steps", [100, 1000, 100_000])
    def test_shares_without_an_exact_float(self, total_steps):
        assert math.ceil(0.07 * 100) == 8
        for percent in range(1, 101):
            assert first_averaged_step(total_steps, percent / 100) == percent * total_steps // 100

    def test_without_an_end(self):
        with pytest.raises(
            ConfigError, match=r"averaging\.start_ratio=0\.5: the number of steps is infinite"
        ):
            first_averaged_step(math.inf, 0.5)


def values(schedule, total_steps=TOTAL):
    multiplier = schedule.multiplier(total_steps)
    return [multiplier(step) for step in range(total_steps + 5)]


class TestAveragingTail:
    @pytest.mark.parametrize("schedule", [Linear(warmup_steps=3), Cosine(), Constant(warmup_ratio=0.1)])
    @pytest.mark.parametrize("cycle_steps", [None, 4])
    def test_is_the_schedule_before_the_start(self, schedule, cycle_steps):
        tail = AveragingTail(schedule=schedule, start_ratio=0.5, lr_ratio=0.3, cycle_steps=cycle_steps)
        assert values(tail)[:10] == values(schedule)[:10]
        assert values(tail)[10:] != values(schedule)[10:]

    @pytest.mark.parametrize("lr_ratio", [0.3, 1.0, 1.5])
    @pytest.mark.parametrize("cycle_steps", [None, 1])
    def test_constant(self, lr_ratio, cycle_steps):
        tail = AveragingTail(schedule=Linear(), start_ratio=0.4, lr_ratio=lr_ratio, cycle_steps=cycle_steps)
        assert values(tail)[8:] == [lr_ratio] * (TOTAL + 5 - 8)

    def test_without_a_ratio_what_has_been_reached_is_kept(self):
        tail = AveragingTail(schedule=Linear(), start_ratio=0.25)
        assert values(tail)[5:] == [0.75] * TOTAL
        assert values(tail)[4] == 0.8

    @pytest.mark.parametrize(("lr_ratio", "top"), [(0.8, 0.8), (None, 0.5)])
    @pytest.mark.parametrize("cycle_end_ratio", [0.0, 0.1, 1.0])
    def test_cycles(self, lr_ratio, top, cycle_end_ratio):
        """Steps 10 to 13 are the first whole cycle: the weights of step 10, counted from 1, are the first averaged."""
        tail = AveragingTail(
            schedule=Linear(),
            start_ratio=0.5,
            lr_ratio=lr_ratio,
            cycle_steps=4,
            cycle_end_ratio=cycle_end_ratio,
        )
        cycle = [top * (1 + (cycle_end_ratio - 1) * place / 3) for place in range(4)]
        assert cycle[0] == top
        assert cycle[-1] == pytest.approx(top * cycle_end_ratio)
        assert values(tail)[10:22] == pytest.approx(cycle * 3)

    @pytest.mark.parametrize("start_ratio", [0.0, 0.05, 0.2])
    def test_a_start_in_the_warm_up(self, start_ratio):
        """There the low rate would be kept throughout, without a word."""
        schedule = Linear(warmup_steps=5)
        with pytest.raises(
            ConfigError, match=rf"averaging\.start_ratio={start_ratio}: step \d of 20 is in the"
        ):
            AveragingTail(schedule=schedule, start_ratio=start_ratio).multiplier(TOTAL)
        AveragingTail(schedule=schedule, start_ratio=start_ratio, lr_ratio=1.0).multiplier(TOTAL)

    @pytest.mark.parametrize("schedule", [Linear(warmup_steps=5), Constant(warmup_steps=5), Constant()])
    def test_a_start_at_the_end_of_the_warm_up(self, schedule):
        assert set(values(AveragingTail(schedule=schedule, start_ratio=0.25))[5:]) == {1.0}


def random_tensors(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in [(3, 4), (7,), ()]
    ]


class TestMoveTowards:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    @pytest.mark.parametrize("weight", [0.0, 0.01, 0.3, 0.9, 1.0])
    def test_equals_torch_in_float64(self, dtype, weight):
        averaged, current = random_tensors(dtype), random_tensors(dtype, seed=1)
        expected = [
            torch.lerp(a.double(), b.double(), weight) for a, b in zip(averaged, current, strict=True)
        ]
        unchanged = [tensor.clone() for tensor in current]
        move_towards(averaged, current, weight)
        for mean, value in zip(averaged, expected, strict=True):
            assert mean.dtype == dtype
            # a rounding of each of three operations on numbers below 4
            torch.testing.assert_close(mean.double(), value, rtol=0, atol=12 * torch.finfo(dtype).eps)
        assert all(map(torch.equal, current, unchanged))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_16_bits_are_averaged_in_float32(self, dtype):
        averaged, current = random_tensors(torch.float32), random_tensors(dtype, seed=1)
        expected = [0.9 * a.double() + 0.1 * b.double() for a, b in zip(averaged, current, strict=True)]
        move_towards(averaged, current, 0.1)
        for mean, value in zip(averaged, expected, strict=True):
            assert mean.dtype == torch.float32
            torch.testing.assert_close(mean.double(), value, rtol=0, atol=1e-6)

    def test_equal_values_stay_as_they_are_to_the_last_bit(self):
        """Frozen weights and such."""
        averaged, expected = random_tensors(torch.float32), random_tensors(torch.float32)
        for weight in (0.01, 0.3, 1 / 3, 0.9):
            move_towards(averaged, random_tensors(torch.float32), weight)
        assert all(map(torch.equal, averaged, expected))

    def test_what_is_no_number_on_a_line_is_copied(self):
        averaged = [torch.tensor([1, 2]), torch.tensor(True), torch.tensor([1.0])]
        move_towards(averaged, [torch.tensor([5, 9]), torch.tensor(False), torch.tensor([3.0])], 0.5)
        assert averaged[0].tolist() == [5, 9]
        assert not averaged[1]
        assert averaged[2].item() == 2.0

    def test_without_any_float(self):
        averaged = [torch.tensor([1, 2])]
        move_towards(averaged, [torch.tensor([3, 4])], 0.5)
        assert averaged[0].tolist() == [3, 4]
        move_towards([], [], 0.5)

    def test_parameters_are_moved_in_place(self):
        mean = torch.nn.Parameter(torch.zeros(2))
        move_towards([mean], [torch.ones(2, requires_grad=True)], 0.25)
        assert mean.tolist() == [0.25, 0.25]
        assert mean.requires_grad
        assert mean.grad_fn is None
