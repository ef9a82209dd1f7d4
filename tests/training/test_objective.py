"""What training minimizes, against the same computed by hand from plain passes of the model."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bert_ft.errors import ConfigError
from bert_ft.nn.losses import CrossEntropy, Focal, SupervisedContrastive
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.objective import LossTerms, Objective
from tests.autograd import kept_bytes

from .minimizing import (
    BATCH,
    BOTH_SIZES,
    PIECES,
    WHOLE,
    assert_close,
    assert_different,
    backward,
    classifier,
    gradients,
    minimized,
)


@BOTH_SIZES
class TestWithoutTerms:
    @pytest.mark.parametrize(
        "loss",
        [CrossEntropy(label_smoothing=0.1), CrossEntropy(class_weights=[0.5, 2.0, 3.0]), Focal()],
        ids=["smoothing", "class weights", "focal"],
    )
    @pytest.mark.parametrize("family", ["bert", "deberta"])
    def test_it_is_the_loss_of_the_batch(self, family, loss, max_tokens):
        model = classifier(family)
        expected = loss(model(BATCH), BATCH.labels)
        expected_gradients = backward(model, expected)
        total, parts = minimized(model, loss=loss, max_tokens=max_tokens)
        torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=1e-12)
        assert_close(gradients(model), expected_gradients)
        assert parts == {}

    def test_dropout_is_that_of_the_pieces(self, max_tokens):
        model = classifier(dropout=0.3)
        torch.manual_seed(7)
        logits = torch.cat([model(piece) for piece in BATCH.split(max_tokens)])
        expected = F.cross_entropy(logits, BATCH.labels)
        expected_gradients = backward(model, expected)
        total, _ = minimized(model, max_tokens=max_tokens, seed=7)
        torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=1e-12)
        assert_close(gradients(model), expected_gradients)
        minimized(model, max_tokens=max_tokens, seed=8)
        assert_different(gradients(model), expected_gradients)


def saved_bytes(model, max_tokens) -> int:
    """What is kept for the backward pass of a whole objective, parameters left out."""
    return kept_bytes(lambda: Objective(CrossEntropy())(model, BATCH, max_tokens))


def test_pieces_are_not_kept():
    model = classifier(dropout=0.1)
    assert saved_bytes(model, PIECES) < saved_bytes(model, WHOLE) / 20


@BOTH_SIZES
class TestContrastive:
    TERMS = LossTerms(contrastive_weight=0.7, contrastive_temperature=0.2)

    def by_hand(self, model, temperature=0.2):
        features = model.features(BATCH)
        loss = F.cross_entropy(model.logits(features), BATCH.labels)
        return loss, SupervisedContrastive(temperature)(features, BATCH.labels[:, None] == BATCH.labels)

    def test_it_is_added_with_its_weight(self, max_tokens):
        model = classifier()
        loss, contrastive = self.by_hand(model)
        expected_gradients = backward(model, loss + 0.7 * contrastive)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert contrastive.item() > 0.1
        assert total.item() == pytest.approx((loss + 0.7 * contrastive).item(), rel=1e-12)
        assert parts.keys() == {"labels", "contrastive"}
        assert parts["labels"].item() == pytest.approx(loss.item(), rel=1e-12)
        assert parts["contrastive"].item() == pytest.approx(contrastive.item(), rel=1e-12)
        assert not any(part.requires_grad for part in parts.values())
        assert_close(gradients(model), expected_gradients)

    def test_weight_and_temperature_count(self, max_tokens):
        model = classifier()
        loss, contrastive = self.by_hand(model, temperature=0.1)
        found, _ = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert found.item() != pytest.approx((loss + 0.7 * contrastive).item(), rel=1e-3)
        assert minimized(model, LossTerms(contrastive_temperature=0.2))[0].item() == loss.item()


@BOTH_SIZES
class TestRDrop:
    TERMS = LossTerms(r_drop_weight=0.8)

    def by_hand(self, model, max_tokens, seed):
        """Loss and divergence of two passes, the divergence by torch."""
        torch.manual_seed(seed)
        first, second = (torch.cat([model(piece) for piece in BATCH.split(max_tokens)]) for _ in range(2))
        loss = (F.cross_entropy(first, BATCH.labels) + F.cross_entropy(second, BATCH.labels)) / 2
        a, b = first.log_softmax(-1), second.log_softmax(-1)
        kl = [F.kl_div(q, p, reduction="batchmean", log_target=True) for p, q in ((a, b), (b, a))]
        return loss, sum(kl) / 2, (first, second)

    def test_without_dropout_it_adds_nothing(self, max_tokens):
        model = classifier()
        expected, _ = minimized(model, max_tokens=max_tokens)
        expected_gradients = gradients(model)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert parts["r_drop"].item() == 0
        assert total.item() == pytest.approx(expected.item(), rel=1e-12)
        assert_close(gradients(model), expected_gradients)

    def test_with_dropout_it_draws_two_passes_together(self, max_tokens):
        model = classifier(dropout=0.3)
        loss, divergence, _ = self.by_hand(model, max_tokens, seed=5)
        expected_gradients = backward(model, loss + 0.8 * divergence)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens, seed=5)
        assert divergence.item() > 0.01
        assert total.item() == pytest.approx((loss + 0.8 * divergence).item(), rel=1e-12)
        assert parts["labels"].item() == pytest.approx(loss.item(), rel=1e-12)
        assert parts["r_drop"].item() == pytest.approx(divergence.item(), rel=1e-12)
        assert_close(gradients(model), expected_gradients)

    def test_rows_weigh_as_in_the_loss(self, max_tokens):
        """So that a batch is the mean of its parts by ``weight``."""
        model = classifier(dropout=0.3)
        weights = torch.arange(1.0, 1 + model.num_labels)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            a, b = (
                torch.cat([model(piece) for piece in BATCH.split(max_tokens)]).log_softmax(-1)
                for _ in range(2)
            )
        rows = ((a.exp() - b.exp()) * (a - b)).sum(-1) / 2
        of_rows = weights[BATCH.labels]
        objective = Objective(
            CrossEntropy(class_weights=weights.tolist()), self.TERMS, SingleLabel()
        ).double()
        torch.manual_seed(5)
        _, parts = objective(model, BATCH, max_tokens)
        expected = (rows * of_rows).sum() / of_rows.sum()
        assert parts["r_drop"].item() == pytest.approx(expected.item(), rel=1e-9)

    def test_the_gradient_flows_into_both_passes(self, max_tokens):
        """What by_hand gives with one of the passes held fixed isn't it."""
        model = classifier(dropout=0.3)
        minimized(model, self.TERMS, max_tokens=max_tokens, seed=5)
        found = gradients(model)
        for fixed in range(2):
            loss, _, passes = self.by_hand(model, max_tokens, seed=5)
            a, b = (p.detach() if index == fixed else p for index, p in enumerate(passes))
            p, q = a.softmax(-1), b.softmax(-1)
            divergence = ((p - q) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1).mean() / 2
            assert_different(backward(model, loss + 0.8 * divergence), found)


