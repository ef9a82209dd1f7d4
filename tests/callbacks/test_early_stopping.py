"""Validations by steps, and a patience that fits their number."""

import csv
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from bert_ft.callbacks.early_stopping import EarlyStopping
from tests.golden.texts import write_csv
from tests.training.running import train


class Steps:
    """The part of a Trainer that early stopping reads."""

    fast_dev_run = sanity_checking = should_stop = False
    current_epoch = global_step = 0
    world_size = 1

    def __init__(self):
        self.state = SimpleNamespace(fn=TrainerFn.FITTING)
        self.strategy = SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision)


def stopped_at(stopper, scores, averaging=None):
    """The validation, from 1, that ends training; None if none does."""
    trainer = Steps()
    for number, score in enumerate(scores, 1):
        trainer.global_step += 10
        trainer.callback_metrics = {"val/accuracy": torch.tensor(score)}
        if averaging is not None:
            averaging.num_averaged = max(0, number - 12)
        stopper.on_validation_end(trainer, SimpleNamespace(averaging=averaging))
        if trainer.should_stop:
            return number
    return None


@pytest.mark.parametrize(
    ("patience", "planned", "scores", "expected"),
    [
        ("auto", 20, [0.5, 1.0, *[1.0] * 18], 12),  # a tie is no improvement
        ("auto", 20, [0.5 + 0.02 * n for n in range(20)], None),
        ("auto", 6, [1.0] * 6, 6),
        ("auto", 5, [1.0] * 5, None),
        (3, 20, [0.9, 0.8, 0.8, 0.9], 4),
    ],
)
def test_patience(patience, planned, scores, expected):
    stopper = EarlyStopping("val/accuracy", mode="max", patience=patience)
    stopper.plan(planned)
    assert stopped_at(stopper, scores) == expected
    again = EarlyStopping("val/accuracy", mode="max", patience=patience)
    again.load_state_dict(stopper.state_dict())
    assert again.step_of_best == stopper.step_of_best == 10 * (scores.index(max(scores)) + 1)


def test_patience_is_counted_from_the_start_of_averaging():
    stopper = EarlyStopping("val/accuracy", mode="max")
    stopper.plan(10)
    assert stopped_at(stopper, [1.0] * 20, SimpleNamespace(num_averaged=0)) == 17


def losses(folder):
    (path,) = (folder / "csv").rglob("metrics.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return [(row["step"], row["train/loss"]) for row in rows]


@pytest.mark.slow
def test_validations_leave_training_as_it_is_and_the_last_step_is_validated(tmp_path, tiny_encoder, reviews):
    settings = ("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "logger=default")
    found = []
    for interval in ("auto", "null", "3"):
        folder = tmp_path / interval
        _, record = train(folder, tiny_encoder, reviews, *settings, f"trainer.val_check_interval={interval}")
        found.append(losses(folder))
        assert record["stopped"] == "all steps done"
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 30


@pytest.mark.slow
def test_an_easy_run_ends_before_its_last_step_as_accurate_as_the_whole_one(tmp_path, tiny_encoder):
    rows = [(f"{'good' if row % 2 else 'bad'} {row}", "yes" if row % 2 else "no") for row in range(400)]
    path = tmp_path / "easy.csv"
    write_csv(path, ["text", "label"], rows)
    length = ("trainer.max_epochs=null", "trainer.min_train_steps=250")
    _, stopped = train(tmp_path / "stopped", tiny_encoder, {"train": path}, *length)
    _, whole = train(
        tmp_path / "whole", tiny_encoder, {"train": path}, *length, "callbacks.early_stopping=null"
    )
    assert stopped["stopped"].startswith("no better val/accuracy for ")
    assert " of 260" in stopped["stopped"]
    assert whole["stopped"] == "all steps done"
    assert stopped["checkpoint"]["step"] < whole["checkpoint"]["step"] == 260
    assert stopped["test"]["accuracy"] == whole["test"]["accuracy"] == 1.0
