"""An encoder whose lower part isn't trained: frozen, and run apart from the rest.

Layer-wise names decide what belongs to the lower part (``bert_ft.optim.layers``), so that any family whose
layers can have their own learning rates can be frozen. Running the lower part by itself, to keep what it
gives, takes layers that depend on nothing but the states below: those of BERT and its kin.
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
    """Refuse what this encoder can't have.

    Raises:
        ConfigError: there are fewer layers, some would be drawn anew too, they share their weights, or the frozen part
            can't be run apart.
    """
    if num_layers is None:
        return
    available = int(config.num_hidden_layers)
    if num_layers > available:
        raise ConfigError(
            f"encoder.freeze_layers={num_layers}: this encoder has {available} layers; lower it, or give null"
        )
    if num_layers + reinit_layers > available:
        raise ConfigError(
            f"encoder.freeze_layers={num_layers}: with encoder.reinit_layers={reinit_layers} of {available} layers some "
            "would stay at random weights; lower one of them"
        )
    if family_of(config).shares_layers and 0 < num_layers < available:
        raise ConfigError(
            f"encoder.freeze_layers={num_layers}: the {available} layers of an {config.model_type} are one and the same; "
            f"give 0 (the embeddings), {available} (everything) or null"
        )
    check_layer_names(config, f"encoder.freeze_layers={num_layers}", "set it to null")
    if cache and not family_of(config).has_bert_layers:
        raise ConfigError(
            f"encoder.cache_frozen=true: {config.model_type} can't go on from kept states "
            f"({model_types('has_bert_layers')} can); set it to false"
        )


def check_pooling_layers(config: PretrainedConfig, num_layers: int, pooling_layers: int) -> None:
    """Refuse pooling over layers whose output isn't kept: only that of the highest frozen one is.

    Raises:
        ConfigError: ``pooling_layers`` reaches further down.
    """
    available = int(config.num_hidden_layers) - num_layers + 1
    if pooling_layers > available:
        raise ConfigError(
            f"model.pooling_layers={pooling_layers}: encoder.cache_frozen=true keeps the output of the highest "
            f"frozen layer alone, so with encoder.freeze_layers={num_layers} it can be at most {available}"
        )


def freeze(encoder: PreTrainedModel, num_layers: int) -> None:
    """Stop training the embeddings and the first ``num_layers`` layers, in place.

    What every layer reads, such as DeBERTa's relative positions, counts as embeddings (see ``layer_of``).
    Dropout in the frozen part goes on in training, as it does elsewhere.
    """
    names = layer_names(encoder)
    for name, parameter in encoder.named_parameters():
        if layer_of(f"encoder.{name}", int(encoder.config.num_hidden_layers), names) <= num_layers:
            parameter.requires_grad_(False)


def frozen_states(encoder: PreTrainedModel, batch: TextBatch, num_layers: int) -> Tensor:
    """The output of the first ``num_layers`` layers without dropout or gradient, ``(num_tokens, hidden_size)``.

    With 0 layers that of the embeddings. Random numbers aren't drawn, and the modules' modes stay as they were.
    """
    model: Any = encoder
    layers = _layers(encoder)[:num_layers]
    projection = [model.embeddings_project] if hasattr(model, "embeddings_project") else []  # ELECTRA
    arguments = layer_arguments(encoder, batch)
    with _evaluating([model.embeddings, *layers]), torch.no_grad():
        states = model.embeddings(**packed_inputs(encoder, batch))
        for module in projection:
            states = module(states)
        for layer in layers:
            states = layer(states, None, **arguments)
    return states[0]


def encode_from(
    encoder: PreTrainedModel, batch: TextBatch, num_layers: int = 1, cu_first: Tensor | None = None
) -> list[Tensor]:
    """As ``encode``, but going on from ``batch.states``.

    Args:
        encoder: of a family that has BERT's own layers.
        batch: with the output of the first ``batch.num_layers_done`` layers.
        num_layers: how many states to give, deepest last; ``batch.states`` can be the first of them.
        cu_first: given to compute the last layer for first tokens alone (see ``encode_first_tokens``).
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
def _evaluating(roots: Sequence[nn.Module]) -> Iterator[None]:
    """All modules below ``roots`` in evaluation mode, afterwards each in its own again."""
    modes = [(module, module.training) for root in roots for module in root.modules()]
    try:
        for root in roots:
            root.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
