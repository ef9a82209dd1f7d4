import numpy as np
import pytest

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.projection import principal_plane


def test_is_the_plane_of_the_singular_vectors():
    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [5, 1, 3, 1, 1, 1] + 7
    plane = principal_plane(vectors.astype(np.float32))
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    expected = left[:, :2] * values[:2]
    signs = np.sign((plane.points * expected).sum(axis=0))  # either is a principal direction
    np.testing.assert_allclose(plane.points, expected * signs, atol=1e-4)
    np.testing.assert_allclose(plane.explained, (values**2 / (values**2).sum())[:2], rtol=1e-5)


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (np.zeros((2, 5)), "2 vectors of width 5 span no plane"),
        (np.zeros((5, 1)), "5 vectors of width 1 span no plane"),
        (np.ones((5, 3)), "all representations are the same"),
        (np.array([[1, 2], [3, np.nan], [5, 6]]), "aren't finite"),
    ],
)
def test_what_spans_no_plane(vectors, reason):
    with pytest.raises(NotLogged, match=reason):
        principal_plane(vectors)
