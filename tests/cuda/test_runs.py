"""Whole runs on a GPU: every precision, and what depends on the device."""

import json

import pytest
import torch

from bert_ft.models.bundle import load_bundle
from bert_ft.pretrain import main as pretrain
from tests.training import running
from tests.training.running import interrupted, reloaded_logits, small_stage

pytestmark = pytest.mark.slow
STILL = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0", "model.head.dropout=0.0"]


def train(*arguments):
    return running.train(*arguments[:3], "trainer.accelerator=cuda", "trainer.precision=32", *arguments[3:])


def weights_of(folder):
    return load_bundle(folder / "model").classifier.state_dict()


def distance(one, other):
    squares = [(one[name].float() - other[name].float()).square().sum() for name in one]
    return float(sum(squares)) ** 0.5


@pytest.mark.parametrize(
    ("precision", "effective"),
    [
        ("32", "32-true"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("16-mixed", "16-mixed"),
        ("bf16-true", "bf16-true"),
    ],
)
def test_it_learns_in_every_precision(tmp_path, tiny_encoder, reviews, precision, effective):
    settings = ["trainer.max_epochs=4", f"trainer.precision={precision}", "trainer.gradient_clip_val=1.0"]
    _, metrics = train(tmp_path, tiny_encoder, reviews, *settings)
    assert metrics["precision"]["effective"] == effective
    assert "gpu" in json.loads((tmp_path / "environment.json").read_text())
    assert metrics["test"]["accuracy"] >= 0.9
    logits, labels = reloaded_logits(tmp_path, reviews, "test")  # on the CPU
    assert (logits.argmax(1) == labels).float().mean().item() == pytest.approx(
        metrics["test"]["accuracy"], abs=0.03
    )


def test_the_default_is_16_bits_where_the_gpu_has_them(tmp_path, tiny_encoder, reviews):
    name = "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "16-mixed"
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.precision=auto", "trainer.max_epochs=1")
    assert metrics["precision"] == {"requested": name, "effective": name}


def test_float16_throughout(tmp_path, tiny_encoder, reviews):
    """Adam's epsilon is too small for it; that it runs, and that its values are float16, is what can be had."""
    settings = ["trainer.max_epochs=1", "trainer.precision=16-true", "optimizer.lr=1e-4"]
    _, metrics = train(tmp_path, tiny_encoder, reviews, *settings)
    assert metrics["precision"]["effective"] == "16-true"


@pytest.mark.parametrize("precision", ["16", "bf16"])
def test_mixed_precision_ends_near_float32(tmp_path, tiny_encoder, reviews, precision):
    """Clipped, fused and scaled: a gradient unscaled twice, or not at all, would end far away."""
    settings = ["trainer.max_epochs=1", "trainer.gradient_clip_val=0.1", "optimizer.lr=1e-4", *STILL]
    for name in ("32", precision):
        train(tmp_path / name, tiny_encoder, reviews, *settings, f"trainer.precision={name}")
    exact, found = weights_of(tmp_path / "32"), weights_of(tmp_path / precision)
    train(tmp_path / "none", tiny_encoder, reviews, *settings, "optimizer.lr=1e-12")
    start = weights_of(tmp_path / "none")
    assert distance(exact, found) < 0.3 * distance(exact, start)


def test_a_gpu_gives_what_a_cpu_gives(tmp_path, tiny_encoder, reviews):
    settings = ["trainer.max_epochs=1", "optimizer.lr=1e-3", *STILL]
    losses = []
    for accelerator in ("cpu", "cuda"):
        folder = tmp_path / accelerator
        train(folder, tiny_encoder, reviews, *settings, f"trainer.accelerator={accelerator}")
        lines = (folder / "csv/version_0/metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("train/loss")
        losses.append([float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [
        ["loss=adversarial", "loss.adversarial_epsilon=0.1", "trainer.precision=16"],
        ["loss=r_drop"],
        ["loss=supervised_contrastive"],
        ["averaging=swa", "averaging.start_ratio=0.5"],
        ["averaging=ema", "trainer.precision=bf16"],
        ["encoder.gradient_checkpointing=true"],
        ["encoder.freeze_layers=1", "encoder.cache_frozen=true"],
        ["model=bert_linear"],
        ["model.pooling=attention", "trainer.accumulate_grad_batches=3"],
        ["data.max_tokens=64"],
        ["monitor=full", "report=true"],
        ["pretrain=mlm_contrastive", "pretrain.trainer.precision=bf16", "pretrain.optimizer.lr=1e-3"],
    ],
    ids=lambda more: more[0],
)
def test_each_technique_learns(tmp_path, tiny_encoder, reviews, more):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=5", *more)
    assert metrics["test"]["accuracy"] >= 0.85


def test_checkpointing_repeats_the_dropout_and_holds_less(tmp_path, tiny_encoder, reviews):
    weights = []
    for name, more in (("plain", []), ("checkpointed", ["encoder.gradient_checkpointing=true"])):
        settings = ["trainer.max_epochs=1", "optimizer.lr=1e-3", *more]
        train(tmp_path / name, tiny_encoder, reviews, *settings)
        weights.append(weights_of(tmp_path / name))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=5e-4)


def test_a_resumed_run_goes_on_as_the_uninterrupted_one(tmp_path, tiny_encoder, reviews, monkeypatch):
    """With dropout, whose random numbers are the GPU's; its kernels add in no fixed order."""
    arguments = (tiny_encoder, reviews, "optimizer.lr=1e-3", "schedule=constant", "trainer.max_epochs=2")
    train(tmp_path / "whole", *arguments)

    broken = ("on_train_epoch_start", lambda module: module.current_epoch == 1, tmp_path / "broken")
    last = interrupted(monkeypatch, *broken, *arguments, "trainer.accelerator=cuda")
    halfway = torch.load(last, weights_only=True)["state_dict"]
    train(tmp_path / "broken", *arguments, f"resume_from={last}")
    resumed = torch.load(last, weights_only=True)["state_dict"]
    whole = torch.load(tmp_path / "whole/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert distance(whole, resumed) < 0.02 * distance(whole, halfway)


def test_a_stage_alone(tmp_path, tiny_encoder, reviews):
    pretrain(
        small_stage(
            tmp_path,
            tiny_encoder,
            reviews,
            "pretrain=mlm",
            "trainer.accelerator=cuda",
            "trainer.precision=16",
        )
    )
    assert json.loads((tmp_path / "metrics.json").read_text())
