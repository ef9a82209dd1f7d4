"""Contrastive losses against loops in numpy, and over two processes against one."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

from bert_ft.nn.contrastive import (
    Projection,
    alignment,
    on_unit_sphere,
    simcse_loss,
    supervised_loss,
    uniformity,
)
from bert_ft.tasks.single_label import SingleLabel
from tests.several_processes import in_two

DIM = 8
TEXTS = torch.tensor([0, 1, 2, 1, 3, 4])  # the second and the fourth are copies
LABELS = torch.tensor([0, 1, 0, 0, 2, 1])
supervised = partial(supervised_loss, same_label=SingleLabel().same_label)
LOSSES = {"simcse": (simcse_loss, (TEXTS,)), "supervised": (supervised, (LABELS, TEXTS))}
PROCESSES = 2


def views(num_rows=6, seed=0):
    """Two views of each row, float64."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(num_rows, DIM, generator=generator, dtype=torch.float64)
    return first, first + 0.3 * torch.randn(num_rows, DIM, generator=generator, dtype=torch.float64)


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def simcse_by_hand(first, second, texts, temperature):
    losses = []
    for i, anchor in enumerate(first):
        terms = {
            j: math.exp(cosine(anchor, other) / temperature)
            for j, other in enumerate(second)
            if j == i or texts[j] != texts[i]
        }
        losses.append(-math.log(terms[i] / sum(terms.values())))
    return np.mean(losses)


def supervised_by_hand(first, second, labels, texts, temperature):
    rows, of_rows, texts = [*first, *second], [*labels, *labels], [*texts, *texts]
    losses = []
    for i, anchor in enumerate(rows):
        terms = {
            j: math.exp(cosine(anchor, other) / temperature)
            for j, other in enumerate(rows)
            if j != i and (texts[j] != texts[i] or of_rows[j] == of_rows[i])
        }
        positives = [j for j in terms if of_rows[j] == of_rows[i]]
        losses.append(-np.mean([math.log(terms[j] / sum(terms.values())) for j in positives]))
    return np.mean(losses)


CASES = pytest.mark.parametrize(
    ("loss", "by_hand", "groups"),
    [(simcse_loss, simcse_by_hand, (TEXTS,)), (supervised, supervised_by_hand, (LABELS, TEXTS))],
    ids=["simcse", "supervised"],
)


@CASES
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_equals_a_loop(loss, by_hand, groups, temperature):
    first, second = views()
    expected = by_hand(first.numpy(), second.numpy(), *(group.tolist() for group in groups), temperature)
    assert loss(first, second, *groups, temperature).item() == pytest.approx(expected, rel=1e-12)


@CASES
def test_gradients(loss, by_hand, groups):
    inputs = [view.requires_grad_() for view in views()]
    assert torch.autograd.gradcheck(lambda one, other: loss(one, other, *groups, 0.5), inputs)


def test_a_copy_with_another_label_is_no_negative():
    first, second = views()
    for labels, is_negative in ((LABELS, True), (LABELS[TEXTS], False)):
        without = supervised(first, second, labels, TEXTS, 0.1)
        assert (without < supervised(first, second, labels, torch.arange(6), 0.1)) == is_negative


@CASES
def test_a_single_text_is_zero_with_a_gradient(loss, by_hand, groups):
    first, second = (view.requires_grad_() for view in views(1))
    with torch.autograd.set_detect_anomaly(True):
        value = loss(first, second, *(torch.zeros_like(group[:1]) for group in groups), 0.05)
        value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert first.grad.abs().max() < 1e-12


@CASES
def test_a_vector_of_zeros_gets_no_gradient(loss, by_hand, groups):
    """It has no direction; the others' gradients are of the size that they have without it."""
    inputs = views()
    for view in inputs:
        view[2] = 0
        view.requires_grad_()
    with torch.autograd.set_detect_anomaly(True):
        loss(*inputs, *groups, 0.5).backward()
    for view in inputs:
        assert not view.grad[2].any()
        assert all(0 < row.abs().max() < 1 for row in view.grad[[0, 1, 3, 4, 5]])


