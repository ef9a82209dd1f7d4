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


@pytest.mark.parametrize(
    "cost", [0, module.BUCKET_COST, 10**9], ids=["one length each", "as is", "one bucket"]
)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients(lengths, cost, monkeypatch):
    monkeypatch.setattr(module, "BUCKET_COST", cost)
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


def test_dropout_falls_on_weights_at_its_rate():
    """With values all one, an output is the kept share of its weights, scaled up: 1 on average."""
    torch.manual_seed(0)
    lengths = [40] * 100
    query, key, _ = random_states(sum(lengths), torch.float32)
    values = torch.ones_like(query)
    layout = BucketLayout.of(lengths, HEADS)
    output = packed_attention(query, key, values, layout, dropout=0.1, scaling=HEAD_DIM**-0.5)[..., 0]
    assert output.mean().item() == pytest.approx(1, abs=0.01)
    assert 0.01 < output.std().item() < 0.2
    same = packed_attention(query, key, values, layout, dropout=0.0, scaling=HEAD_DIM**-0.5)
    torch.testing.assert_close(same, values)


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
    output = packed_attention(*states, BucketLayout.of(lengths, HEADS), dropout=0.0, scaling=0.4)
    wide = [state.double() for state in states]
    expected = packed_attention(*wide, BucketLayout.of(lengths, HEADS), dropout=0.0, scaling=0.4)
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
    """Even where joining more would cost nothing; only a sequence that is too long by itself goes beyond."""
    monkeypatch.setattr(module, "MAX_BUCKET", limit)
    rng = np.random.default_rng(0)
    for lengths in ([60] * 500, [1] * 2000, sorted(rng.integers(1, 400, size=300).tolist())):
        buckets = make_buckets(lengths, 12)
        assert len(buckets) > 1 or score_elements(buckets[0], 12) <= limit
        for bucket in buckets:
            assert score_elements(bucket, 12) <= limit or bucket.last - bucket.first == 1
        # and no smaller than they must be: equal lengths are split for the limit alone
        for left, right in pairwise(buckets):
            if lengths[left.first] == lengths[right.first]:
                joined = (left.last - left.first + 1) * 12 * left.length**2
                assert joined > limit


@pytest.mark.parametrize("lengths", LENGTHS)
def test_results_do_not_depend_on_the_bound(lengths, monkeypatch):
    torch.manual_seed(0)
    states = random_states(sum(lengths))
    gradient = torch.randn_like(states[0])
    results, layouts = [], []
    for limit in (1, 2_000, 10**9):
        monkeypatch.setattr(module, "MAX_BUCKET", limit)
        layouts.append(BucketLayout.of(lengths, HEADS))
        output = packed_attention(*states, layouts[-1], dropout=0.0, scaling=HEAD_DIM**-0.5)
        results.append([output, *torch.autograd.grad(output, states, gradient)])
    assert len(layouts[0].shapes) == len(lengths) >= len(layouts[-1].shapes)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_short_texts_need_few_buckets():
    rng = np.random.default_rng(0)
    lengths = sorted(rng.integers(5, 60, size=32).tolist())
    assert len(set(lengths)) > 20
    assert len(make_buckets(lengths, 12)) <= 8
