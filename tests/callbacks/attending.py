"""Modules with an encoder whose attention is looked at, their texts, and the names of what is counted."""

from types import SimpleNamespace

import numpy as np
import torch
from transformers import AutoConfig, AutoModel

from .monitored import Given, Validation, given

STATISTICS = ["entropy", "distance", "on_first", "on_last", "on_self"]
SEQUENCES = [np.array([2, 10, 11, 3]), np.array([2, 12, 3]), np.array([], dtype=np.int64)]


class Encoded(Given):
    """A module that has an encoder without a classifier about it."""

    def __init__(self, encoder):
        super().__init__(given(num_rows=9))
        self.inner = torch.nn.ModuleList([encoder])


class Sized:
    def __init__(self, sequences, length):
        self.sequences, self.length = sequences, length

    def __len__(self):
        return self.length


def data_of(module, sequences):
    data = Validation(module)
    split = SimpleNamespace(sequences=lambda rows, windows=None: ([sequences[row] for row in rows], None))
    data.data = SimpleNamespace(splits={"validation": Sized(split.sequences, len(sequences))})
    return data


def small(family, **settings):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return AutoModel.from_config(AutoConfig.for_model(family, vocab_size=50, **(sizes | settings)))
