import numpy as np
import pytest
from matplotlib.colors import LogNorm

from bert_ft.drawing.heat_maps import HeatMap, draw_heat_maps, edges_of, scale
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow


def heat_map(num_rows: int = 3, num_steps: int = 4, title: str = "map", **settings) -> HeatMap:
    values = np.random.default_rng(0).random((num_rows, num_steps)) + 0.1
    rows = ["embeddings", *(str(number) for number in range(num_rows - 2)), "head"][:num_rows]
    return HeatMap(title, rows, np.linspace(1, 10_000, num_steps), values, **settings)


@pytest.mark.parametrize(
    ("steps", "edges"),
    [
        ([10, 20, 40], [5, 15, 30, 50]),
        ([7], [6.5, 7.5]),
        ([1, 25, 50], [0, 13, 37.5, 62.5]),  # no negative steps
        ([0, 10], [-0.5, 5, 15]),  # but half a step for the one before training
    ],
)
def test_edges_lie_between_the_steps(steps, edges):
    np.testing.assert_allclose(edges_of(np.array(steps, float)), edges)


def test_one_scale_for_all_maps():
    low = heat_map()
    high = HeatMap("high", low.rows, low.steps, 10 * low.values)
    figure = draw_heat_maps([low, high], "norm")
    limits = [axes.collections[0].get_clim() for axes in figure.axes[:2]]
    assert limits == [(0, high.values.max())] * 2


def test_linear_scale_begins_at_zero_and_logarithmic_at_the_smallest_value():
    values = np.array([[np.nan, 2.0], [0.5, 8.0]])
    assert (scale([values], is_log=False).vmin, scale([values], is_log=False).vmax) == (0, 8)
    # zeros are left out, and it ends six powers of ten below the largest
    assert scale([np.array([0.0, 1e-12, 10.0])], is_log=True).vmin == pytest.approx(1e-5)
    norm = scale([values], is_log=True)
    assert isinstance(norm, LogNorm)
    assert (norm.vmin, norm.vmax) == (0.5, 8)


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_values_that_are_all_the_same_can_be_drawn(is_log, value):
    each = HeatMap("same", ["a", "b"], np.array([1.0, 2.0]), np.full((2, 2), value))
    assert_readable(draw_heat_maps([each], "norm", is_log=is_log))


def test_cells_have_the_values_and_are_hatched_without_one():
    each = heat_map()
    each.values[1, 2] = np.nan
    axes, _ = draw_heat_maps([each], "norm").axes
    (mesh,) = axes.collections
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), np.nan), each.values)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["embeddings", "0", "head"]
    assert np.argwhere(np.ma.getmaskarray(mesh.get_array())).tolist() == [[1, 2]]
    assert axes.patch.get_hatch()
    assert axes.get_facecolor() == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("num_rows", "num_steps", "num_maps"),
    [(2, 1, 1), (2, 1, 5), (4, 40, 2), (24, 240, 5), (26, 240, 1), (43, 20, 1), (100, 5, 1)],
)
def test_nothing_overlaps(num_rows, num_steps, num_maps):
    maps = [heat_map(num_rows, num_steps, title=f"feed-forward activation {n}") for n in range(num_maps)]
    assert_readable(draw_heat_maps(maps, "standard deviation", is_log=True))


def test_all_of_24_layers_are_named():
    assert {"embeddings", "head", *map(str, range(24))} <= set(texts(draw_heat_maps([heat_map(26)], "norm")))


def test_axes_are_named():
    figure = draw_heat_maps([heat_map(title=f"map {number}") for number in range(3)], "share of values")
    found = texts(figure)
    assert found.count("layer") == 2  # left of each line
    assert found.count("optimizer steps") == 2  # below each column
    assert "share of values" in found
    assert "label" in texts(draw_heat_maps([heat_map(y="label")], "F1"))
