"""The FGM perturbation: its size, its direction, and that it raises the loss."""

import numpy as np
import pytest
import torch

from bert_ft.nn.adversarial import fgm_perturbation

LENGTHS = (2, 0, 1, 4)
CU_SEQLENS = torch.tensor([0, 2, 2, 3, 7], dtype=torch.int32)


def random_gradient():
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_equals_a_loop_over_sequences():
    expected = [
        0.3 * part / np.linalg.norm(part)
        for part in np.split(random_gradient().numpy(), [2, 2, 3])
        if len(part)
    ]
    np.testing.assert_allclose(fgm_perturbation(random_gradient(), 0.3, CU_SEQLENS), np.concatenate(expected))


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-80, 2.0**100], ids=["denormal", "tiny", "huge"])
def test_squares_that_float32_does_not_hold(scale):
    """Tiny: as of a focal loss, for a text that is certain. One sequence beside others of ordinary size."""
    gradient = random_gradient().float()
    gradient[3:] = (1024 * gradient[3:]).round() / 1024  # exact as denormals
    expected = fgm_perturbation(gradient, 0.5, CU_SEQLENS)
    gradient[3:] *= scale
    found = fgm_perturbation(gradient, 0.5, CU_SEQLENS)
    torch.testing.assert_close(found, expected, rtol=1e-2 if scale == 2.0**-140 else 0, atol=0)


def test_a_zero_gradient_perturbs_nothing():
    for epsilon in (1.0, 100.0):
        perturbation = fgm_perturbation(torch.zeros(7, 5), epsilon, CU_SEQLENS)
        assert torch.equal(perturbation, torch.zeros(7, 5))


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_an_overflow_perturbs_only_the_other_sequences(value):
    """As float16 gives it: one value of the second of three sequences."""
    gradient, cu_seqlens = torch.randn(9, 4), torch.tensor([0, 2, 6, 9])
    expected = fgm_perturbation(gradient, 0.5, cu_seqlens)
    expected[2:6] = 0
    gradient[3, 1] = value
    torch.testing.assert_close(fgm_perturbation(gradient, 0.5, cu_seqlens), expected, rtol=0, atol=0)


def test_16_bit_gradients_are_squared_in_float32():
    gradient = torch.full((7, 5), 1e-4, dtype=torch.float16)  # its square is below float16's smallest number
    perturbation = fgm_perturbation(gradient, 1.0, CU_SEQLENS)
    assert perturbation.dtype == torch.float16
    sizes = [part.double().norm().item() for part in perturbation.split(LENGTHS) if len(part)]
    np.testing.assert_allclose(sizes, 1.0, rtol=1e-3)


def test_no_other_step_of_that_size_raises_the_loss_more():
    embeddings = random_gradient().requires_grad_()
    direction = torch.linspace(-1, 1, 35, dtype=torch.float64).view(7, 5)
    (embeddings * direction).sum().backward()
    best = fgm_perturbation(embeddings.grad, 0.5, CU_SEQLENS)
    for seed in range(20):
        other = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        other = fgm_perturbation(other, 0.5, CU_SEQLENS)
        assert (best * direction).sum() > (other * direction).sum()
