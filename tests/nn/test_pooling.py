"""Pooling against a loop over sequences in float64, its gradients, and its limits."""

import numpy as np
import pytest
import torch

from bert_ft.errors import ConfigError
from bert_ft.nn.pooling import POOLINGS, AttentionPooling, build_pooling, mean_of_layers

HIDDEN_SIZE = 5
LENGTHS = (1, 3, 3, 6)
WITH_EMPTY = (0, 2, 0, 3, 0)


def offsets(lengths):
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)


def random_hidden(lengths, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), HIDDEN_SIZE, generator=generator, dtype=torch.float64).to(dtype)


def new_pooling(name, dtype=torch.float64):
    pooling = build_pooling(name, HIDDEN_SIZE).to(dtype)
    if name == "attention":  # at its initial zero it would only be tested as the mean
        with torch.no_grad():
            pooling.query.weight.copy_(torch.linspace(-1, 1, HIDDEN_SIZE))
    return pooling


def reference(name, hidden, lengths):
    """One sequence after the other, in numpy."""
    rows = []
    for tokens in np.split(hidden.detach().double().numpy(), np.cumsum(lengths)[:-1]):
        if len(tokens) == 0:
            rows.append(np.zeros(HIDDEN_SIZE))
        elif name == "cls":
            rows.append(tokens[0])
        elif name == "mean":
            rows.append(tokens.mean(0))
        elif name == "max":
            rows.append(tokens.max(0))
        else:
            weights = np.exp(tokens @ np.linspace(-1, 1, HIDDEN_SIZE))
            rows.append(weights @ tokens / weights.sum())
    return torch.tensor(np.stack(rows))


@pytest.mark.parametrize("lengths", [LENGTHS, WITH_EMPTY, (4,), (0,), (1, 1)])
@pytest.mark.parametrize("name", POOLINGS)
def test_equals_a_loop_over_sequences(name, lengths):
    hidden = random_hidden(lengths)
    pooled = new_pooling(name)(hidden, offsets(lengths))
    torch.testing.assert_close(pooled, reference(name, hidden, lengths))


@pytest.mark.parametrize("lengths", [LENGTHS, WITH_EMPTY])
@pytest.mark.parametrize("name", POOLINGS)
def test_gradients(name, lengths):
    pooling = new_pooling(name)
    hidden = random_hidden(lengths).requires_grad_()
    cu_seqlens = offsets(lengths)
    assert torch.autograd.gradcheck(
        lambda hidden, *_: pooling(hidden, cu_seqlens), (hidden, *pooling.parameters())
    )


@pytest.mark.parametrize("name", POOLINGS)
def test_order_and_split_of_the_batch_change_nothing(name):
    pooling = new_pooling(name)
    sequences = random_hidden(LENGTHS).split(LENGTHS)
    pooled = pooling(torch.cat(sequences), offsets(LENGTHS))
    backwards = pooling(torch.cat(sequences[::-1]), offsets(LENGTHS[::-1]))
    assert torch.equal(backwards.flip(0), pooled)
    alone = [pooling(sequence, offsets([len(sequence)])) for sequence in sequences]
    assert torch.equal(torch.cat(alone), pooled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", POOLINGS)
def test_sums_in_float32_and_answers_in_the_dtype_it_got(name, dtype):
    lengths = (700,)  # a running sum in bfloat16 is off by percents at this length
    hidden = (random_hidden(lengths) + 1).to(dtype)
    pooling = new_pooling(name, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pooling(hidden, offsets(lengths))
    assert pooled.dtype == dtype
    # the rounding of the result, and of the query in 16 bits, is all that may differ
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(
        pooled.double(), reference(name, hidden, lengths), rtol=tolerance, atol=tolerance
    )


def test_attention_starts_as_the_mean_and_learns():
    hidden = random_hidden(LENGTHS, dtype=torch.float32)
    attention = AttentionPooling(HIDDEN_SIZE)
    pooled = attention(hidden, offsets(LENGTHS))
    assert torch.equal(pooled, build_pooling("mean", HIDDEN_SIZE)(hidden, offsets(LENGTHS)))
    pooled.square().sum().backward()
    assert attention.query.weight.grad.abs().min() > 0


def test_attention_survives_large_scores():
    attention = AttentionPooling(HIDDEN_SIZE)
    torch.nn.init.constant_(attention.query.weight, 1e4)
    hidden = torch.tensor([[1.0], [-1.0], [-3.0]]).expand(3, HIDDEN_SIZE)
    pooled = attention(hidden, offsets((2, 1)))
    torch.testing.assert_close(pooled, torch.tensor([[1.0], [-3.0]]).expand(2, HIDDEN_SIZE))


def test_gradients_of_attention_at_equal_scores():
    """Where the highest score is subtracted, and where a sequence's total is exactly 1."""
    pooling = new_pooling("attention")
    hidden = random_hidden((1,)).expand(sum(LENGTHS), -1).clone().requires_grad_()
    cu_seqlens = offsets(LENGTHS)
    assert torch.autograd.gradcheck(
        lambda hidden, _: pooling(hidden, cu_seqlens), (hidden, pooling.query.weight)
    )


def test_unknown_pooling():
    with pytest.raises(ConfigError, match=r"model\.pooling=median: must be one of cls, mean, max, attention"):
        build_pooling("median", HIDDEN_SIZE)


def test_mean_of_layers():
    layers = [random_hidden(LENGTHS, seed, torch.bfloat16) for seed in range(4)]
    mean = mean_of_layers(layers)
    expected = torch.stack([layer.double() for layer in layers]).mean(0)
    assert mean.dtype == torch.bfloat16
    torch.testing.assert_close(mean, expected.bfloat16())
    assert torch.equal(mean_of_layers(layers[:1]), layers[0])