class TestOnUnitSphere:
    def test_equals_torch(self):
        first, second = views()
        vectors = first.requires_grad_()
        outputs = F.normalize(vectors, dim=-1), on_unit_sphere(vectors)
        assert torch.equal(*outputs)
        assert torch.equal(*(torch.autograd.grad(output, vectors, second)[0] for output in outputs))

    @pytest.mark.parametrize("length", [0.0, 1e-30, 0.9e-12])
    def test_too_short(self, length):
        vector = torch.tensor([length, 0, 0], requires_grad=True)
        unit = on_unit_sphere(vector)
        unit.sum().backward()
        assert unit.tolist() == [0, 0, 0]
        assert vector.grad.tolist() == [0, 0, 0]

    def test_at_the_shortest_length_the_derivative_is_that_of_a_direction(self):
        """Which is 0 along the vector and 1 / length across it."""
        vector = torch.tensor([1e-12, 0], dtype=torch.float64, requires_grad=True)
        jacobian = torch.autograd.functional.jacobian(on_unit_sphere, vector)
        torch.testing.assert_close(jacobian, torch.tensor([[0, 0], [0, 1e12]], dtype=torch.float64))


@CASES
def test_16_bits_are_computed_in_32(loss, by_hand, groups):
    first, second = (view.bfloat16() for view in views())
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(first, second, *groups, 0.05)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(first.float(), second.float(), *groups, 0.05))


class TestCollapse:
    def test_alignment_and_uniformity_are_means_over_pairs(self):
        first, second = views()
        unit, others = (view / view.norm(dim=1, keepdim=True) for view in (first, second))
        distances = [float((a - b).square().sum()) for a, b in zip(unit, others, strict=True)]
        assert alignment(first, second).item() == pytest.approx(np.mean(distances))
        pairs = [math.exp(-2 * float((unit[i] - unit[j]).square().sum())) for i in range(6) for j in range(i)]
        assert uniformity(first).item() == pytest.approx(math.log(np.mean(pairs)))

    def test_collapsed(self):
        vectors = torch.ones(5, DIM) * torch.arange(1, 6)[:, None]
        assert uniformity(vectors).item() == pytest.approx(0, abs=1e-5)
        assert alignment(vectors, 2 * vectors).item() == pytest.approx(0, abs=1e-5)
        assert uniformity(vectors[:1]).isnan()

    def test_spread(self):
        vectors = torch.randn(500, 512, generator=torch.Generator().manual_seed(0))
        assert uniformity(vectors).item() == pytest.approx(-4, abs=0.1)


class TestProjection:
    def test_layers(self):
        projection = Projection(DIM, [4, 3])
        assert [type(layer) for layer in projection] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh]
        assert projection(torch.randn(2, DIM)).shape == (2, 3)
        vectors = torch.randn(2, DIM)
        assert Projection(DIM, [])(vectors) is vectors


def in_a_process(rank, folder, name):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    loss, groups = LOSSES[name]
    weight = torch.eye(DIM, dtype=torch.float64).requires_grad_()
    first, second = (view.chunk(PROCESSES)[rank] @ weight for view in views())
    value = loss(first, second, *(group.chunk(PROCESSES)[rank] for group in groups), 0.1)
    value.backward()
    torch.save((value.detach(), weight.grad), f"{folder}/{rank}")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simcse", "supervised"])
def test_two_processes_are_one(tmp_path, name):
    """The mean of their losses and, as DDP takes it, of their gradients, which go through the other's vectors."""
    in_two(lambda rank: in_a_process(rank, str(tmp_path), name), tmp_path)
    values, gradients = zip(*(torch.load(tmp_path / str(rank)) for rank in range(PROCESSES)), strict=True)
    loss, groups = LOSSES[name]
    weight = torch.eye(DIM, dtype=torch.float64).requires_grad_()
    first, second = (view @ weight for view in views())
    expected = loss(first, second, *groups, 0.1)
    expected.backward()
    # each process has 3 of 6 rows; their order in the supervised one differs, their set doesn't
    torch.testing.assert_close(sum(values) / PROCESSES, expected.detach())
    torch.testing.assert_close(sum(gradients) / PROCESSES, weight.grad)
    assert not torch.allclose(gradients[0], gradients[1])
