import numpy as np
import pytest

from bert_ft.reporting.layer_grid import LAYER, MAX_COLUMNS, finite_mean, layer_grid
from bert_ft.reporting.scalars import Series


def series(points: dict[int, float]) -> Series:
    return Series(np.array(list(points)), np.array(list(points.values()), dtype=float))


def test_rows_rise_from_the_embeddings_to_the_head():
    names = ["head", "layer.10", "layer.2", "embeddings", "layer.0"]
    scalars = {f"gradients/{name}/norm": series({1: 1}) for name in names}
    grid = layer_grid(scalars, f"gradients/({LAYER})/norm")
    assert grid.names == ["embeddings", "layer.0", "layer.2", "layer.10", "head"]


def test_parts_of_the_head_keep_their_order():
    scalars = {
        f"activations/head.{name}/sd": series({1: 1}) for name in ("expand", "activation", "classifier")
    }
    grid = layer_grid(scalars, r"activations/(head\.[^/]+)/sd")
    assert grid.names == ["head.expand", "head.activation", "head.classifier"]


def test_values_stand_at_their_steps():
    scalars = {
        "w/layer.0/x": series({1: 1, 5: 2}),
        "w/layer.1/x": series({5: 3, 9: 4}),
        "w/layer.1/y": series({7: 0}),
    }
    grid = layer_grid(scalars, r"w/(layer\.\d+)/x")
    assert grid.steps.tolist() == [1, 5, 9]
    np.testing.assert_array_equal(grid.values, [[1, 2, np.nan], [np.nan, 3, 4]])


def test_the_whole_tag_has_to_match():
    scalars = {"gradients/head/norm_clipped": series({1: 1}), "gradients/norm": series({1: 1})}
    assert layer_grid(scalars, f"gradients/({LAYER})/norm") is None


@pytest.mark.parametrize("num_steps", [MAX_COLUMNS, MAX_COLUMNS + 1, 10 * MAX_COLUMNS + 7])
def test_many_steps_are_taken_together(num_steps):
    steps = np.arange(1, num_steps + 1)
    values = np.random.default_rng(0).random(num_steps)
    grid = layer_grid({"w/layer.0/x": Series(steps, values)}, r"w/(layer\.\d+)/x")
    groups = np.array_split(values, MAX_COLUMNS)
    np.testing.assert_allclose(grid.values[0], [group.mean() for group in groups])
    np.testing.assert_allclose(grid.steps, [group.mean() for group in np.array_split(steps, MAX_COLUMNS)])


def test_finite_mean():
    values = np.array([[1, np.nan, 3], [np.inf, np.nan, 5.0]])
    np.testing.assert_array_equal(finite_mean(values, axis=1), [2, 5])
    np.testing.assert_array_equal(finite_mean(values, axis=0), [1, np.nan, 4])
