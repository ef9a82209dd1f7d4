"""Accumulated gradients against torch's of one batch with all rows, in float64."""

import contextlib
import copy
import csv
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.utils.data import DataLoader

from bert_ft.data.packing import pack
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import set_dropout
from bert_ft.nn.losses import CrossEntropy
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.schedules import Constant
from bert_ft.reporting.run_log import read_run
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.accumulation import AccumulationWindow
from bert_ft.training.module import ClassificationModule
from bert_ft.training.objective import Objective
from tests.models.families import VOCAB_SIZE, tiny_config
from tests.several_processes import in_two

from .running import train, train_in_two

LABELS = ("a", "b", "c")
CLASS_WEIGHTS = [0.5, 1.0, 4.0]
EVEN, UNEVEN = [2, 2, 2, 2], [3, 1, 4, 2]
WEIGHTED = pytest.mark.parametrize("class_weights", [None, CLASS_WEIGHTS], ids=["rows", "class weights"])


def classifier():
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(LABELS).config_entries())
    set_dropout(config, 0.0, 0.0)
    model = ResidualClassifier(empty_encoder(config), pooling="mean", dropout=0.0)
    nn.init.normal_(model.head.classifier.weight, std=0.3)  # as a fresh one it would pass on little
    return model.double().train()


def texts(num_rows, seed=0):
    """``(ids, label)``"""
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(5, VOCAB_SIZE, size=rng.integers(2, 9)), int(rng.integers(len(LABELS))))
        for _ in range(num_rows)
    ]


def batch_of(rows):
    return pack([ids for ids, _ in rows], range(len(rows)), labels=[label for _, label in rows])


def divided(rows, sizes):
    ends = np.cumsum(sizes)
    return [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def expected_gradients(model, rows, class_weights):
    """Torch's of all rows as one batch."""
    model = copy.deepcopy(model)
    batch = batch_of(rows)
    weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    loss = F.cross_entropy(model(batch), batch.as_given(batch.labels), weight=weight)
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, named.values()), strict=True))


def gradients(model):
    return {name: value.grad.clone() for name, value in model.named_parameters()}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)


def assert_different(found, expected):
    assert max((found[name] - expected[name]).abs().max().item() for name in found) > 1e-4


def objective_of(class_weights):
    return Objective(CrossEntropy(class_weights=class_weights)).double()


def accumulated(model, batches, accumulate, class_weights, window=None):
    """As Lightning calls it: each loss is divided by the batches of a full window."""
    window, objective = window or AccumulationWindow(), objective_of(class_weights)
    model.zero_grad()
    for rows in batches:
        batch = batch_of(rows)
        loss, _ = objective(model, batch, 4096)
        (window.add(loss, objective.weight(batch.labels), len(batch)) / accumulate).backward()
    window.finish(model.parameters(), accumulate)
    return gradients(model)


class PlainDivision(AccumulationWindow):
    """What Lightning does by itself."""

    def add(self, loss, weight, num_rows):
        return loss

    def finish(self, parameters, accumulate_grad_batches):
        pass