def test_all_terms_together():
    model = classifier(dropout=0.2)
    terms = LossTerms(
        contrastive_weight=0.3, r_drop_weight=0.5, adversarial_epsilon=0.4, adversarial_weight=0.7
    )
    total, parts = minimized(model, terms, max_tokens=PIECES)
    assert set(parts) == {"labels", "contrastive", "r_drop", "adversarial"}
    assert all(part > 0 for part in parts.values())
    weighted = (
        parts["labels"] + 0.3 * parts["contrastive"] + 0.5 * parts["r_drop"] + 0.7 * parts["adversarial"]
    )
    torch.testing.assert_close(total, weighted, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("terms", "passes"),
    [
        ({}, 1),
        ({"contrastive_weight": 1.0}, 1),
        ({"r_drop_weight": 1.0}, 2),
        ({"adversarial_epsilon": 1.0}, 2),
        ({"adversarial_epsilon": 1.0, "adversarial_weight": 0.0}, 1),
        ({"r_drop_weight": 1.0, "adversarial_epsilon": 1.0}, 3),
    ],
)
def test_what_is_off_costs_no_pass(terms, passes):
    model = classifier()
    count = []
    model.encoder.register_forward_pre_hook(lambda *_: count.append(1))
    _, parts = minimized(model, LossTerms(**terms))
    assert len(count) == passes
    assert bool(parts) == (terms != {} and terms.get("adversarial_weight") != 0)


def test_weight_is_what_the_mean_has_divided_by():
    labels = torch.tensor([0, 2, 2, 1])
    assert Objective(CrossEntropy()).weight(labels) == 4
    assert Objective(nn.CrossEntropyLoss()).weight(labels) == 4
    weighted = Objective(CrossEntropy(class_weights=[0.5, 1.0, 4.0]))
    assert float(weighted.weight(labels)) == 0.5 + 4 + 4 + 1


@pytest.mark.parametrize("name", list(vars(LossTerms())))
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_terms_out_of_range(name, value):
    with pytest.raises(ConfigError, match=rf"loss\.{name}={value}: must be a number"):
        LossTerms(**{name: value})
