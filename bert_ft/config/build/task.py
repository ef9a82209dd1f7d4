"""Build the task of a run, its loss with added terms, and its metrics."""

from __future__ import annotations

import inspect
import warnings
from copy import deepcopy
from dataclasses import fields
from typing import cast

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import Tensor, nn
from torchmetrics import Metric

from bert_ft import layout
from bert_ft.config.instantiate import build, build_kind, entries
from bert_ft.errors import ConfigError
from bert_ft.nn.losses import RowLoss
from bert_ft.tasks.saved import described
from bert_ft.tasks.task import Task
from bert_ft.training.objective import LossTerms, Objective, PlainLoss
from bert_ft.training.precision import Precision
from bert_ft.trust import TARGET


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
        ConfigError: the task lacks something, or the precision would round its targets.
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


def check_objective(config: DictConfig, task: Task, targets: np.ndarray) -> None:
    """Refuse, before training, an objective that isn't defined on the validation rows with these targets.

    Raises:
        ConfigError: names the objective.
    """
    metric = config.objective.metric
    if metric.removeprefix(layout.VAL) in (undefined := task.undefined_metrics(targets)):
        others = [name for name in task.objectives if name not in undefined]
        raise ConfigError(
            f"objective.metric={metric}: isn't defined on the validation rows, which all have {task.describe(targets[0])}; choose "
            f"another, e.g. objective.metric={layout.VAL}{others[0]} objective.mode={task.objectives[others[0]]}"
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
    loss = build_loss(config, task, targets)
    if not isinstance(loss, RowLoss | PlainLoss):
        _try_loss(config.loss[TARGET], loss, task, targets)
    return Objective(loss, build_terms(config), task=task)


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
    kind = getattr(loss, "target_kind", task.target_kind)
    if kind != task.target_kind:
        raise ConfigError(
            f"loss._target_={node['_target_']}: is for {kind}, but task={task.name} has {task.target_kind}; use "
            f"loss={task.default_loss}"
        )
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise ConfigError(f"loss._target_={node['_target_']}: has parameters, which would not be trained")
    return loss


def build_terms(config: DictConfig) -> LossTerms:
    """Return the terms added to the loss."""
    return LossTerms(
        **{field.name: config.loss[field.name] for field in fields(LossTerms) if field.name in config.loss}
    )


def build_metrics(config: DictConfig, task: Task, targets: np.ndarray) -> dict[str, Metric]:
    """Return the configured metrics, without ``null`` ones; each gets the ``metric_arguments`` that it accepts.

    Args:
        config: the run's configuration.
        task: a fitted task.
        targets: targets of validation rows, on which each metric is tried with random logits.

    Raises:
        ConfigError: a metric can't be built, isn't a metric, fails on the validation rows, or contradicts
            ``objective.mode``.
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
        metric = cast(Metric, build_kind(f"metrics.{name}", node, Metric, **given))
        _try_metric(f"metrics.{name}.{TARGET}={node[TARGET]}", metric, task, targets)
        better = {True: "max", False: "min"}.get(metric.higher_is_better)  # type: ignore[arg-type]
        if config.objective.metric == f"{layout.VAL}{name}" and better not in (None, config.objective.mode):
            mode = f"objective.mode={config.objective.mode}"
            raise ConfigError(f"{mode}: {layout.wrong_mode(config.objective.metric, str(better))}")
        metrics[str(name)] = metric
    return metrics


def _try_metric(key: str, metric: Metric, task: Task, targets: np.ndarray) -> None:
    """Refuse a metric that would fail, or return no number, after the first epoch."""
    logits, labels = _example(task, targets)
    inputs = task.metric_inputs(logits, labels)
    kind = type(metric).__name__
    other = (
        f"; use Multiclass{kind.removeprefix('Binary')}"
        if kind.startswith("Binary") and task.target_kind == "classes"
        else ""
    )
    try:
        with isolate_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # caused by random logits
            tried = deepcopy(metric)
            tried.update(*inputs)
            value = tried.compute()
    except Exception as error:  # a user's class may raise anything
        shapes = " and ".join(str(tuple(each.shape)) for each in inputs)
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"{key}: {kind} doesn't fit the {task.name} task, whose predictions and targets have the shapes {shapes}: "
            f"{reason}{other}"
        ) from error
    if not isinstance(value, Tensor | float | int) or (isinstance(value, Tensor) and value.numel() != 1):
        found = f"{value.numel()} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ConfigError(f"{key}: returns {found} instead of one; set e.g. average=macro")


def _try_loss(target: str, loss: nn.Module, task: Task, targets: np.ndarray) -> None:
    """Refuse a user's loss that doesn't return one number to minimize."""
    logits, labels = _example(task, targets)
    try:
        with isolate_rng():
            value = deepcopy(loss)(logits.requires_grad_(), labels)
    except Exception as error:  # a user's class may raise anything
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"loss.{TARGET}={target}: can't be computed from logits {tuple(logits.shape)} and targets "
            f"{tuple(labels.shape)} {labels.dtype}: {reason}"
        ) from error
    if not (isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(
            f"loss.{TARGET}={target}: returns {shape}, not one number that depends on the logits"
        )


def _example(task: Task, targets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return random logits ``(rows, num_labels)`` for evenly spaced rows, and the targets of these rows."""
    labels = torch.from_numpy(np.ascontiguousarray(targets[:: max(1, len(targets) // 1000)]))
    return torch.randn(len(labels), len(task.names), generator=torch.Generator().manual_seed(0)), labels