class TestWindow:
    @WEIGHTED
    @pytest.mark.parametrize("sizes", [EVEN, UNEVEN, [5], [1, 7]], ids=str)
    @pytest.mark.parametrize("accumulate", [4, 6])
    def test_equals_one_batch(self, sizes, accumulate, class_weights):
        """With 6 the window isn't full."""
        model, rows = classifier(), texts(sum(sizes))
        expected = expected_gradients(model, rows, class_weights)
        assert_close(accumulated(model, divided(rows, sizes), accumulate, class_weights), expected)

    @pytest.mark.parametrize(
        ("sizes", "accumulate", "class_weights", "is_equal"),
        [
            (EVEN, 4, None, True),
            (EVEN, 5, None, False),
            (UNEVEN, 4, None, False),
            (EVEN, 4, CLASS_WEIGHTS, False),
        ],
    )
    def test_plain_division_is_equal_in_the_simplest_case_alone(
        self, sizes, accumulate, class_weights, is_equal
    ):
        """The negative control."""
        model, rows = classifier(), texts(sum(sizes))
        expected = expected_gradients(model, rows, class_weights)
        found = accumulated(model, divided(rows, sizes), accumulate, class_weights, PlainDivision())
        (assert_close if is_equal else assert_different)(found, expected)

    @WEIGHTED
    def test_windows_know_nothing_of_each_other(self, class_weights):
        model, window = classifier(), AccumulationWindow()
        for sizes, seed in ((UNEVEN, 1), ([1, 2], 2), (EVEN, 3)):
            rows = texts(sum(sizes), seed)
            found = accumulated(model, divided(rows, sizes), 4, class_weights, window)
            assert_close(found, expected_gradients(model, rows, class_weights))

    def test_a_full_window_of_equal_batches_is_left_as_it_is(self):
        """To the last bit: a run that doesn't accumulate has no part in any of this."""
        model, rows = classifier(), texts(8)
        for sizes in ([8], EVEN):
            found = accumulated(model, divided(rows, sizes), len(sizes), None)
            plain = accumulated(model, divided(rows, sizes), len(sizes), None, PlainDivision())
            assert all(torch.equal(found[name], plain[name]) for name in found)

    def test_parameters_without_a_gradient_are_left_out(self):
        used, unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
        window = AccumulationWindow()
        (window.add(3 * used.sum(), 1, 1) / 2).backward()
        window.finish([used, unused], 2)
        assert used.grad.item() == 3
        assert unused.grad is None

    def test_other_precisions_beside_each_other(self):
        parameters = [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)]
        window = AccumulationWindow()
        for weight in (1.0, 3.0):
            loss = sum(weight * parameter.float().sum() for parameter in parameters)
            (window.add(loss, torch.tensor(weight), 1) / 4).backward()
        window.finish(parameters, 4)
        for parameter in parameters:  # (1 · 1 + 3 · 3) / (1 + 3)
            assert parameter.grad.tolist() == [2.5, 2.5]


class Compare(Callback):
    """At each optimizer step, the gradients and what torch gives for the window's rows and the present weights."""

    def __init__(self, batches, accumulate, class_weights):
        self.class_weights = class_weights
        self.windows = [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]
        self.found, self.expected = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        window = self.windows[trainer.global_step % len(self.windows)]
        rows = [row for batch in window for row in batch]
        self.found.append(gradients(pl_module.classifier))
        self.expected.append(expected_gradients(pl_module.classifier, rows, self.class_weights))


