"""An encoder whose lower part isn't trained: frozen, and run separately from the rest.

``bert_ft.optim.layers`` decides which parameters are in the lower part, so any family whose layers can have their own
learning rates can be frozen. To cache the lower part's output, layers must depend on nothing but the states below them,
as those of BERT and related families do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.models.families import family_of, model_types
from bert_ft.models.inputs import layer_arguments, packed_inputs
from bert_ft.models.layer_names import check_layer_names, layer_names
from bert_ft.optim.layers import layer_of


def check_freezing(
    config: PretrainedConfig, num_layers: int | None, *, cache: bool, reinit_layers: int = 0
) -> None:
    """Raise ``ConfigError`` if this encoder can't be frozen this way.

    It has fewer layers, some of them would be reinitialized, they share their weights, or their output can't
    be cached.
    """
    if num_layers is None:
        return
    available, setting = int(config.num_hidden_layers), f"encoder.freeze_layers={num_layers}"
    if num_layers > available:
        raise ConfigError(f"{setting}: this encoder has {available} layers; lower it, or give null")
    if num_layers + reinit_layers > available:
        raise ConfigError(
            f"{setting}: with encoder.reinit_layers={reinit_layers}, some of the {available} layers would be "
            "frozen with random weights; lower one of them"
        )
    if family_of(config).shares_layers and 0 < num_layers < available:
        raise ConfigError(
            f"{setting}: the {available} layers of an {config.model_type} share their weights; give 0 (the "
            "embeddings), "
            f"{available} (everything) or null"
        )
    check_layer_names(config, setting, "set it to null")
    if cache and not family_of(config).has_bert_layers:
        raise ConfigError(
            f"encoder.cache_frozen=true: {config.model_type} can't continue from cached states "
            f"({model_types('has_bert_layers')} can); set it to false"
        )


def check_pooling_layers(config: PretrainedConfig, num_layers: int, pooling_layers: int) -> None:
    """Raise ``ConfigError`` if ``pooling_layers`` reaches below the highest frozen layer, whose output is cached."""
    available = int(config.num_hidden_layers) - num_layers + 1
    if pooling_layers > available:
        raise ConfigError(
            f"model.pooling_layers={pooling_layers}: encoder.cache_frozen=true caches only the output of the highest "
            f"frozen layer, so with encoder.freeze_layers={num_layers} it can be at most {available}"
        )


def freeze(encoder: PreTrainedModel, num_layers: int) -> None:
    """Stop training the embeddings and the first ``num_layers`` layers, in place; their dropout stays.

    Parameters that every layer reads, such as DeBERTa's relative positions, count as embeddings (see ``layer_of``).
    """
    names = layer_names(encoder)
    for name, parameter in encoder.named_parameters():
        if layer_of(f"encoder.{name}", int(encoder.config.num_hidden_layers), names) <= num_layers:
            parameter.requires_grad_(False)


def frozen_states(encoder: PreTrainedModel, batch: TextBatch, num_layers: int) -> Tensor:
    """Return the output of the first ``num_layers`` layers without dropout or gradient, ``(num_tokens, hidden_size)``.

    With 0 layers it is that of the embeddings. No random number is drawn, and the modules keep their modes.
    """
    model: Any = encoder
    layers = _layers(encoder)[:num_layers]
    arguments = layer_arguments(encoder, batch)
    with evaluating([model.embeddings, *layers]), torch.no_grad():
        states = model.embeddings(**packed_inputs(encoder, batch))
        if hasattr(model, "embeddings_project"):  # ELECTRA
            states = model.embeddings_project(states)
        for layer in layers:
            states = layer(states, None, **arguments)
    return states[0]


def encode_from(
    encoder: PreTrainedModel, batch: TextBatch, num_layers: int = 1, cu_first: Tensor | None = None
) -> list[Tensor]:
    """Do what ``encode`` does, starting from ``batch.states``, the output of the first ``batch.num_layers_done`` layers.

    Args:
        encoder: an encoder of a family with BERT's own layers.
        num_layers: number of states to return, deepest last; ``batch.states`` can be the first of them.
        cu_first: set to compute the last layer for first tokens only (see ``encode_first_tokens``).
    """
    assert batch.states is not None
    above = _layers(encoder)[batch.num_layers_done :]
    assert num_layers <= len(above) + 1, "see check_pooling_layers"
    arguments = layer_arguments(encoder, batch)
    if cu_first is not None:
        arguments["cu_first"] = cu_first
    states = [batch.states.to(encoder.dtype)[None]]
    for layer in above:
        states = [*states, layer(states[-1], None, **arguments)][-num_layers:]
    return [state[0] for state in states]


def _layers(encoder: PreTrainedModel) -> Sequence[nn.Module]:
    return cast(Sequence[nn.Module], cast(Any, encoder).encoder.layer)


@contextmanager
def evaluating(roots: Sequence[nn.Module]) -> Iterator[None]:
    """Put all modules below ``roots`` in evaluation mode; restore the mode of each afterwards."""
    modes = [(module, module.training) for root in roots for module in root.modules()]
    try:
        for root in roots:
            root.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
