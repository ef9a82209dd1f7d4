"""The top of a pre-trained encoder, reset to random weights before fine-tuning.

Source: Zhang et al. 2021, arXiv 2006.05987: the highest layers are specialized for the pre-training task, and
with few rows, random weights are a better start for them.
"""

from __future__ import annotations

import torch
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.compat.transformers import draw_as_new, initialize
from bert_ft.errors import ConfigError
from bert_ft.models.families import family_of
from bert_ft.models.inserted import is_inserted
from bert_ft.models.layer_names import check_layer_names, layer_names
from bert_ft.optim.layers import layer_of


def check_reinitialization(config: PretrainedConfig, num_layers: int) -> None:
    """Raise ``ConfigError`` if the encoder has fewer layers, or they share their weights, or their names are unknown."""
    if not num_layers:
        return
    available, setting = int(config.num_hidden_layers), f"encoder.reinit_layers={num_layers}"
    if num_layers > available:
        raise ConfigError(f"{setting}: this encoder has {available} layers; lower it")
    if family_of(config).shares_layers:
        raise ConfigError(f"{setting}: the layers of an {config.model_type} share their weights; give 0")
    check_layer_names(config, setting, "set it to 0")


@torch.no_grad()
def reinitialize(encoder: PreTrainedModel, num_layers: int) -> None:
    """Initialize the highest ``num_layers`` layers, and everything above them, as the model family does, in place.

    Above are BERT's pooler and ModernBERT's last norm. 0 changes nothing.
    """
    if num_layers == 0:
        return
    depth, names = int(encoder.config.num_hidden_layers), layer_names(encoder)

    def is_redrawn(name: str) -> bool:
        return not is_inserted(name) and layer_of(f"encoder.{name}", depth, names) > depth - num_layers

    for name, parameter in encoder.named_parameters():
        if is_redrawn(name):
            draw_as_new(parameter)
    # children first, like transformers: ModernBERT's blocks initialize their linear layers again, narrower
    for module_name, module in reversed(list(encoder.named_modules())):
        parameters = module.named_parameters(prefix=module_name)
        inside = [name for name, _ in parameters if not is_inserted(name)]
        if inside and all(is_redrawn(name) for name in inside):
            initialize(encoder, module)
