"""The linear layer at the end of a head, whose outputs are the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


class OneScore(nn.Linear):
    """A linear layer, ``(..., in_features)`` to ``(..., out_features)``, whose outputs differ by their biases only.

    The rows of its weight start equal and have the same gradient, so they stay equal: what is saved is a plain linear layer.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        _equal_rows(self)
        self.register_load_state_dict_post_hook(_equal_rows)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight.mean(0, keepdim=True)) + self.bias


@torch.no_grad()
def _equal_rows(layer: OneScore, _: Any = None) -> None:
    """Give all rows their mean: loaded ones may have been trained without this class."""
    layer.weight.copy_(layer.weight.mean(0))


def share_score(classifier: Classifier) -> None:
    """Let the logits differ by their biases only; a head of the user, or one without biases, is left as it is."""
    if not ends_linear(classifier):
        return
    head = classifier.get_submodule("head")
    name, layer = last_linear(head)
    if layer.bias is not None:
        head.set_submodule(name, OneScore(layer))


@torch.no_grad()
def divide_logits(classifier: Classifier, divisor: float) -> None:
    """Divide all logits by changing the last layer, so that every tool that loads the weights has them."""
    layer = last_linear(classifier.get_submodule("head"))[1]
    for parameter in (layer.weight, layer.bias):
        if parameter is not None:
            parameter.copy_((parameter.double() / divisor).to(parameter.dtype))
