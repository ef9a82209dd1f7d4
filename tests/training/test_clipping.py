import copy

import pytest
import torch
from torch import nn

from bert_ft.training.clipping import clip_gradients


def parameters(scale=1.0):
    torch.manual_seed(0)
    made = [nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(2))]
    for parameter in made[:2]:
        parameter.grad = scale * torch.randn_like(parameter)
    return made


def norm(made):
    return torch.cat([p.grad.double().flatten() for p in made if p.grad is not None]).norm()


@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_the_norm_is_torchs(limit):
    made = parameters()
    theirs = copy.deepcopy(made)
    for ours, copied in zip(made, theirs, strict=True):
        copied.grad = None if ours.grad is None else ours.grad.clone()
    before, after = clip_gradients(made, limit, "norm")
    torch.testing.assert_close(before, nn.utils.clip_grad_norm_(theirs, limit))
    for ours, other in zip(made[:2], theirs[:2], strict=True):
        torch.testing.assert_close(ours.grad, other.grad)
    assert float(after) == pytest.approx(float(norm(made)), rel=1e-5)
    assert float(after) <= limit


def test_values_are_cut():
    made = parameters()
    expected = [p.grad.clamp(-0.2, 0.2) for p in made[:2]]
    before, after = clip_gradients(made, 0.2, "value")
    for ours, theirs in zip(made[:2], expected, strict=True):
        assert torch.equal(ours.grad, theirs)
    assert float(after) == pytest.approx(float(norm(made)))
    assert after < before


def test_no_limit_changes_nothing():
    made = parameters(50.0)
    expected = [p.grad.clone() for p in made[:2]]
    before, after = clip_gradients(made, None, "norm")
    assert before is after
    assert all(torch.equal(p.grad, e) for p, e in zip(made[:2], expected, strict=True))


def test_no_gradients_are_0():
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0, "norm")[0] == 0
