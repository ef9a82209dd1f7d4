import numpy as np
import pytest

from bert_ft.drawing.representations import MAX_NAMED, MAX_POINTS, draw_plane
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow


def plane(num_rows: int, num_classes: int, wrong: int = 2):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(num_rows, 2))
    labels = np.arange(num_rows) % num_classes
    is_wrong = np.arange(num_rows) < wrong
    names = [f"class {number} with a long name" for number in range(num_classes)]
    return draw_plane(points, labels, is_wrong, names, np.array([0.5, 0.25]), "title"), points, labels


def offsets(figure, label: str) -> np.ndarray:
    (drawn,) = [each for each in figure.axes[0].collections if each.get_label() == label]
    return np.asarray(drawn.get_offsets())


def test_each_class_has_its_points_and_wrong_ones_a_cross():
    figure, points, labels = plane(12, 3)
    np.testing.assert_array_equal(
        offsets(figure, "class 1 with a long name"[:14] + "…" + "ng name"), points[labels == 1]
    )
    np.testing.assert_array_equal(offsets(figure, "predicted wrongly (2)"), points[:2])


def test_axes_say_how_much_they_show():
    found = texts(plane(12, 3)[0])
    assert "principal component 1 (50% of the variance)" in found
    assert "principal component 2 (25% of the variance)" in found


def test_of_many_classes_the_largest_are_named():
    figure, _, labels = plane(1000, 43)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(names) == MAX_NAMED + 2
    assert names[0] == f"{43 - MAX_NAMED} other labels"
    assert len(offsets(figure, names[0])) == (labels >= MAX_NAMED).sum()


def test_classes_differ_in_more_than_color():
    figure, *_ = plane(100, MAX_NAMED, wrong=0)
    shapes = {each.get_paths()[0].vertices.tobytes() for each in figure.axes[0].collections}
    assert len(shapes) == MAX_NAMED


def test_of_many_rows_each_nth_is_drawn():
    figure, *_ = plane(2 * MAX_POINTS + 1, 2, wrong=0)
    drawn = sum(len(each.get_offsets()) for each in figure.axes[0].collections)
    assert drawn == -(-(2 * MAX_POINTS + 1) // 3)
    assert "each 3th row" in texts(figure)


@pytest.mark.parametrize(("num_rows", "num_classes", "wrong"), [(3, 1, 0), (60, 5, 60), (3000, 43, 600)])
def test_is_readable(num_rows, num_classes, wrong):
    assert_readable(plane(num_rows, num_classes, wrong)[0])
