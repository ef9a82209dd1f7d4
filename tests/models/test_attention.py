import itertools

import pytest
import torch
from transformers import AttentionInterface

from bert_ft.models import attention
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
    attend = AttentionInterface._global_mapping[PACKED_SDPA]
    expected, _ = attend(torch.nn.Module(), *states, None, layout=layout, sliding_window=sliding_window)
    monkeypatch.setattr("bert_ft.models.attention._has_flash", lambda _: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    found, _ = attend(torch.nn.Module(), *states, None, layout=layout, sliding_window=sliding_window)
    torch.testing.assert_close(found, expected)
    reach = -1 if sliding_window is None else 2
    assert calls == [(6, 6, (reach, reach))]


def test_sequences_padded_for_a_gpu():
    """What a GPU computes in 32 bits, on the CPU: the same as a length at a time, gradients too."""
    torch.manual_seed(0)
    lengths = [1, 4, 4, 6, 9]
    packed = [torch.randn(sum(lengths), 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    layout = SequenceLayout(lengths, num_heads=2)
    found = attention._padded(tuple(packed), layout, 0.0, 0.3)
    expected = attention._by_group(attention._sdpa, tuple(packed), layout, 0.0, 0.3, None)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, packed, gradient),
        torch.autograd.grad(expected, packed, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
