"""Clipped gradients against torch's functions, and logged norms against those recomputed in float64."""

import contextlib
import copy
import csv
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import AdamW
from torch.utils.data import DataLoader

from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import set_dropout
from bert_ft.nn.losses import CrossEntropy
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.schedules import Constant
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.clipping import clip_gradients
from bert_ft.training.module import ClassificationModule
from bert_ft.training.objective import Objective
from tests.models.families import random_batch, tiny_config

from .running import train


def before_and_after(clipped):
    return clipped.before, clipped.after


def parameters(scale=1.0, dtype=torch.float32):
    """Some with gradients, one without."""
    generator = torch.Generator().manual_seed(0)
    found = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in [(3, 4), (7,), (), (2, 2)]]
    for parameter in found[:-1]:
        parameter.grad = (scale * torch.randn(parameter.shape, generator=generator)).to(dtype)
    return found


def gradients(of):
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in of]


def norm(tensors):
    """In float64."""
    return np.sqrt(sum((tensor.double().numpy() ** 2).sum() for tensor in tensors if tensor is not None))


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is other is None) or torch.equal(one, other)


class TestClipGradients:
    @pytest.mark.parametrize("limit", [1e-3, 1.0, 4.0, 1e3])
    @pytest.mark.parametrize("scale", [1e-4, 1.0, 100.0])
    def test_by_norm_equals_torch(self, limit, scale):
        ours, reference = parameters(scale), parameters(scale)
        before, after = before_and_after(clip_gradients(ours, limit, "norm"))
        assert torch.equal(before, clip_grad_norm_(reference, limit))
        assert_equal(gradients(ours), gradients(reference))
        assert before.item() == pytest.approx(norm(gradients(parameters(scale))), rel=1e-6)
        assert after.item() == pytest.approx(norm(gradients(ours)), rel=1e-6)
        assert after <= limit * (1 + 1e-6)
        assert (after < before) == (before > limit)

    @pytest.mark.parametrize("limit", [1e-3, 0.5, 1e3])
    def test_by_value_equals_torch(self, limit):
        ours, reference = parameters(), parameters()
        before, after = before_and_after(clip_gradients(ours, limit, "value"))
        clip_grad_value_(reference, limit)
        assert_equal(gradients(ours), gradients(reference))
        assert before.item() == pytest.approx(norm(gradients(parameters())), rel=1e-6)
        assert after.item() == pytest.approx(norm(gradients(ours)), rel=1e-6)
        assert (after < before) == (limit < 2)

    @pytest.mark.parametrize("algorithm", ["norm", "value"])
    def test_without_a_limit_nothing_is_clipped(self, algorithm):
        ours = parameters(100.0)
        before, after = before_and_after(clip_gradients(ours, None, algorithm))
        assert_equal(gradients(ours), gradients(parameters(100.0)))
        assert before.item() == after.item() == pytest.approx(norm(gradients(ours)), rel=1e-6)

    @pytest.mark.parametrize("limit", [None, 1.0])
    @pytest.mark.parametrize("algorithm", ["norm", "value"])
    def test_without_gradients_the_norm_is_zero(self, limit, algorithm):
        for none in ([], [nn.Parameter(torch.ones(2))]):
            assert [float(value) for value in before_and_after(clip_gradients(none, limit, algorithm))] == [
                0,
                0,
            ]
        zero = nn.Parameter(torch.ones(2))
        zero.grad = torch.zeros(2)
        assert [float(value) for value in before_and_after(clip_gradients([zero], limit, algorithm))] == [
            0,
            0,
        ]
        assert zero.grad.tolist() == [0, 0]

    def test_float64(self):
        ours, reference = parameters(100.0, torch.float64), parameters(100.0, torch.float64)
        before, after = before_and_after(clip_gradients(ours, 1.0, "norm"))
        assert torch.equal(before, clip_grad_norm_(reference, 1.0))
        assert_equal(gradients(ours), gradients(reference))
        assert after.item() == pytest.approx(norm(gradients(ours)), rel=1e-6)

    def test_norms_of_bfloat16_are_float32(self):
        ours = parameters(100.0, torch.bfloat16)
        unclipped = [gradient.double() for gradient in gradients(ours) if gradient is not None]
        expected = norm(unclipped)
        before, after = before_and_after(clip_gradients(ours, 1.0, "norm"))
        assert before.item() == pytest.approx(expected, rel=1e-6)
        assert after.item() == pytest.approx(1, rel=1e-6)
        clipped = [gradient for gradient in gradients(ours) if gradient is not None]
        for found, wanted in zip(clipped, unclipped, strict=True):
            torch.testing.assert_close(found.double(), wanted / expected, rtol=2**-8, atol=0)

    def test_an_infinite_gradient_shows(self):
        ours = parameters()
        ours[0].grad[0, 0] = float("inf")
        before, after = before_and_after(clip_gradients(ours, 1.0, "norm"))
        assert before.isinf()
        assert not after.isfinite()


class Norms(Callback):
    """Norms before and after clipping, in float64."""

    def __init__(self):
        self.before, self.after, self.largest = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before.append(norm(gradients(pl_module.classifier.parameters())))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        found = gradients(pl_module.classifier.parameters())
        if any(tensor is not None for tensor in found):
            self.after.append(norm(found))
            self.largest.append(max(tensor.abs().max().item() for tensor in found if tensor is not None))


