"""Accumulated gradients beside those of one batch of all rows, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bert_ft.nn.losses import CrossEntropy
from bert_ft.training.accumulation import AccumulationWindow


def gradients(sizes, accumulate, weights=None, window=None):
    """What ``accumulate`` leaves after batches of ``sizes``, Lightning's division included."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    rows, labels = torch.randn(sum(sizes), 5).double(), torch.randint(0, 3, (sum(sizes),))
    loss = CrossEntropy(class_weights=weights)
    for part, label in zip(rows.split(sizes), labels.split(sizes), strict=True):
        value = loss(model(part), label)
        if window is not None:
            weight = len(label) if weights is None else loss.total_weight(label)
            value = window.add(value, weight, len(label))
        (value / accumulate).backward()
    if window is not None:
        window.finish(model.parameters(), accumulate)
    expected = torch.autograd.grad(
        F.cross_entropy(model(rows), labels, None if weights is None else torch.tensor(weights).double()),
        list(model.parameters()),
    )
    return [parameter.grad for parameter in model.parameters()], expected


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]], ids=["rows", "class weights"])
@pytest.mark.parametrize("sizes", [[4, 4, 4], [4, 4], [4, 4, 1], [1, 7], [3]], ids=str)
def test_the_division_of_rows_makes_no_difference(sizes, weights):
    window = AccumulationWindow()
    for _ in range(2):  # a window leaves nothing to the next
        found, expected = gradients(sizes, 3, weights, window)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-6)


def test_lightnings_own_division_does():
    """The negative control."""
    found, expected = gradients([4, 4, 1], 3)
    assert not torch.allclose(found[0], expected[0], rtol=1e-3)
