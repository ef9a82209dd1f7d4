"""Bucketed attention against torch's own, one sequence at a time."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bert_ft.kernels import packed_attention as module
from bert_ft.kernels.dropout import LEVELS
from bert_ft.kernels.packed_attention import BucketLayout, make_buckets, packed_attention

HEADS, HEAD_DIM = 3, 5


def random_states(num_tokens: int, dtype=torch.float64):
    return [torch.randn(num_tokens, HEADS, HEAD_DIM, dtype=dtype, requires_grad=True) for _ in range(3)]


def reference(query, key, value, lengths):
    outputs = []
    for parts in zip(*(state.split(lengths) for state in (query, key, value)), strict=True):
        outputs.append(F.scaled_dot_product_attention(*(part.transpose(0, 1) for part in parts)))
    return torch.cat([output.transpose(0, 1) for output in outputs])


LENGTHS = [[1], [1, 1, 1], [2, 3, 3, 7, 8, 9, 20], [64, 64], sorted([5, 17, 33, 33, 60, 2, 2])]


COSTS = {"one length each": (0, module.MAX_BUCKET), "as is": (module.BUCKET_COST, module.MAX_BUCKET)}
COSTS |= {"one bucket": (10**9, 10**9), "bounded": (10**9, 2_000), "one sequence each": (0, 1)}


@pytest.mark.parametrize(("cost", "limit"), COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients(lengths, cost, limit, monkeypatch):
    monkeypatch.setattr(module, "BUCKET_COST", cost)
    monkeypatch.setattr(module, "MAX_BUCKET", limit)
    torch.manual_seed(0)
    states = random_states(sum(lengths))
    layout = BucketLayout.of(lengths, HEADS)
    output = packed_attention(*states, layout, dropout=0.0, scaling=HEAD_DIM**-0.5)
    expected = reference(*states, lengths)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    gradient = torch.randn_like(output)
    ours = torch.autograd.grad(output, states, gradient)
    theirs = torch.autograd.grad(expected, states, gradient)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-12)


def test_gradients_with_dropout_on():
    """Numerical gradients, the mask held still by the seed."""
    lengths = [1, 3, 4]
    torch.manual_seed(0)
    states = random_states(sum(lengths))
    layout = BucketLayout.of(lengths, HEADS)

    def attend(*states):
        torch.manual_seed(7)
        return packed_attention(*states, layout, dropout=0.4, scaling=0.7)

    assert torch.autograd.gradcheck(attend, states)


def test_the_rate_of_dropped_weights():
    """Equal scores, and values that show each weight in a feature of its own."""
    torch.manual_seed(0)
    count, length, rate = 400, 32, 0.1
    states = torch.zeros(count * length, HEADS, length)
    values = torch.eye(length)[:, None].expand(length, HEADS, length).repeat(count, 1, 1)
    layout = BucketLayout.of([length] * count, HEADS)
    output = packed_attention(states, states, values, layout, dropout=rate, scaling=1.0)
    exact = round(rate * LEVELS) / LEVELS
    assert output.numel() > 1e6
    dropped = (output == 0).double().mean().item()
    # four standard deviations of a binomial share
    assert dropped == pytest.approx(exact, abs=4 * (exact * (1 - exact) / output.numel()) ** 0.5)
    torch.testing.assert_close(output.max(), torch.tensor(1 / length / (1 - exact)))


def test_bfloat16():
    torch.manual_seed(0)
    lengths = [3, 9, 9]
    states = [state.detach().bfloat16() for state in random_states(sum(lengths))]
    settings = {"layout": BucketLayout.of(lengths, HEADS), "dropout": 0.0, "scaling": 0.4}
    output = packed_attention(*states, **settings)
    expected = packed_attention(*(state.double() for state in states), **settings)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=0.03)


def test_buckets_cover_every_sequence_once_and_hold_it():
    rng = np.random.default_rng(0)
    for _ in range(50):
        lengths = sorted(rng.integers(1, 200, size=rng.integers(1, 60)).tolist())
        buckets = make_buckets(lengths, 12)
        assert [bucket.first for bucket in buckets[1:]] == [bucket.last for bucket in buckets[:-1]]
        assert (buckets[0].first, buckets[-1].last) == (0, len(lengths))
        for bucket in buckets:
            assert max(lengths[bucket.first : bucket.last]) == bucket.length


def score_elements(bucket, num_heads):
    return num_heads * (bucket.last - bucket.first) * bucket.length**2


@pytest.mark.parametrize("limit", [1, 5_000, module.MAX_BUCKET])
def test_buckets_are_bounded(limit, monkeypatch):
    """Even if joining more would cost nothing; only a single sequence that is too long exceeds the bound."""
    monkeypatch.setattr(module, "MAX_BUCKET", limit)
    rng = np.random.default_rng(0)
    for lengths in ([60] * 500, [1] * 2000, sorted(rng.integers(1, 400, size=300).tolist())):
        buckets = make_buckets(lengths, 12)
        assert len(buckets) > 1 or score_elements(buckets[0], 12) <= limit
        for bucket in buckets:
            assert score_elements(bucket, 12) <= limit or bucket.last - bucket.first == 1
        # and no smaller than needed: equal lengths are split only because of the limit
        for left, right in pairwise(buckets):
            if lengths[left.first] == lengths[right.first]:
                joined = (left.last - left.first + 1) * 12 * left.length**2
                assert joined > limit


def test_short_texts_need_few_buckets():
    rng = np.random.default_rng(0)
    lengths = sorted(rng.integers(5, 60, size=32).tolist())
    assert len(set(lengths)) > 20
    assert len(make_buckets(lengths, 12)) <= 8
