"""The layers that the parameters of a module belong to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bert_ft.models.encoding import num_encoder_layers
from bert_ft.models.layer_names import layer_names
from bert_ft.nn.precision import widest
from bert_ft.nn.statistics import sampled
from bert_ft.optim.layers import layer_of


def encoder_of(module: nn.Module) -> PreTrainedModel:
    """Return the Hugging Face encoder that a module trains, without its head.

    ``module.classifier`` is searched first, since the module may have other encoders, such as a teacher's.

    Raises:
        TypeError: there is none.
    """
    for place in (getattr(module, "classifier", None), module):
        for part in place.modules() if isinstance(place, nn.Module) else ():
            if isinstance(part, PreTrainedModel):
                return cast(PreTrainedModel, part.base_model)
    raise TypeError(f"{type(module).__name__} holds no Hugging Face encoder")


@dataclass(frozen=True)
class Layers:
    """The layers of a module's parameters, named like the optimizer's groups.

    Attributes:
        names: those that exist among ``embeddings``, ``layer.0``, … and ``head`` (everything above the
            layers); ``encoder`` for all layers if their names are unknown.
        parameter_names: parameter → its name in the module.
    """

    names: list[str]
    parameter_names: dict[nn.Parameter, str]
    _layer: dict[nn.Parameter, int]

    @classmethod
    def of(cls, module: nn.Module) -> Layers:
        """Return the layers of all parameters of a module that has an encoder."""
        encoder = encoder_of(module)
        num_layers, names = num_encoder_layers(encoder), layer_names(encoder)
        inner = {parameter: name for name, parameter in encoder.named_parameters()}
        depths = {
            parameter: layer_of(f"encoder.{inner[parameter]}", num_layers, names)
            if parameter in inner
            else num_layers + 1
            for parameter in module.parameters()
        }
        present = sorted(set(depths.values()))
        label = {0: "embeddings", num_layers + 1: "head"} | ({num_layers: "encoder"} if names is None else {})
        return cls(
            names=[label.get(depth, f"layer.{depth - 1}") for depth in present],
            parameter_names={parameter: name for name, parameter in module.named_parameters()},
            _layer={parameter: present.index(depth) for parameter, depth in depths.items()},
        )

    def members(self, parameters: Iterable[nn.Parameter]) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the name of their layer."""
        found: dict[str, list[nn.Parameter]] = {}
        for parameter in parameters:
            found.setdefault(self.names[self._layer[parameter]], []).append(parameter)
        return found

    def samples(self, values: Mapping[nn.Parameter, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name, and values sampled evenly from those of its parameters."""
        for name, members in self.members(values).items():
            yield name, sampled([values[member] for member in members])

    def norms(self, parameters: Sequence[nn.Parameter], norms: Tensor) -> Tensor:
        """Return the L2 norm of each layer, ``(num_layers,)`` in the widest precision, from ``(num_parameters,)``."""
        squares = torch.zeros(len(self.names), dtype=widest(norms.device), device=norms.device)
        layers = torch.tensor([self._layer[parameter] for parameter in parameters], device=norms.device)
        return squares.index_add(0, layers.long(), norms.to(squares).square()).sqrt()
