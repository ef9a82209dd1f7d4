"""Clusters and ranks against loops in numpy, closed forms, and what mustn't change them."""

import math

import numpy as np
import pytest
import torch

from bert_ft.nn.representations import centroid_distance, effective_rank, silhouette


def clusters(distance=3.0, num_rows=30, classes=3, hidden=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % classes
    vectors = rng.normal(size=(num_rows, hidden))
    vectors[:, :classes] += distance * np.eye(classes)[labels]
    return torch.from_numpy(vectors), torch.from_numpy(labels)


def silhouette_of_a_loop(vectors, labels):
    values = []
    for i, label in enumerate(labels):
        distances = np.array([math.dist(vectors[i], other) for other in vectors])
        own = (labels == label) & (np.arange(len(labels)) != i)
        if not own.any():
            values.append(0.0)
            continue
        inside = distances[own].mean()
        outside = min(distances[labels == other].mean() for other in set(labels.tolist()) - {label})
        values.append((outside - inside) / max(inside, outside))
    return np.mean(values)


def centroid_distance_of_a_loop(vectors, labels):
    centroids = {k: vectors[labels == k].mean(0) for k in sorted(set(labels.tolist()))}
    names = list(centroids)
    between = [math.dist(centroids[a], centroids[b]) for i, a in enumerate(names) for b in names[i + 1 :]]
    within = [
        math.dist(vector, centroids[label]) for vector, label in zip(vectors, labels.tolist(), strict=True)
    ]
    return np.mean(between) / np.mean(within)


def rotated(vectors, seed=1):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(vectors.shape[1], vectors.shape[1])))
    return 2.5 * vectors @ torch.from_numpy(rotation) + 7.0


@pytest.mark.parametrize(
    ("measure", "loop"),
    [(silhouette, silhouette_of_a_loop), (centroid_distance, centroid_distance_of_a_loop)],
)
class TestClusters:
    @pytest.mark.parametrize("distance", [0.0, 1.0, 8.0])
    def test_equal_a_loop(self, measure, loop, distance):
        vectors, labels = clusters(distance)
        assert measure(vectors, labels) == pytest.approx(loop(vectors.numpy(), labels.numpy()), rel=1e-9)

    def test_equal_a_loop_with_absent_classes_and_a_single_row_of_one(self, measure, loop):
        vectors, labels = clusters()
        labels = torch.where(labels == 1, 7, labels)
        labels[0] = 4
        assert measure(vectors, labels) == pytest.approx(loop(vectors.numpy(), labels.numpy()), rel=1e-9)

    def test_do_not_change_with_place_scale_and_direction(self, measure, loop):
        vectors, labels = clusters()
        assert measure(rotated(vectors), labels) == pytest.approx(measure(vectors, labels), rel=1e-9)

    def test_of_one_class_are_nan(self, measure, loop):
        vectors, labels = clusters()
        assert math.isnan(measure(vectors, torch.zeros_like(labels)))
        assert math.isnan(measure(vectors[:1], labels[:1]))


def test_a_class_for_each_row_has_no_silhouette():
    vectors, labels = clusters(num_rows=3)
    assert math.isnan(silhouette(vectors, labels))
    assert centroid_distance(vectors, labels) == math.inf


class TestEffectiveRank:
    @pytest.mark.parametrize("rank", [1, 2, 5])
    def test_of_equal_directions_is_their_number(self, rank):
        corners = torch.eye(rank, 8, dtype=torch.float64)
        assert effective_rank(torch.cat([corners, -corners])) == pytest.approx(rank, rel=1e-12)

    def test_equals_the_entropy_of_covariance_roots(self):
        vectors, _ = clusters()
        roots = np.sqrt(np.linalg.eigvalsh(np.cov(vectors.numpy().T)))
        shares = roots / roots.sum()
        assert effective_rank(vectors) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-9)

    def test_does_not_change_with_place_scale_and_direction(self):
        vectors, _ = clusters()
        assert effective_rank(rotated(vectors)) == pytest.approx(effective_rank(vectors), rel=1e-9)

    def test_of_equal_rows_is_nan(self):
        assert math.isnan(effective_rank(torch.ones(4, 3, dtype=torch.float64)))
