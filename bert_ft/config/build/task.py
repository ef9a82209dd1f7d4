"""Build the task of a run, its loss with added terms, and its metrics."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import cast

import numpy as np
from omegaconf import DictConfig
from torch import Tensor, nn
from torchmetrics import Metric

from bert_ft.config.instantiate import build, build_kind, entries
from bert_ft.errors import ConfigError
from bert_ft.nn.losses import ClassificationLoss
from bert_ft.nn.precision import at_least_float32
from bert_ft.tasks.saved import described
from bert_ft.tasks.task import Task
from bert_ft.training.objective import LossTerms, Objective
from bert_ft.training.precision import Precision


class PlainLoss(nn.Module):
    """Train with the task's plain loss, the one that validation and test report (``loss=plain``)."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.task.plain_loss(at_least_float32(logits), targets)


def build_task(config: DictConfig) -> Task:
    """Return the task, not fitted to labels yet.

    Raises:
        ConfigError: ``task._target_`` isn't a task, or rejects its settings.
    """
    return cast(Task, build_kind("task", config.task, Task))


def check_fitted(task: Task, targets: np.ndarray, precision: Precision) -> None:
    """Refuse, before training, a task that would fail after training or report wrong numbers.

    Args:
        task: a fitted task.
        targets: targets of the training rows.
        precision: precision of the training.

    Raises:
        ConfigError: names what the task lacks, or the precision.
    """
    key = f"task={task.name}"
    if not task.names:
        raise ConfigError(f"{key}: `fitted` must set `names`, one for each output of the model")
    if missing := set(task.objectives) - {*task.metrics(), "loss"}:
        raise ConfigError(
            f"{key}: `objectives` names {', '.join(sorted(missing))}, which `metrics` doesn't return"
        )
    described(task)
    if targets.dtype.kind == "f" and precision.effective in ("16-true", "bf16-true"):
        raise ConfigError(
            f"trainer.precision={precision.requested}: rounds the targets of {key} to 16 bits; use "
            f"{precision.effective.replace('true', 'mixed')}"
        )


def build_objective(config: DictConfig, task: Task, targets: np.ndarray) -> Objective:
    """Return the objective that training minimizes.

    Args:
        config: the run's configuration.
        task: a fitted task.
        targets: targets of the training rows.

    Raises:
        ConfigError: the loss can't be built, or doesn't fit the task.
    """
    return Objective(build_loss(config, task, targets), build_terms(config), task=task)


def build_loss(config: DictConfig, task: Task, targets: np.ndarray | None = None) -> nn.Module:
    """Return the loss of the labels; without ``targets``, a loss that only serves to check the configuration.

    Raises:
        ConfigError: the loss can't be built, doesn't fit the task, or has parameters.
    """
    node = entries(config.loss, without=[field.name for field in fields(LossTerms)])
    weights = node.get("class_weights")
    if node.get("_target_") is None:
        if weights is not None:
            raise ConfigError(
                f"loss.class_weights={weights}: loss=plain has no class weights; choose another loss"
            )
        return PlainLoss(task)
    if weights is not None and targets is not None:
        node["class_weights"] = task.class_weights(weights, targets)
    elif weights == "balanced":
        node["class_weights"] = [1.0]
    loss = build_kind("loss", node, nn.Module)
    if isinstance(loss, ClassificationLoss) and not task.has_classes:
        raise ConfigError(
            f"loss._target_={node['_target_']}: needs one class per row, which task={task.name} doesn't have; use loss=plain"
        )
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise ConfigError(f"loss._target_={node['_target_']}: has parameters, which would not be trained")
    return loss


def build_terms(config: DictConfig) -> LossTerms:
    """Return the terms added to the loss."""
    return LossTerms(
        **{field.name: config.loss[field.name] for field in fields(LossTerms) if field.name in config.loss}
    )


def build_metrics(config: DictConfig, task: Task) -> dict[str, Metric]:
    """Return the configured metrics, except ``null`` ones; each gets those of the task's ``metric_arguments`` that it takes.

    Raises:
        ConfigError: a metric can't be built, or isn't a metric.
    """
    metrics = {}
    for name, node in config.metrics.items():
        if node is None:
            continue
        constructor = build(node, _partial_=True).func
        takes = inspect.signature(constructor).parameters
        given = {
            key: value for key, value in task.metric_arguments().items() if key in takes and key not in node
        }
        metrics[str(name)] = cast(Metric, build_kind(f"metrics.{name}", node, Metric, **given))
    return metrics
