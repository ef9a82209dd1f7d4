"""The measure itself finds what it is meant to find."""

import pytest
from matplotlib.figure import Figure

from tests.drawing.texts import assert_readable, overlapping, texts, written

pytestmark = pytest.mark.slow


def figure_with(*places: tuple[float, float, str], size: float = 10) -> Figure:
    figure = Figure(figsize=(4, 2), dpi=100)
    for x, y, text in places:
        figure.text(x, y, text, fontsize=size)
    return figure


def test_overlap_is_found():
    figure = figure_with((0.1, 0.5, "first"), (0.12, 0.5, "second"), (0.1, 0.1, "third"))
    assert overlapping(written(figure)) == [("first", "second")]
    with pytest.raises(AssertionError):
        assert_readable(figure)


@pytest.mark.parametrize(
    "figure", [figure_with((0.9, 0.5, "beyond the edge")), figure_with((0.1, 0.5, "tiny"), size=3)]
)
def test_cut_off_and_tiny_texts_are_found(figure):
    with pytest.raises(AssertionError):
        assert_readable(figure)


def test_ticks_out_of_view_are_not_counted():
    figure = Figure()
    axes = figure.subplots()
    axes.set_xticks([0, 1, 5], ["in", "edge", "out"])
    axes.set_xlim(0, 1)
    assert "in" in texts(figure)
    assert "out" not in texts(figure)
