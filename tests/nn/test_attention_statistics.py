"""Attention statistics against a loop in numpy, and closed forms."""

import math

import numpy as np
import pytest
import torch

from bert_ft.nn.attention_statistics import attention_statistics

pytestmark = pytest.mark.slow

NAMES = ["entropy", "distance", "on_first", "on_last", "on_self"]


def random_attention(length=6, seed=0):
    scores = np.random.default_rng(seed).normal(scale=2, size=(2, 3, length, length))
    return torch.from_numpy(scores).softmax(-1)


def of_a_loop(weights, query):
    length = len(weights)
    return {
        "entropy": -sum(w * math.log(w) for w in weights if w > 0) / math.log(length),
        "distance": sum(w * abs(query - key) for key, w in enumerate(weights)),
        "on_first": weights[0],
        "on_last": weights[length - 1],
        "on_self": weights[query],
    }


def test_equal_a_loop():
    attention = random_attention()
    statistics = attention_statistics(attention)
    assert list(statistics) == NAMES
    for layer, head, query in np.ndindex(2, 3, 6):
        expected = of_a_loop(attention[layer, head, query].tolist(), query)
        for name, value in expected.items():
            assert float(statistics[name][layer, head, query]) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (torch.full((5, 5), 0.2), [1, [2, 1.4, 1.2, 1.4, 2], 0.2, 0.2, 0.2]),
        (torch.eye(5), [0, 0, [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], 1]),
        (torch.eye(5)[[0] * 5], [0, [0, 1, 2, 3, 4], 1, 0, [1, 0, 0, 0, 0]]),
        (torch.eye(5)[[4] * 5], [0, [4, 3, 2, 1, 0], 0, 1, [0, 0, 0, 0, 1]]),
        (torch.eye(5)[[1, 2, 3, 4, 0]], [0, [1, 1, 1, 1, 4], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], 0]),
    ],
    ids=["alike", "itself", "first", "last", "next"],
)
def test_closed_forms(weights, expected):
    statistics = attention_statistics(weights[None, None])
    for name, values in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(
            statistics[name][0, 0], torch.as_tensor(values).float().expand(5), msg=name
        )


def test_a_text_of_one_token():
    values = {name: float(value) for name, value in attention_statistics(torch.ones(1, 1, 1, 1)).items()}
    assert values == {"entropy": 0, "distance": 0, "on_first": 1, "on_last": 1, "on_self": 1}


def test_nan_stays_with_its_head():
    attention = random_attention()
    attention[1, 2] = math.nan
    for name, values in attention_statistics(attention).items():
        assert values.isnan().any(-1).tolist() == [[False] * 3, [False, False, True]], name
