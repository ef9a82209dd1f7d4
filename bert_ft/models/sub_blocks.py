"""The modules of an encoder and its head whose activations are monitored."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from bert_ft.models.families import family_of

_LAYER = re.compile(r"(.*\.)?(layers?|albert_layers)\.(\d+)")
_ACTIVATIONS = (nn.GELU, nn.ReLU, nn.Tanh, nn.SiLU, nn.Sigmoid)


@dataclass(frozen=True)
class SubBlock:
    """A module whose output is monitored.

    Attributes:
        names: a name for each call in a forward pass, e.g. ``layer.3.ffn``; ALBERT calls one module for all layers.
        kind: ``attention``, ``activation``, ``ffn`` or ``hidden`` within a layer; ``linear``, ``activation`` or
            ``tanh`` elsewhere.
    """

    names: tuple[str, ...]
    module: nn.Module
    kind: str


def encoder_sub_blocks(encoder: PreTrainedModel) -> list[SubBlock]:
    """Return each layer's attention output, FFN activation, FFN output and hidden state, if its family is known.

    Outputs of attention and FFN are those of their last projection: before dropout, the residual and the norm.
    """
    num_layers = int(encoder.config.num_hidden_layers)
    within_layer: dict[str, tuple[str, ...]] = vars(family_of(encoder.config).sub_blocks)
    layers = [module for name, module in encoder.named_modules() if _LAYER.fullmatch(name)]
    numbers = [range(num_layers)] if len(layers) == 1 else [[index] for index in range(len(layers))]
    return [
        SubBlock(tuple(f"layer.{number}.{kind}" for number in calls), module, kind)
        for calls, layer in zip(numbers, layers, strict=True)
        for kind, paths in within_layer.items()
        if (module := _first(layer, paths)) is not None
    ]


def head_sub_blocks(model: nn.Module, encoder: PreTrainedModel) -> list[SubBlock]:
    """Return the linear layers and activations outside of the encoder, and those of the encoder's pooler."""
    inner = {id(module) for module in encoder.modules()}
    for name in ("pooler", "pooler_activation"):  # the second is ALBERT's
        pooler = getattr(encoder, name, None)
        if isinstance(pooler, nn.Module):
            inner -= {id(module) for module in pooler.modules()}
    found = []
    for name, module in model.named_modules():
        if id(module) not in inner and isinstance(module, (nn.Linear, *_ACTIVATIONS)):
            short = re.sub(r"^(classifier\.)?(encoder\.)?(head\.)?", "", name)
            found.append(SubBlock((f"head.{short}",), module, _kind(module)))
    return found


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Tanh):
        return "tanh"
    return "linear" if isinstance(module, nn.Linear) else "activation"


def _first(layer: nn.Module, paths: tuple[str, ...]) -> nn.Module | None:
    for path in paths:
        try:
            return layer.get_submodule(path)
        except AttributeError:
            continue
    return None
