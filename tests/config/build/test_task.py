"""What is refused of a task, and of what a run builds on it, before training."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from bert_ft.config.build.task import PlainLoss, build_loss, check_fitted
from bert_ft.errors import ConfigError
from bert_ft.tasks.saved import described, restored, task_class
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.precision import effective_precision

FLOAT32 = effective_precision(32, on_cpu=True)
IDS = np.array([0, 1])


@dataclass(frozen=True)
class Scored(SingleLabel):
    """As if its targets were numbers."""

    scale: Any = 1.0

    target_kind: ClassVar[str] = "numbers"
    default_loss: ClassVar[str] = "plain"


class Silent(SingleLabel):
    objectives: ClassVar[dict] = {"kappa": "max", "loss": "min"}


class Misspelt(SingleLabel):
    supports: ClassVar[frozenset] = frozenset({"loss.contrastive"})


def loss_config(**settings):
    return OmegaConf.create({"loss": settings})


def test_a_fitted_task_passes():
    check_fitted(SingleLabel(("a", "b")), IDS, FLOAT32)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (SingleLabel(), "task=single_label: `fitted` must set `names`"),
        (Silent(("a", "b")), "`objectives` names kappa, which `metrics` doesn't return"),
        (Scored(("a", "b"), scale=object()), r"task\.scale=<object .*: a saved folder can't hold a object"),
    ],
)
def test_what_would_fail_after_training_is_refused_before(task, message):
    with pytest.raises(ConfigError, match=message):
        check_fitted(task, IDS, FLOAT32)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_targets_that_16_bits_would_round_are_refused(precision):
    task, targets = Scored(("a", "b")), np.array([1001.5, 3.0], dtype=np.float32)
    with pytest.raises(ConfigError, match=r"trainer\.precision=.*rounds the targets of .*; use b?f?16-mixed"):
        check_fitted(task, targets, effective_precision(precision, on_cpu=False))
    check_fitted(task, targets, effective_precision("bf16-mixed", on_cpu=True))
    check_fitted(task, IDS, effective_precision(precision, on_cpu=False))


def test_a_loss_of_classes_needs_classes():
    config = loss_config(_target_="bert_ft.nn.losses.Focal")
    assert build_loss(config, SingleLabel(("a", "b")))
    with pytest.raises(
        ConfigError, match=r"loss\._target_=.*Focal: is for classes, but .* has numbers; use loss=plain"
    ):
        build_loss(config, Scored(("a", "b")))


def test_the_plain_loss_is_computed_in_float32_and_takes_no_weights():
    logits, labels = torch.randn(8, 2).bfloat16(), torch.arange(8) % 2
    task = SingleLabel(("a", "b"))
    loss = build_loss(loss_config(_target_=None), task)
    assert isinstance(loss, PlainLoss)
    assert loss(logits, labels) == task.plain_loss(logits.float(), labels)
    with pytest.raises(ConfigError, match=r"loss\.class_weights=balanced: loss=plain has no class weights"):
        build_loss(loss_config(_target_=None, class_weights="balanced"), task)


def test_a_class_that_says_something_unknown_is_refused():
    with pytest.raises(
        ConfigError, match=r"`supports` names loss\.contrastive; it may name loss\.class_weights"
    ):
        task_class(f"{__name__}.Misspelt", [f"{__name__}.*"])


def test_settings_of_numpy_are_saved_as_plain_numbers():
    task = Scored(("a", "b"), scale=np.float64(2.5))
    assert described(task)["scale"] == 2.5
    assert type(described(task)["scale"]) is float
    assert described(Scored(("a", "b"), scale=np.array([1, 2])))["scale"] == [1, 2]
    again = restored(described(Scored(("a", "b"), scale=("x", "y"))), ["a", "b"], [f"{__name__}.*"])
    assert again == Scored(("a", "b"), scale=("x", "y"))
