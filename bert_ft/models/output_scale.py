"""Outputs of a saved ``bert_linear`` in the file's unit: scale and shift are put into the last layer, and taken out again.

In double precision, so that what is loaded has the weights that were trained, to the last bit or nearly so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bert_ft.models.classifier import LinearClassifier

Scale = tuple[Sequence[float], Sequence[float]]  # of each output, and its shift
State = dict[str, Tensor]


def scaled(state: State, classifier: LinearClassifier, scale: Scale) -> State:
    """Return a saved state whose last layer gives outputs in the file's unit; its tensors are float64."""
    weight, bias, factor, shift = _last_layer(state, classifier, scale)
    return state | {
        weight: (state[weight].cpu().double() * factor[:, None]).contiguous(),
        bias: state[bias].cpu().double() * factor + shift,
    }


def unscaled(state: State, classifier: LinearClassifier, scale: Scale) -> State:
    """Return the state that ``scaled`` was given."""
    weight, bias, factor, shift = _last_layer(state, classifier, scale)
    return state | {
        weight: (state[weight].double() / factor[:, None]).float(),
        bias: ((state[bias].double() - shift) / factor).float(),
    }


def _last_layer(state: State, classifier: LinearClassifier, scale: Scale) -> tuple[str, str, Tensor, Tensor]:
    """Return the names of its weight and bias, and the numbers; the last layer of each family's head is linear."""
    linear = [name for name, module in classifier.head.named_modules() if isinstance(module, nn.Linear)]
    factor, shift = (torch.tensor(list(each), dtype=torch.float64) for each in scale)
    assert state[f"{linear[-1]}.weight"].shape[0] == len(factor)
    return f"{linear[-1]}.weight", f"{linear[-1]}.bias", factor, shift
