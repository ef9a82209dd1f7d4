"""How long a run will be."""

import itertools
import json
import math

import pytest
from lightning.pytorch import Trainer

from bert_ft.errors import ConfigError
from bert_ft.training.plan import Plan, num_validations, patience_for, plan_of, validation_steps

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


@pytest.mark.parametrize(
    ("batches", "epochs", "num_validation_rows", "expected"),
    [
        (100, 10, 100, 20),
        (100_000, 3, 20_000, 20),  # several times an epoch
        (5, 120, 10, 20),  # less than once an epoch
        (100, 10, 1000, 5),  # four are affordable; at least one an epoch, up to five
        (100, 10, 100_000, 5),
        (10, 2, 40, 2),  # as few as epochs
        (10, 1, 40, 1),
        (100, 1, 10, 4),  # 25 steps apart
    ],
)
def test_validations_are_spaced_evenly_and_bounded_in_cost(batches, epochs, num_validation_rows, expected):
    plan = Plan(batches, epochs, batches * epochs)
    steps = validation_steps(trainer(), plan, 16, num_validation_rows)
    assert len(steps) == expected
    assert steps[-1] == plan.steps
    assert max(b - a for a, b in itertools.pairwise([0, *steps])) <= math.ceil(plan.steps / len(steps))
    if len(steps) > min(epochs, 5):
        assert len(steps) * num_validation_rows <= 0.3 * 16 * plan.steps


def test_validations_count_the_rows_of_all_processes_and_windows():
    plan = Plan(100, 10, 250)  # windows of four batches
    steps = validation_steps(trainer(accumulate_grad_batches=4), plan, 16, 480)
    assert steps == [25, 50, 75, 100, 125, 150, 175, 200, 225, 250]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 10),
        ({"val_check_interval": 0.5}, 20),
        ({"val_check_interval": 30}, 30),
        ({"val_check_interval": 300, "check_val_every_n_epoch": None}, 3),
        ({"check_val_every_n_epoch": 3}, 3),
    ],
)
def test_number_of_validations_by_lightnings_settings(settings, expected):
    assert num_validations(trainer(**settings), Plan(100, 10, 1000)) == expected
    assert patience_for(expected) == max(5, math.ceil(expected / 2))


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
