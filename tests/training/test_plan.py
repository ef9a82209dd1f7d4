"""How long a run will be."""

import json
import math

import pytest
from lightning.pytorch import Trainer

from bert_ft.errors import ConfigError
from bert_ft.training.plan import Plan, plan_of

from .running import train


def trainer(**settings):
    return Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_checkpointing=False, **settings)


@pytest.mark.parametrize(
    ("num_rows", "max_epochs", "min_train_steps", "expected"),
    [
        (160, None, 0, Plan(batches=10, epochs=3, steps=30)),
        (160, None, 25, Plan(batches=10, epochs=3, steps=30)),
        (160, None, 31, Plan(batches=10, epochs=4, steps=40)),
        (161, None, 31, Plan(batches=11, epochs=3, steps=33)),
        (1, None, 600, Plan(batches=1, epochs=600, steps=600)),
        (160, 2, 600, Plan(batches=10, epochs=2, steps=20)),  # whoever gives a number means it
        (160, -1, 600, Plan(batches=10, epochs=-1, steps=math.inf)),
    ],
)
def test_epochs(num_rows, max_epochs, min_train_steps, expected):
    assert plan_of(trainer(), num_rows, 16, max_epochs, min_train_steps) == expected


@pytest.mark.parametrize(
    ("settings", "max_epochs", "expected"),
    [
        ({"max_steps": 7}, None, Plan(batches=10, epochs=-1, steps=7)),
        ({"max_steps": 7}, 2, Plan(batches=10, epochs=2, steps=7)),
        ({"max_steps": 70}, 2, Plan(batches=10, epochs=2, steps=20)),
        ({"accumulate_grad_batches": 4}, None, Plan(batches=10, epochs=17, steps=51)),  # of 3 steps
        ({"limit_train_batches": 0.5}, None, Plan(batches=5, epochs=10, steps=50)),
        ({"limit_train_batches": 0.0}, None, Plan(batches=0, epochs=50, steps=0)),
        ({"limit_train_batches": 2}, None, Plan(batches=2, epochs=3, steps=6)),  # a trial run
    ],
)
def test_with_settings_of_the_trainer(settings, max_epochs, expected):
    assert plan_of(trainer(**settings), 160, 16, max_epochs, 50) == expected


def test_batches_that_lightning_would_cut_anew(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError, match=r"trainer\.overfit_batches=2: .* set trainer\.limit_train_batches"):
        train(tmp_path, tiny_encoder, reviews, "+trainer.overfit_batches=2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["trainer.max_epochs=null", "trainer.min_train_steps=35"], 40),
        (["trainer.max_epochs=null", "trainer.min_train_steps=35", "trainer.max_steps=45"], 45),
        (["trainer.max_epochs=2", "trainer.min_train_steps=35"], 20),
    ],
)
def test_a_run_is_so_long_and_its_schedule_too(tmp_path, tiny_encoder, reviews, overrides, steps):
    train(tmp_path, tiny_encoder, reviews, *overrides, "logger=default")
    (path,) = (tmp_path / "csv").rglob("metrics.csv")
    lines = path.read_text().splitlines()
    column = next(i for i, name in enumerate(lines[0].split(",")) if name.startswith("lr-"))
    rates = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert len(rates) == steps
    assert rates[-1] == pytest.approx(max(rates) / (0.9 * steps), rel=0.2)  # one step before 0
    assert json.loads((tmp_path / "metrics.json").read_text())["stopped"] == "all steps done"
