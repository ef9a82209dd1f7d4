"""Weight-decay schedules in whole runs: what each step of the optimizer decays by, is logged, and goes on."""

import csv
import math

import pytest
import torch

from bert_ft.training.module import ClassificationModule

from .running import train
from .test_run import interrupted

pytestmark = pytest.mark.slow

STEPS = 20
DECAY = 0.1
SETTINGS = ["trainer.max_epochs=2", "trainer.accelerator=cpu", f"optimizer.weight_decay={DECAY}"]
FORMS = {
    "constant": lambda progress, end: 1.0,
    "linear": lambda progress, end: 1 + (end - 1) * progress,
    "cosine": lambda progress, end: end + (1 - end) * math.cos(math.pi * progress / 2) ** 2,
}


@pytest.fixture
def steps(monkeypatch):
    """A list that fills with the groups' weight decay, as the optimizer finds it in each of its steps."""
    seen = []

    def watch(module):
        optimizer = module.trainer.optimizers[0]

        def note(stepped, args, kwargs):
            seen.append([(group["name"], group["weight_decay"]) for group in stepped.param_groups])

        # after the closure, in which Lightning computes the gradients and calls its hooks
        optimizer.register_step_post_hook(note)

    monkeypatch.setattr(ClassificationModule, "on_train_start", watch)
    return seen


def closed_form(name, end, total=STEPS):
    return [DECAY * FORMS[name](step / total, end) for step in range(total)]


def overrides_of(name, end):
    return [f"weight_decay_schedule={name}"] + (
        [] if end is None else [f"weight_decay_schedule.end_ratio={end}"]
    )


def assert_follows(steps, expected):
    """In the groups that decay; the others stay at 0, and there are of both."""
    assert len(steps) == len(expected)
    for groups, value in zip(steps, expected, strict=True):
        undecayed = [decay for name, decay in groups if "no_decay" in name]
        decayed = [decay for name, decay in groups if "no_decay" not in name]
        assert set(undecayed) == {0.0}
        assert decayed == pytest.approx([value] * len(decayed), rel=1e-12, abs=1e-15)
        assert decayed


@pytest.mark.parametrize(
    ("name", "end"), [("constant", None), ("linear", 0.0), ("linear", 0.25), ("cosine", 0.0), ("cosine", 4.0)]
)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_each_step_has_its_value(tmp_path, tiny_encoder, reviews, steps, name, end, accumulate):
    train(
        tmp_path,
        tiny_encoder,
        reviews,
        *SETTINGS,
        *overrides_of(name, end),
        f"trainer.accumulate_grad_batches={accumulate}",
    )
    assert_follows(steps, closed_form(name, end, 2 * -(-10 // accumulate)))


def test_what_is_logged_is_what_acts(tmp_path, tiny_encoder, reviews, steps):
    """In the same row as the lr of that step."""
    train(tmp_path, tiny_encoder, reviews, *SETTINGS, *overrides_of("linear", 0.25))
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = [name for name in rows[0] if name.endswith("-weight_decay")]
    logged = [row for row in rows if row[columns[0]]]
    assert len(columns) == len(steps[0])
    assert [int(row["step"]) for row in logged] == list(range(STEPS))
    for row, groups in zip(logged, steps, strict=True):
        found = {
            column.split("/", 1)[1].removesuffix("-weight_decay"): float(row[column]) for column in columns
        }
        assert found == pytest.approx(dict(groups), rel=1e-6)
        assert row[columns[0].removesuffix("-weight_decay")]


def test_it_changes_the_weights(tmp_path, tiny_encoder, reviews):
    """The negative control."""
    states = {}
    for name in ("constant", "linear"):
        train(tmp_path / name, tiny_encoder, reviews, *SETTINGS, f"weight_decay_schedule={name}")
        states[name] = torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    table = "classifier.encoder.embeddings.word_embeddings.weight"
    assert not torch.equal(states["constant"][table], states["linear"][table])
    # letters as words, which no text has, shrink: by less if it comes down
    assert (states["constant"][table][20:31].abs() < states["linear"][table][20:31].abs()).all()


@pytest.mark.parametrize("step", [7, 17])
def test_a_resumed_run_goes_on_where_it_stopped(tmp_path, tiny_encoder, reviews, monkeypatch, steps, step):
    """Seven steps into an epoch; the last validation was after five."""
    arguments = (
        tiny_encoder,
        reviews,
        *SETTINGS,
        *overrides_of("cosine", 0.2),
        "trainer.val_check_interval=0.5",
    )
    train(tmp_path / "whole", *arguments)
    expected = closed_form("cosine", 0.2)
    assert_follows(steps, expected)
    last = interrupted(
        monkeypatch,
        "on_train_batch_start",
        lambda module: module.global_step == step,
        tmp_path / "broken",
        *arguments,
    )
    steps.clear()
    train(tmp_path / "broken", *arguments, f"resume_from={last}")
    assert_follows(steps, expected[step - 2 :])
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
