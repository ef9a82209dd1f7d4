"""Cheap dropout: its rate, its expectation, its gradient, and that a seed repeats it."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bert_ft.kernels.dropout import LEVELS, Dropout, dropout, keep_mask, replace_dropout

NUM_ELEMENTS = 1_000_003  # no multiple of 4: the last random word is used in part


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_rate_and_scale(probability):
    torch.manual_seed(0)
    mask, scale = keep_mask((NUM_ELEMENTS,), probability)
    rate = 1 - mask.double().mean().item()
    # five standard deviations of a binomial share
    assert rate == pytest.approx(probability, abs=5 * (probability * (1 - probability) / NUM_ELEMENTS) ** 0.5)
    exact = round(probability * LEVELS) / LEVELS
    assert scale * (1 - exact) == pytest.approx(1, abs=1e-12)
    assert abs(exact - probability) <= 0.5 / LEVELS


def test_elements_are_independent():
    """Neighbors within a random word, rows and columns: correlations within five standard errors of 0."""
    torch.manual_seed(0)
    mask, _ = keep_mask((1000, 1000), 0.3)
    values = (mask.double() - mask.double().mean()) / mask.double().std()
    for lag in (1, 2, 3, 4, 5, 1000):
        flat = values.flatten()
        assert abs((flat[lag:] * flat[:-lag]).mean().item()) < 5e-3
    assert values.mean(dim=0).std().item() == pytest.approx(1000**-0.5, rel=0.2)
    assert values.mean(dim=1).std().item() == pytest.approx(1000**-0.5, rel=0.2)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_ends_of_the_range(probability):
    values = torch.randn(10, 10)
    assert torch.equal(dropout(values, probability), values * (1 - probability))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gradient_takes_the_same_mask(dtype):
    torch.manual_seed(0)
    values = torch.full((50, 50), 2, dtype=dtype, requires_grad=True)
    dropped = dropout(values, 0.25)
    dropped.sum().backward()
    assert dropped.dtype == values.grad.dtype == dtype
    assert torch.equal(values.grad, dropped.detach() / 2)
    kept = dropped.detach()[dropped != 0].float()
    torch.testing.assert_close(kept, torch.full_like(kept, 2 / 0.75), rtol=2**-8, atol=0)


def test_a_seed_repeats_it_and_the_next_call_differs():
    values = torch.ones(100)
    torch.manual_seed(1)
    first, second = dropout(values, 0.5), dropout(values, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(values, 0.5), first)
    assert not torch.equal(first, second)


def test_recomputation_repeats_it():
    """Gradient checkpointing restores torch's generator, on which the masks depend."""
    torch.manual_seed(0)
    values = torch.ones(1000, requires_grad=True)
    dropped = checkpoint(lambda x: dropout(x, 0.5) ** 2, values, use_reentrant=False)
    dropped.sum().backward()
    assert torch.equal(values.grad != 0, dropped != 0)


def test_replace_dropout():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.3), nn.AlphaDropout(0.1))
    )
    replace_dropout(model)
    assert type(model[1]) is Dropout
    assert model[1].p == 0.2
    assert type(model[2][0]) is Dropout
    assert type(model[2][1]) is nn.AlphaDropout
    values = torch.randn(3, 4)
    assert torch.equal(model.eval()(values), model[0](values))
