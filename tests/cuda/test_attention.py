"""Packed attention on a GPU against attention written out in float64."""

import pytest
import torch
from transformers import AttentionInterface

from bert_ft.models import attention as module
from bert_ft.models.attention import PACKED_SDPA, SequenceLayout

LENGTHS = [1, 1, 4, 7, 7, 30, 64, 129]
HEADS, HEAD_DIM = 3, 32
# of the largest value; the kernels keep sums in float32
ERRORS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def random_states(dtype, lengths=LENGTHS, head_dim=HEAD_DIM):
    torch.manual_seed(0)
    shape = (1, HEADS, sum(lengths), head_dim)
    return [torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3)]


def attend(states, *, lengths=LENGTHS, **options):
    layout = SequenceLayout(lengths, num_heads=HEADS)
    return AttentionInterface._global_mapping[PACKED_SDPA](
        torch.nn.Module(), *states, None, layout=layout, **options
    )[0]


def written_out(states, window=None):
    """``(1, num_tokens, heads, head_dim)``."""
    outputs = []
    for query, key, value in zip(*(state[0].split(LENGTHS, dim=1) for state in states), strict=True):
        scores = query @ key.transpose(1, 2) * HEAD_DIM**-0.5
        if window is not None:
            positions = torch.arange(query.shape[1], device=query.device)
            scores = scores.masked_fill((positions[:, None] - positions).abs() >= window, -torch.inf)
        outputs.append((scores.softmax(-1) @ value).transpose(0, 1))
    return torch.cat(outputs)[None]


@pytest.fixture
def kernels(monkeypatch):
    """The names of those that were called."""
    called = []
    for name in ("_flash", "_padded", "_by_group"):
        plain = getattr(module, name)

        def noting(*args, name=name, plain=plain):
            called.append(name)
            return plain(*args)

        monkeypatch.setattr(module, name, noting)
    return called


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_values_and_gradients(kernels, dtype, window):
    states = random_states(dtype)
    exact = [state.detach().double().requires_grad_() for state in states]
    output, expected = attend(states, sliding_window=window), written_out(exact, window)
    gradient = torch.randn_like(expected)
    found = [output, *torch.autograd.grad(output, states, gradient.to(dtype))]
    wanted = [expected, *torch.autograd.grad(expected, exact, gradient)]
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.double() - theirs).abs().max() < ERRORS[dtype] * theirs.abs().max()
    if dtype is torch.float32:
        assert kernels == ["_by_group" if window else "_padded"]
    else:
        assert kernels == ["_flash"]


@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_dropout_keeps_the_mean_and_changes_every_pass(kernels, dtype):
    states = [state.detach() for state in random_states(dtype)]
    passes = torch.stack([attend(states, dropout=0.5).float() for _ in range(400)])
    expected = written_out([state.double() for state in states]).float()
    error = passes.std(0) / 400**0.5
    assert ((passes.mean(0) - expected).abs() < 6 * error + 0.02).all()
    assert (passes[0] != passes[1]).float().mean() > 0.5
    alone = passes[:, 0, 0]  # a sequence of one token: all of it, twice, or nothing
    kept = (alone[..., 0] != 0).float().mean(0)
    assert ((kept - 0.5).abs() < 0.15).all()
    assert set(kernels) == {"_padded" if dtype is torch.float32 else "_flash"}


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("dtype", ERRORS, ids=str)
def test_the_backward_pass_drops_what_the_forward_pass_dropped(dtype, window):
    """The output is linear in the values, so that its change is their gradient times their change, exactly."""
    query, key, value = random_states(dtype)
    moved = (value + torch.randn_like(value)).detach()
    state = torch.cuda.get_rng_state()
    output = attend([query, key, value], dropout=0.5, sliding_window=window).double()
    torch.cuda.set_rng_state(state)
    other = attend([query, key, moved], dropout=0.5, sliding_window=window).double()
    weights = torch.randn_like(output)
    (gradient,) = torch.autograd.grad((output * weights).sum(), value)
    found = ((other - output) * weights).sum().item()
    expected = (gradient.double() * (moved - value).double()).sum().item()
    scale = ((other - output) * weights).square().sum().sqrt().item()  # of a sum of so many, by chance
    assert abs(found - expected) < 5 * ERRORS[dtype] * scale


def test_head_widths_that_flash_attention_does_not_take(kernels):
    states = random_states(torch.bfloat16, head_dim=5)
    assert attend(states, dropout=0.1).isfinite().all()
    assert kernels == ["_padded"]
