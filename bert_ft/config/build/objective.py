"""What fine-tuning minimizes and measures, from its settings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from omegaconf import DictConfig
from torch import nn
from torchmetrics import Metric

from bert_ft.config.instantiate import build, build_kind, entries
from bert_ft.errors import ConfigError
from bert_ft.nn.losses import balanced_class_weights
from bert_ft.training.objective import LossTerms


def _loss(config: DictConfig, labels: np.ndarray | None = None, names: Sequence[str] = ()) -> nn.Module:
    """The loss of the labels; without labels one to see whether the configuration gives one."""
    node = entries(config.loss, without=[field.name for field in fields(LossTerms)])
    weights = node.get("class_weights")
    if weights == "balanced":
        counts = [1] if labels is None else np.bincount(labels, minlength=len(names)).tolist()
        node["class_weights"] = balanced_class_weights(counts)
    elif weights is not None and names and len(weights) != len(names):
        raise ConfigError(
            f"loss.class_weights={weights}: {len(weights)} weights for the {len(names)} labels "
            f"{', '.join(names)}; give one for each, in this order"
        )
    loss = build_kind("loss", node, nn.Module)
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise ConfigError(f"loss._target_={node['_target_']}: has parameters, which nothing would train")
    return loss


def _terms(config: DictConfig) -> LossTerms:
    return LossTerms(
        **{field.name: config.loss[field.name] for field in fields(LossTerms) if field.name in config.loss}
    )


def _metrics(config: DictConfig, num_labels: int) -> dict[str, Metric]:
    """The configured metrics, but for a ``null`` one; whichever takes ``num_classes`` is told."""
    metrics = {}
    for name, node in config.metrics.items():
        if node is None:
            continue
        constructor = build(node, _partial_=True).func
        takes = "num_classes" in inspect.signature(constructor).parameters and "num_classes" not in node
        told = {"num_classes": num_labels} if takes else {}
        metrics[str(name)] = build_kind(f"metrics.{name}", node, Metric, **told)
    return metrics
