"""The optimizer of a run: its algorithm, and each layer's learning rate."""

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
    """Build ``algorithm``, a torch optimizer class with its own settings bound, over layer-wise groups.

    The other attributes are arguments of ``parameter_groups``.
    """

    algorithm: Callable[..., Optimizer]
    lr: Positive
    layer_decay: PositiveRatio = 1.0
    weight_decay: NotNegative = 0.0
    head_lr: Positive | None = None

    @property
    def algorithm_type(self) -> Callable[..., Optimizer]:
        """Return the optimizer's class, without its bound settings."""
        return self.algorithm.func if isinstance(self.algorithm, partial) else self.algorithm

    def groups(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        num_layers: int,
        trained: Sequence[str] = (),
        names: LayerNames | None = GENERAL,
    ) -> list[dict[str, Any]]:
        """Return the groups of the trainable parameters; see ``parameter_groups``."""
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
        """Return the optimizer over ``groups``."""
        return self.algorithm(groups, lr=self.lr)
