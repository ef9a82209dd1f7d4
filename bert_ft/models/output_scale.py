"""Outputs of a saved ``bert_linear`` in the file's unit: scale and shift are put into the last layer, and taken out again.

In double precision, so that what is loaded has the weights that were trained, to the last bit or nearly so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bert_ft.models.classifier import LinearClassifier
from bert_ft.models.last_layer import last_linear

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
    """Return the names of its weight and bias, and the numbers."""
    name, _ = last_linear(classifier.head)
    factor, shift = (torch.tensor(list(each), dtype=torch.float64) for each in scale)
    assert state[f"{name}.weight"].shape[0] == len(factor)
    return f"{name}.weight", f"{name}.bias", factor, shift
