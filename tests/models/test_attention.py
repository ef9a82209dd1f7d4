import itertools

import pytest
import torch
from transformers import AttentionInterface

from bert_ft.models.attention import PACKED_SDPA, SequenceLayout


@pytest.mark.parametrize("sliding_window", [None, 3])
def test_the_kernel_for_packed_sequences_is_given_what_it_takes(monkeypatch, sliding_window):
    """No GPU runs here: torch's kernel is stood in for by attention written out, which checks the arguments."""
    calls = []

    def varlen_attn(query, key, value, cu_q, cu_k, max_q, max_k, *, scale, window_size):
        calls.append((max_q, max_k, window_size))
        assert cu_q.dtype == cu_k.dtype == torch.int32
        outputs = []
        for start, stop in itertools.pairwise(cu_q.tolist()):
            q, k, v = (states[start:stop].transpose(0, 1) for states in (query, key, value))
            distance = (torch.arange(stop - start)[:, None] - torch.arange(stop - start)).abs()
            scores = q @ k.transpose(1, 2) * scale
            if window_size != (-1, -1):
                scores = scores.masked_fill(distance > window_size[0], -torch.inf)
            outputs.append((scores.softmax(-1) @ v).transpose(0, 1))
        return torch.cat(outputs)

    states = [torch.randn(1, 2, 11, 8, dtype=torch.float64) for _ in range(3)]
    layout = SequenceLayout([0, 1, 4, 6], num_heads=2)
    attention = AttentionInterface._global_mapping[PACKED_SDPA]
    expected, _ = attention(torch.nn.Module(), *states, None, layout=layout, sliding_window=sliding_window)
    monkeypatch.setattr("bert_ft.models.attention._has_varlen", lambda _: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    found, _ = attention(torch.nn.Module(), *states, None, layout=layout, sliding_window=sliding_window)
    torch.testing.assert_close(found, expected)
    reach = -1 if sliding_window is None else 2
    assert calls == [(6, 6, (reach, reach))]
