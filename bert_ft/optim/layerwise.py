"""The optimizer of a run: which algorithm, and each layer's learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from bert_ft.limits import NotNegative, Positive, PositiveRatio
from bert_ft.optim.groups import parameter_groups
from bert_ft.optim.layers import GENERAL, LayerNames


@dataclass(frozen=True)
class LayerwiseOptimizer:
    """Builds ``algorithm`` over layer-wise groups.

    Attributes:
        algorithm: a torch optimizer class with its own settings bound, called with the groups.
        lr: of the head, and what the layers' rates decay from.
        layer_decay: factor from a layer to the one below it; 1 gives all layers one rate.
        weight_decay: of all that is decayed (see ``parameter_groups``).
        head_lr: of what is fresh above the encoder's layers; ``None`` = ``lr``.
    """

    algorithm: Callable[..., Optimizer]
    lr: Positive
    layer_decay: PositiveRatio = 1.0
    weight_decay: NotNegative = 0.0
    head_lr: Positive | None = None

    @property
    def algorithm_type(self) -> Callable[..., Optimizer]:
        """The optimizer's class, without its bound settings."""
        return self.algorithm.func if isinstance(self.algorithm, partial) else self.algorithm

    def groups(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        num_layers: int,
        trained: Sequence[str] = (),
        names: LayerNames | None = GENERAL,
    ) -> list[dict[str, Any]]:
        """The groups of the trainable parameters (see ``parameter_groups``).

        Raises:
            ConfigError: a value is out of range.
        """
        return parameter_groups(
            named_parameters,
            num_layers=num_layers,
            lr=self.lr,
            layer_decay=self.layer_decay,
            weight_decay=self.weight_decay,
            head_lr=self.head_lr,
            trained=trained,
            names=names,
        )

    def build(self, groups: list[dict[str, Any]]) -> Optimizer:
        """The optimizer over ``groups``."""
        return self.algorithm(groups, lr=self.lr)
