import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bert_ft.drawing.confidence import COUNT_SIZES, draw_confusion, draw_reliability, draw_top_probabilities
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow


def heights(bars) -> list[float]:
    return [bar.get_height() for bar in bars if bar.get_height()]


def test_top_probabilities_are_counted_apart():
    probabilities = np.array([0.99, 0.98, 0.5, 0.97, 0.41])
    figure = draw_top_probabilities(probabilities, np.array([1, 1, 1, 0, 0], bool), 3, "title")
    upper, lower = figure.axes
    assert heights(upper.patches) == [1, 2]
    assert heights(lower.patches) == [1, 1]
    found = texts(figure)
    assert {"right: 3 rows", "wrong: 2 rows", "probability of the predicted class"} <= set(found)
    assert found.count("chance: 1 of 3") == 2


@pytest.mark.parametrize("is_correct", [True, False])
def test_top_probabilities_of_rows_that_are_all_right_or_wrong(is_correct):
    figure = draw_top_probabilities(np.array([0.9, 0.8]), np.full(2, is_correct), 2, "title")
    assert_readable(figure)


def reliability(counts):
    counts = np.array(counts)
    edges = np.linspace(0, 1, len(counts) + 1)
    middles = np.where(counts > 0, (edges[1:] + edges[:-1]) / 2, np.nan)
    return draw_reliability(edges, counts, middles, middles**2, "title"), middles


def test_reliability_shows_the_filled_bins():
    figure, middles = reliability([0, 3, 0, 1_200, 7])
    upper, lower = figure.axes
    filled = middles[~np.isnan(middles)]
    np.testing.assert_allclose([bar.get_height() for bar in upper.patches], filled**2)
    np.testing.assert_allclose(upper.get_lines()[0].get_ydata(), filled)
    assert [bar.get_height() for bar in lower.patches] == [0, 3, 0, 1_200, 7]
    assert {"3", "1,200", "7", "share of right rows", "rows"} <= set(texts(figure))


@pytest.mark.parametrize("counts", [[100_000] * 15, [0] * 14 + [1], [12_345] * 50])
def test_reliability_is_readable(counts):
    assert_readable(reliability(counts)[0])


def test_confusion_has_the_shares_as_colors_and_the_counts_as_texts():
    counts = np.array([[30, 10, 0], [0, 5, 0], [0, 0, 0]])
    figure = draw_confusion(counts, ["a", "b", "c"], "title")
    shares = np.ma.getdata(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 1, 0]])
    assert np.ma.getmaskarray(figure.axes[0].images[0].get_array())[2].all()
    written = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert written == {(0, 0): "30", (1, 0): "10", (1, 1): "5"}  # column, row
    assert {"predicted", "label", "no rows with\nthis label"} <= set(texts(figure))


def lightness(color) -> float:
    return float(np.dot([0.2126, 0.7152, 0.0722], to_rgb(color)))


def test_counts_stand_out_from_their_cells():
    """At each share, on cells from white to dark blue."""
    counts = np.array([[1000 - n, n] for n in range(1, 1000, 37)])
    square = np.zeros((len(counts), len(counts)), int)
    square[:, :2] = counts
    figure = draw_confusion(square, [str(n) for n in range(len(square))], "")
    image = figure.axes[0].images[0]
    colors = image.cmap(image.norm(image.get_array()))
    differences = [
        abs(lightness(text.get_color()) - lightness(colors[row, column, :3]))
        for text in figure.axes[0].texts
        for column, row in [map(int, text.get_position())]
    ]
    assert min(differences) > 0.25


@pytest.mark.parametrize("num_classes", [1, 2, 5, 43])
@pytest.mark.parametrize("label", ["{}", "a label that is much too long for a tick {}"])
def test_confusion_is_readable(num_classes, label):
    rng = np.random.default_rng(0)
    counts = rng.integers(3, size=(num_classes, num_classes)) + np.diag(
        rng.integers(90, 999, size=num_classes)
    )
    counts[0] = 0
    figure = draw_confusion(counts, [label.format(number) for number in range(num_classes)], "what is seen")
    assert_readable(figure, least=COUNT_SIZES[0])
    assert len(figure.axes[0].get_yticklabels()) == num_classes
    assert len(figure.axes[0].texts) == np.count_nonzero(counts)


def test_confusion_of_200_classes_names_some_and_writes_no_counts():
    figure = draw_confusion(np.eye(200, dtype=int), [f"class {number}" for number in range(200)], "")
    assert len(figure.axes[0].texts) == 0
    assert 40 < len(figure.axes[0].get_yticklabels()) < 100
    assert_readable(figure)
