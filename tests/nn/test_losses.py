"""Losses against torch where they agree, and against float64 recomputations in numpy where not."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from bert_ft.errors import ConfigError
from bert_ft.nn.losses import (
    CrossEntropy,
    Focal,
    SupervisedContrastive,
    balanced_class_weights,
    symmetric_kl,
)

WEIGHTS = [0.5, 2.0, 1.0, 4.0]
LABELS = torch.tensor([0, 1, 2, 3, 0, 0, 2])


def random_logits(rows=7, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64)


def numpy_log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class TestCrossEntropy:
    @pytest.mark.parametrize(("smoothing", "weights"), [(0, None), (0.1, None), (0, WEIGHTS)])
    def test_equals_torch(self, smoothing, weights):
        loss = CrossEntropy(smoothing, weights)(random_logits(), LABELS)
        weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        expected = F.cross_entropy(random_logits(), LABELS, weight=weight, label_smoothing=smoothing)
        torch.testing.assert_close(loss, expected)

    def test_smoothing_is_spread_without_class_weights(self):
        log_probs, labels = numpy_log_softmax(random_logits().numpy()), LABELS.numpy()
        weights = np.array(WEIGHTS)
        target = 0.9 * np.eye(4)[labels] + 0.1 / 4
        per_row = -(target * log_probs).sum(-1)
        expected = (weights[labels] * per_row).sum() / weights[labels].sum()
        loss = CrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS)(random_logits(), LABELS)
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        torchs = F.cross_entropy(
            random_logits(), LABELS, weight=torch.tensor(WEIGHTS, dtype=torch.float64), label_smoothing=0.1
        )
        assert loss.item() != pytest.approx(torchs.item(), rel=1e-3)


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
@pytest.mark.parametrize("loss", [CrossEntropy, Focal])
class TestClassificationLosses:
    def test_order_changes_nothing(self, loss, class_weights):
        loss = loss(class_weights=class_weights)
        expected = loss(random_logits(), LABELS)
        torch.testing.assert_close(loss(random_logits().flip(0), LABELS.flip(0)), expected)

    def test_pieces_weighted_by_their_total_weight_give_the_batch(self, loss, class_weights):
        loss = loss(class_weights=class_weights)
        pieces = list(zip(random_logits().split((5, 2)), LABELS.split((5, 2)), strict=True))
        parts = torch.stack([loss(logits, labels) for logits, labels in pieces])
        totals = torch.tensor([float(loss.total_weight(labels)) for _, labels in pieces])
        torch.testing.assert_close((parts * totals).sum() / totals.sum(), loss(random_logits(), LABELS))

    def test_gradient(self, loss, class_weights):
        loss = loss(class_weights=class_weights)
        logits = random_logits().requires_grad_()
        assert torch.autograd.gradcheck(lambda logits: loss(logits, LABELS), (logits,))

    def test_weights_are_no_part_of_the_state(self, loss, class_weights):
        assert not loss(class_weights=class_weights).state_dict()


class TestFocal:
    @pytest.mark.parametrize("class_weights", [None, WEIGHTS])
    def test_without_gamma_is_cross_entropy(self, class_weights):
        focal = Focal(gamma=0.0, class_weights=class_weights)(random_logits(), LABELS)
        torch.testing.assert_close(focal, CrossEntropy(class_weights=class_weights)(random_logits(), LABELS))

    @pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
    def test_equals_the_formula(self, gamma):
        probs = np.exp(numpy_log_softmax(random_logits().numpy()))[np.arange(7), LABELS.numpy()]
        expected = -((1 - probs) ** gamma * np.log(probs)).mean()
        assert Focal(gamma=gamma)(random_logits(), LABELS).item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
    def test_certain_rows_have_finite_gradients(self, gamma):
        logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
        Focal(gamma=gamma)(logits, torch.tensor([0, 1])).backward()
        assert logits.grad.isfinite().all()
        assert logits.grad[0].tolist() == [0.0, 0.0]
        assert logits.grad[1].any()


def contrastive_by_hand(features, labels, temperature):
    """Equation 2 of Khosla et al., anchor by anchor."""
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    per_anchor = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        positives = [j for j in others if labels[j] == label]
        if positives:
            log_sum = np.log(sum(np.exp(features[i] @ features[j] / temperature) for j in others))
            per_anchor.append(
                -np.mean([features[i] @ features[j] / temperature - log_sum for j in positives])
            )
    return np.mean(per_anchor)


def same(labels):
    return labels[:, None] == labels


class TestSupervisedContrastive:
    @pytest.mark.parametrize("temperature", [0.07, 1.0])
    def test_equals_the_formula(self, temperature):
        # labels 1 and 3 occur once: they count as negatives, but not as anchors
        loss = SupervisedContrastive(temperature)(random_logits(), same(LABELS))
        expected = contrastive_by_hand(random_logits().numpy(), LABELS.tolist(), temperature)
        assert loss.item() == pytest.approx(expected, rel=1e-12)

    def test_gradient(self):
        features = random_logits().requires_grad_()
        loss = SupervisedContrastive(0.5)
        assert torch.autograd.gradcheck(lambda features: loss(features, same(LABELS)), (features,))

    def test_order_and_scale_change_nothing(self):
        loss = SupervisedContrastive(0.1)
        expected = loss(random_logits(), same(LABELS))
        torch.testing.assert_close(loss(random_logits().flip(0), same(LABELS.flip(0))), expected)
        torch.testing.assert_close(loss(3 * random_logits(), same(LABELS)), expected)

    @pytest.mark.parametrize("rows", [1, 3])
    def test_a_batch_without_positives_is_zero_with_a_gradient(self, rows):
        features = random_logits(rows).float().requires_grad_()
        with torch.autograd.set_detect_anomaly(True):  # a NaN on the way would be hidden by the mask
            loss = SupervisedContrastive(0.1)(features, same(torch.arange(rows)))
            loss.backward()
        assert loss.item() == 0
        assert not features.grad.any()


class TestSymmetricKl:
    def test_equals_torch(self):
        a, b = random_logits(seed=0).log_softmax(-1), random_logits(seed=1).log_softmax(-1)
        kl = [F.kl_div(q, p, reduction="batchmean", log_target=True) for p, q in ((a, b), (b, a))]
        found = symmetric_kl(random_logits(seed=0), random_logits(seed=1))
        torch.testing.assert_close(found.mean(), sum(kl) / 2)
        assert found.shape == (len(a),)

    def test_equal_logits_cost_nothing(self):
        assert symmetric_kl(random_logits(), random_logits() + 3).abs().max() < 1e-15

    def test_gradient_flows_into_both_and_is_zero_for_equal_logits(self):
        a, b, other = (random_logits(seed=seed).requires_grad_() for seed in (0, 0, 1))
        assert torch.autograd.gradcheck(symmetric_kl, (a, other))
        assert torch.autograd.gradcheck(symmetric_kl, (a, b))
        symmetric_kl(a, b).sum().backward()
        assert not a.grad.any()
        assert not b.grad.any()


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS),
        Focal(),
        lambda logits, labels: SupervisedContrastive()(logits, same(labels)),
        lambda logits, labels: symmetric_kl(logits, logits.flip(0)),
    ],
)
@pytest.mark.parametrize("autocast", [True, False])
def test_computes_in_float32_from_16_bits(loss, autocast):
    logits = random_logits().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = loss(logits, LABELS)
    assert value.dtype == torch.float32
    # bfloat16 products would be off by 4e-3
    torch.testing.assert_close(value.double(), loss(logits.double(), LABELS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", [[3, 1, 6], [5, 5], [1, 1000]])
def test_balanced_weights_equal_scikit_learns(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert balanced_class_weights(counts) == pytest.approx(expected)


def test_balanced_weights_need_a_row_of_each_label():
    with pytest.raises(ConfigError, match=r"loss\.class_weights=balanced: label 1 has 0 training rows"):
        balanced_class_weights([3, 0, 2])


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (CrossEntropy, {"label_smoothing": 1.0}, r"loss\.label_smoothing=1\.0: must be"),
        (Focal, {"class_weights": [1.0, float("inf")]}, r"loss\.class_weights=\[1\.0, inf\]: must be"),
        (Focal, {"gamma": -1.0}, r"loss\.gamma=-1\.0: must be"),
        (SupervisedContrastive, {"temperature": 0.0}, r"loss\.contrastive_temperature=0\.0: must be"),
    ],
)
def test_out_of_range(loss, arguments, message):
    with pytest.raises(ConfigError, match=message):
        loss(**arguments)


def test_class_weights_of_another_number_of_labels():
    with pytest.raises(ConfigError, match=r"loss\.class_weights has 5 weights for 4 labels"):
        CrossEntropy(class_weights=[1.0] * 5)(random_logits(), LABELS)


def test_class_weights_are_not_rounded_with_the_model():
    """As ``trainer.precision=bf16-true`` converts it: 1.0321 would become 1.0312."""
    loss = CrossEntropy(class_weights=[1.0321, 0.9697]).bfloat16()
    labels = torch.tensor([0, 1, 1, 0, 1])
    assert float(loss.total_weight(labels)) == pytest.approx(2 * 1.0321 + 3 * 0.9697, abs=1e-6)
