"""Settings of averaging that make no sense, each refused by its key."""

import pytest

from bert_ft.callbacks.averaging import ExponentialAveraging, StochasticAveraging
from bert_ft.errors import ConfigError
from tests.training.running import train

from .averaged import EMA, PLAIN


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (
            StochasticAveraging,
            {"start_ratio": 1.5},
            r"averaging\.start_ratio=1\.5: must be a number ≥ 0 and ≤ 1",
        ),
        (ExponentialAveraging, {"start_ratio": -0.1}, r"averaging\.start_ratio=-0\.1: must be"),
        (StochasticAveraging, {"every_n_steps": 0}, r"averaging\.every_n_steps=0: must be an integer ≥ 1"),
        (ExponentialAveraging, {"decay": 1.0}, r"averaging\.decay=1\.0: must be a number ≥ 0 and < 1"),
        (
            StochasticAveraging,
            {"follow_schedule": True, "lr_ratio": 0.5},
            r"averaging\.follow_schedule=true: .* averaging\.lr_ratio and averaging\.cycle_steps to null",
        ),
        (
            StochasticAveraging,
            {"follow_schedule": True, "cycle_steps": 3},
            r"averaging\.follow_schedule=true",
        ),
    ],
)
def test_out_of_range(kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        kind(**arguments)


def test_an_end_in_time_alone(tmp_path, tiny_encoder, reviews):
    """A share of what isn't known beforehand."""
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=-1: no end is set"):
        train(
            tmp_path, tiny_encoder, reviews, *EMA, "trainer.max_epochs=-1", "trainer.max_time='00:00:01:00'"
        )


def test_a_start_in_the_warm_up_is_refused_before_training(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError, match=r"averaging\.start_ratio=0\.0: step 1 of 20 is in the warm-up"):
        train(
            tmp_path,
            tiny_encoder,
            reviews,
            *PLAIN,
            "averaging=swa",
            "averaging.start_ratio=0.0",
            "schedule.warmup_ratio=0.2",
        )
