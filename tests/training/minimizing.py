"""An objective on one batch, whole and in pieces: its total, its terms and their gradients."""

import pytest
import torch
from torch import nn

from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import set_dropout
from bert_ft.models.frozen import freeze
from bert_ft.nn.losses import CrossEntropy
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.objective import Objective
from tests.models.families import random_batch, tiny_config

LABELS = ("a", "b", "c")
LENGTHS = [1, 2, 5, 5, 9, 17]
WHOLE, PIECES = 4096, 10  # the longest text is a piece alone
BATCH = random_batch(LENGTHS)
BOTH_SIZES = pytest.mark.parametrize("max_tokens", [WHOLE, PIECES], ids=["whole", "pieces"])


def classifier(family="bert", *, dropout=0.0, pooling="mean", freeze_layers=None, **changes):
    """A residual classifier in float64 and in training mode."""
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(LABELS).config_entries(), **changes)
    set_dropout(config, dropout, dropout)
    model = ResidualClassifier(empty_encoder(config), pooling=pooling, hidden_sizes=[32], dropout=dropout)
    for layer in (model.head.blocks[0].project, model.head.classifier):
        nn.init.normal_(layer.weight, std=0.3)  # as fresh ones they would count for little
    if freeze_layers is not None:
        freeze(model.encoder, freeze_layers)
    return model.double().train()


def minimized(model, terms=None, *, batch=BATCH, max_tokens=WHOLE, loss=None, seed=0):
    """The total and the terms; gradients lie in the model's parameters."""
    model.zero_grad()
    torch.manual_seed(seed)  # of the dropout
    total, parts = Objective(loss or CrossEntropy(), terms, SingleLabel(LABELS))(model, batch, max_tokens)
    total.backward()
    return total.detach(), parts


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def backward(model, total) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total.backward()
    return gradients(model)


def assert_close(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=tolerance, atol=tolerance, msg=name)


def assert_different(found, expected):
    largest = max((found[name] - expected[name]).abs().max().item() for name in found)
    assert largest > 1e-4
