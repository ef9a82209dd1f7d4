import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from bert_ft.nn.contrastive import contrastive_loss
from bert_ft.nn.label_set_losses import Asymmetric, BinaryCrossEntropy, BinaryFocal, bernoulli_divergence

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 1.0], [0.2, -0.4, -2.0]])
LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).bool()


def test_binary_cross_entropy():
    """Of a row without labels as of the others; numbers computed by hand with numpy."""
    assert float(BinaryCrossEntropy()(LOGITS, LABELS)) == pytest.approx(0.53415, abs=1e-5)
    assert float(BinaryCrossEntropy(0.1)(LOGITS, LABELS)) == pytest.approx(0.57248, abs=1e-5)
    weights = [3.0, 1.0, 0.5]
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))(LOGITS, LABELS.float())
    assert float(BinaryCrossEntropy(class_weights=weights)(LOGITS, LABELS)) == pytest.approx(float(expected))


def test_focal_of_gamma_0_is_cross_entropy():
    assert float(BinaryFocal(0)(LOGITS, LABELS)) == pytest.approx(float(BinaryCrossEntropy()(LOGITS, LABELS)))
    p = LOGITS.double().sigmoid().numpy()
    right = np.where(LABELS, p, 1 - p)
    expected = (-((1 - right) ** 2) * np.log(right)).mean()
    assert float(BinaryFocal(2)(LOGITS, LABELS)) == pytest.approx(expected)
    equal = Asymmetric(gamma_negative=0, gamma_positive=0, clip=0)(LOGITS, LABELS)
    assert float(equal) == pytest.approx(float(BinaryCrossEntropy()(LOGITS, LABELS)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_asymmetric_far_off_is_finite_and_has_a_gradient(dtype):
    logits = torch.tensor([[-60.0], [60.0], [-60.0], [60.0]], dtype=dtype, requires_grad=True)
    losses = Asymmetric().per_row(logits.float(), torch.tensor([[1], [0], [0], [1]]))
    assert losses.tolist() == pytest.approx([60, 2.44004, 0, 0], abs=1e-5)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient.isfinite().all()
    assert float(gradient[0]) == pytest.approx(-1)


def test_divergence_is_that_of_torch():
    first, second = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    a, b = Bernoulli(logits=first), Bernoulli(logits=second)
    expected = (kl_divergence(a, b) + kl_divergence(b, a)).mean(1) / 2
    torch.testing.assert_close(bernoulli_divergence(first, second), expected)


def test_contrastive_weights_of_1_are_positives():
    generator = torch.Generator().manual_seed(0)
    vectors, positive = torch.randn(6, 4, generator=generator), torch.rand(6, 6, generator=generator) < 0.4
    itself = torch.eye(6).bool()
    plain = contrastive_loss(vectors, vectors, positive, itself, 0.1)
    assert float(contrastive_loss(vectors, vectors, positive.float(), itself, 0.1)) == pytest.approx(
        float(plain)
    )
    assert float(contrastive_loss(vectors, vectors, positive * 0.3, itself, 0.1)) == pytest.approx(
        float(plain)
    )
