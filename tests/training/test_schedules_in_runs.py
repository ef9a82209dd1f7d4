"""Schedules by their choice in the configuration: what a run logs is what transformers' schedulers give."""

import csv
import math

import pytest
import torch
import transformers

from .running import train

pytestmark = pytest.mark.slow

STEPS = 20  # 160 rows, batches of 16, two epochs
WARMUP = 4
DECAY = 0.3


def reference(name, **arguments):
    """The multipliers of the steps of a run."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = getattr(transformers, name)(optimizer, num_warmup_steps=WARMUP, **arguments)
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def logged(folder):
    """Each logged column of the optimizer's groups, by name, over the steps."""
    with (folder / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name.startswith("lr-")]
    return {name: [float(row[name]) for row in rows if row[name]] for name in columns}


def run(folder, encoder, reviews, *overrides):
    settings = ["optimizer.lr=1e-3", "optimizer.layer_decay=0.5", f"optimizer.weight_decay={DECAY}"]
    settings += ["trainer.max_epochs=2", "schedule.warmup_ratio=0.2"]
    train(folder, encoder, reviews, *settings, *overrides)
    return logged(folder)


@pytest.mark.parametrize(
    ("overrides", "name", "arguments"),
    [
        (["schedule=constant"], "get_constant_schedule_with_warmup", {}),
        (["schedule=linear"], "get_linear_schedule_with_warmup", {"num_training_steps": STEPS}),
        (["schedule=cosine"], "get_cosine_schedule_with_warmup", {"num_training_steps": STEPS}),
        (
            ["schedule=cosine", "schedule.min_lr_ratio=0.25"],
            "get_cosine_with_min_lr_schedule_with_warmup",
            {"num_training_steps": STEPS, "min_lr_rate": 0.25},
        ),
        (["schedule=inverse_sqrt"], "get_inverse_sqrt_schedule", {}),
        (["schedule=inverse_sqrt", "schedule.timescale=3"], "get_inverse_sqrt_schedule", {"timescale": 3}),
        (
            ["schedule=warmup_stable_decay", "schedule.decay_ratio=0.25", "schedule.shape=cosine"],
            "get_wsd_schedule",
            {"num_training_steps": STEPS, "num_decay_steps": 5, "decay_type": "cosine"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_rates_of_every_layer(tmp_path, tiny_encoder, reviews, overrides, name, arguments):
    found = run(tmp_path, tiny_encoder, reviews, *overrides)
    multipliers = reference(name, **arguments)
    rates = {"embeddings": 1e-3 / 8, "layer.0": 1e-3 / 4, "layer.1": 1e-3 / 2, "head": 1e-3}
    for group, lr in rates.items():
        values = found[f"lr-AdamW/{group}"]
        assert values == pytest.approx([lr * value for value in multipliers], rel=1e-6), group


@pytest.mark.parametrize(
    ("overrides", "multiplier"),
    [
        (["weight_decay_schedule=constant"], lambda progress: 1.0),
        (["weight_decay_schedule=linear"], lambda progress: 1 - progress),
        (
            ["weight_decay_schedule=cosine", "weight_decay_schedule.end_ratio=2"],
            lambda progress: 2 - math.cos(math.pi / 2 * progress) ** 2,
        ),
    ],
    ids=["constant", "linear", "cosine"],
)
def test_the_weight_decay_of_every_layer(tmp_path, tiny_encoder, reviews, overrides, multiplier):
    found = run(tmp_path, tiny_encoder, reviews, *overrides)
    for group in ("embeddings", "layer.0", "layer.1", "head"):
        values = found[f"lr-AdamW/{group}-weight_decay"]
        expected = [DECAY * multiplier(step / STEPS) for step in range(STEPS)]
        assert values == pytest.approx(expected, rel=1e-6), group
        assert set(found[f"lr-AdamW/{group}/no_decay-weight_decay"]) == {0.0}
