"""The linear layer at the end of a head, whose outputs are the logits."""

from __future__ import annotations

import torch
from torch import nn

from bert_ft.models.classifier import Classifier, LinearClassifier
from bert_ft.nn.head import ResidualHead


def last_linear(head: nn.Module) -> tuple[str, nn.Linear]:
    """Return the name and the module of the last linear layer; that of each family's own head gives the logits."""
    return [(name, module) for name, module in head.named_modules() if isinstance(module, nn.Linear)][-1]


def ends_linear(classifier: Classifier) -> bool:
    """Return whether the logits are known to be a linear layer's outputs: not so for a head of the user."""
    return isinstance(classifier, LinearClassifier) or isinstance(
        getattr(classifier, "head", None), ResidualHead
    )


@torch.no_grad()
def divide_logits(classifier: Classifier, divisor: float) -> None:
    """Divide all logits by changing the last layer, so that every tool that loads the weights has them."""
    layer = last_linear(classifier.get_submodule("head"))[1]
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.copy_((parameter.double() / divisor).to(parameter.dtype))