@pytest.fixture
def norms(monkeypatch):
    """Of each step of a run, independent of what it logs."""
    callback = Norms()
    fitted = Trainer.fit

    def fit(trainer, *arguments, **options):
        trainer.callbacks.append(callback)
        # zero_grad is called before the next backward pass: the last step's gradients are seen at the end
        fitted(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fit)
    return callback


def logged(folder):
    """Each step's norms before and after, as the csv file has them."""
    with (folder / "csv/version_0/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/grad_norm"]]
    return [[float(row[f"train/{name}"]) for row in rows] for name in ("grad_norm", "grad_norm_clipped")]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    ("overrides", "limit"),
    [
        (["trainer.gradient_clip_val=0.05"], 0.05),
        (["trainer.gradient_clip_val=1e6"], 1e6),
        (["trainer.gradient_clip_val=null"], np.inf),
        (["trainer.gradient_clip_val=1e-3", "trainer.gradient_clip_algorithm=value"], None),
        (["trainer.gradient_clip_val=0.05", "optimizer.algorithm.fused=false"], 0.05),
        (["trainer.gradient_clip_val=0.05", "trainer.precision=bf16-mixed"], 0.05),
    ],
    ids=["norm", "far away", "none", "value", "not fused", "bf16-mixed"],
)
def test_a_run_logs_its_norms(tmp_path, tiny_encoder, reviews, norms, overrides, limit, accumulate):
    train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        f"trainer.accumulate_grad_batches={accumulate}",
        *overrides,
    )
    before, after = logged(tmp_path)
    assert len(before) == -(-10 // accumulate)
    assert before == pytest.approx(norms.before, rel=1e-5)
    # a float32 sum of 1e5 squares that are all alike has no rounding errors that cancel
    assert after[: len(norms.after)] == pytest.approx(norms.after, rel=1e-4)
    assert len(norms.after) >= len(before) - 1
    if limit is None:
        assert max(norms.largest) == pytest.approx(1e-3)
        assert max(after) < min(before)
    else:
        assert after == pytest.approx(np.minimum(before, limit), rel=1e-5)
        assert max(after) <= limit * (1 + 1e-6)
        assert (max(after) < min(before)) == (limit < 1)


@pytest.mark.slow
def test_a_norm_that_nobody_reads_is_not_computed(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Without a limit, at the steps between two that are logged."""
    calls = []

    def clip(*arguments):
        calls.append(arguments)
        return clip_gradients(*arguments)

    monkeypatch.setattr("bert_ft.training.encoder_module.clip_gradients", clip)
    settings = ["trainer.max_epochs=2", "trainer.log_every_n_steps=4", "trainer.gradient_clip_val=null"]
    train(tmp_path / "every fourth", tiny_encoder, reviews, *settings)
    assert len(calls) == len(logged(tmp_path / "every fourth")[0]) == 5
    train(tmp_path / "limit", tiny_encoder, reviews, *settings, "trainer.gradient_clip_val=1.0")
    assert len(calls) == 5 + 20
    assert len(logged(tmp_path / "limit")[0]) == 5


class ScaledOnly(MixedPrecision):
    """A scaler as on a GPU, but no autocast: scaled by a power of two, gradients have the same digits."""

    def __init__(self):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=10**6)
        super().__init__("16-mixed", "cpu", scaler)

    def forward_context(self):
        return contextlib.nullcontext()


class Clipped(Callback):
    """The gradients that the optimizer steps on."""

    def __init__(self):
        self.steps = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        found = gradients(pl_module.classifier.parameters())
        if any(tensor is not None for tensor in found):
            self.steps.append(found)


def fit(*, fused, limit, algorithm="norm", scaled):
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(("a", "b", "c")).config_entries())
    set_dropout(config, 0.0, 0.0)
    module = ClassificationModule(
        ResidualClassifier(empty_encoder(config), pooling="mean", dropout=0.0).train(),
        task=SingleLabel(("a", "b", "c")),
        objective=Objective(CrossEntropy()),
        optimizer=LayerwiseOptimizer(partial(AdamW, fused=fused), lr=1e-3),
        schedule=Constant(),
        max_tokens=4096,
    )
    clipped = Clipped()
    trainer = Trainer(
        accelerator="cpu",
        plugins=[ScaledOnly()] if scaled else None,
        max_epochs=1,
        accumulate_grad_batches=2,
        gradient_clip_val=limit,
        gradient_clip_algorithm=algorithm,
        log_every_n_steps=1,
        callbacks=[clipped],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = [random_batch([3, 5, 9, 4], seed=seed) for seed in range(8)]
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return clipped.steps, copy.deepcopy(module.classifier.state_dict()), trainer.callback_metrics


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec")
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("limit", "algorithm"), [(0.05, "norm"), (1e-4, "value"), (None, "norm")], ids=["norm", "value", "none"]
)
def test_scaled_gradients_are_clipped_as_others_are(fused, limit, algorithm):
    """Lightning refuses a fused optimizer here, which unscales in its step."""
    found, weights, metrics = fit(fused=fused, limit=limit, algorithm=algorithm, scaled=True)
    expected, expected_weights, expected_metrics = fit(
        fused=fused, limit=limit, algorithm=algorithm, scaled=False
    )
    assert len(found) == len(expected) >= 3
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)
    for name, value in weights.items():
        assert torch.equal(value, expected_weights[name]), name
    for name in ("train/grad_norm", "train/grad_norm_clipped"):
        assert metrics[name] == expected_metrics[name] > 0
    assert (metrics["train/grad_norm"] > metrics["train/grad_norm_clipped"]) == (limit is not None)