def fit(batches, accumulate, class_weights=None, epochs=2):
    compare = Compare(batches, accumulate, class_weights)
    module = ClassificationModule(
        classifier(),
        task=SingleLabel(LABELS),
        objective=objective_of(class_weights),
        optimizer=LayerwiseOptimizer(partial(AdamW, fused=True), lr=1e-2),
        schedule=Constant(),
        max_tokens=4096,
    )
    trainer = Trainer(
        accelerator="cpu",
        precision="64-true",
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.01,  # by then the gradients have been looked at
        callbacks=[compare],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader([batch_of(rows) for rows in batches], batch_size=None)
    trainer.fit(module, loader)
    return compare


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
class TestTraining:
    @WEIGHTED
    @pytest.mark.parametrize(
        ("sizes", "accumulate"),
        [([3, 2, 4, 1, 3, 2, 1], 3), ([2, 2, 2, 1], 2), ([2, 3], 1), ([2, 3], 5), ([2] * 4, 2)],
        ids=["uneven, one left over", "last batch smaller", "one", "never full", "even"],
    )
    def test_each_step_takes_the_gradient_of_its_rows(self, sizes, accumulate, class_weights):
        compare = fit(divided(texts(sum(sizes)), sizes), accumulate, class_weights)
        assert len(compare.found) == 2 * -(-len(sizes) // accumulate)
        for found, expected in zip(compare.found, compare.expected, strict=True):
            assert_close(found, expected)

    def test_plain_division_takes_others(self, monkeypatch):
        """The negative control: a full window of even batches alone is the same, the partial one is too small."""
        monkeypatch.setattr("bert_ft.training.encoder_module.AccumulationWindow", PlainDivision)
        compare = fit(divided(texts(10), [2] * 5), 3, epochs=1)
        (full, partial_), expected = compare.found, compare.expected
        assert_close(full, expected[0])
        assert_close(partial_, {name: value * 2 / 3 for name, value in expected[1].items()})
        assert_different(partial_, expected[1])


def train_one_of_two(rank, folder, class_weights, sum_over_processes):
    """Gradients of this process's batches, which DDP has averaged, in ``folder``."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = DistributedDataParallel(classifier())
    window, objective = AccumulationWindow(), objective_of(class_weights)
    batches = divided(texts(20), [3, 3, 1, 1, 4, 4, 2, 2])[rank::2]
    if not sum_over_processes:
        distributed.is_initialized = lambda: False
    for index, rows in enumerate(batches):
        batch = batch_of(rows)
        with contextlib.nullcontext() if index == len(batches) - 1 else model.no_sync():
            logits = model(batch)
            loss = objective.loss(logits, batch.as_given(batch.labels))
            (window.add(loss, objective.weight(batch.labels), len(batch)) / 5).backward()
    window.finish(model.parameters(), 5)
    if rank == 0:
        torch.save(gradients(model.module), f"{folder}/gradients.pt")


@pytest.mark.slow
@pytest.mark.parametrize("sum_over_processes", [True, False])
def test_two_processes_take_the_gradient_of_all_rows(tmp_path, sum_over_processes):
    """Class weights differ between the processes, so each alone would divide by another sum."""
    arguments = (str(tmp_path), CLASS_WEIGHTS, sum_over_processes)
    in_two(lambda rank: train_one_of_two(rank, *arguments), tmp_path)
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    expected = expected_gradients(classifier(), texts(20), CLASS_WEIGHTS)
    (assert_close if sum_over_processes else assert_different)(found, expected)


@pytest.mark.slow
def test_validations_are_logged_at_the_steps_done(tmp_path, tiny_encoder, reviews):
    """Ten batches in windows of four, with a validation after three, six and nine: steps 0, 1 and 2, and 3, 4, 5."""
    settings = ["trainer.max_epochs=2", "trainer.accumulate_grad_batches=4", "trainer.val_check_interval=3"]
    train(tmp_path, tiny_encoder, reviews, *settings, "monitor=light", "report=true")
    log = read_run(tmp_path)
    expected = [0, 1, 2, 3, 4, 5]
    for tag in ("val/loss", "val/accuracy", "confidence/ece"):
        assert log.scalars[tag].steps.tolist() == expected, tag
    assert log.scalars["train/loss"].steps.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(tmp_path, tiny_encoder, reviews):
    """Rank r has rows r, r + 2, …: two batches of 8 are one of 16. With a partial window, 10 batches of 3 each."""
    settings = [
        "trainer.accelerator=cpu",
        "trainer.precision=64",
        "trainer.max_epochs=2",
        "trainer.accumulate_grad_batches=3",
        "loss.class_weights=[1,6]",
        "encoder.hidden_dropout=0.0",
        "encoder.attention_dropout=0.0",
        "model.head.dropout=0.0",
    ]
    train(tmp_path / "one", tiny_encoder, reviews, *settings, "data.batch_size=16")
    train_in_two(tmp_path / "two", tiny_encoder, reviews, *settings, "data.batch_size=8")
    norms = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        with (folder / "csv/version_0/metrics.csv").open() as file:
            rows = csv.DictReader(file)
            norms.append([float(row["train/grad_norm"]) for row in rows if row["train/grad_norm"]])
    assert len(norms[0]) == 8
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)
    one, two = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6, msg=name)
