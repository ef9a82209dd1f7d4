import io
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from bert_ft.drawing.style import (
    DPI,
    SMALL_SIZE,
    TICK_SIZE,
    WIDTH,
    axes_at,
    label_ticks,
    log_ticks,
    new_figure,
    num_columns,
    one_line,
    plain_ticks,
    png,
)
from tests.drawing.texts import texts

pytestmark = pytest.mark.slow


def test_png_has_the_common_width():
    figure = new_figure(2.0)
    figure.text(0.1, 0.5, "日本語")  # letters that the font lacks give no warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = Image.open(io.BytesIO(png(figure)))
    assert picture.format == "PNG"
    assert picture.size == (WIDTH * DPI, 2 * DPI)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("two\n lines\tand tabs", "two lines and tabs"),
        ("costs $5 or $6", r"costs \$5 or \$6"),
        ("a" * 22, "a" * 22),
        ("a" * 20 + "b" * 20, "a" * 14 + "…" + "b" * 7),
    ],
)
def test_plain(text, shown):
    assert one_line(text) == shown


def test_letters_of_east_asian_scripts_count_twice():
    assert num_columns("ab 12") == 5
    assert num_columns("映画a") == 5


def test_dollar_signs_are_drawn_and_not_read_as_mathematics():
    figure = new_figure(1.0)
    drawn = figure.text(0.1, 0.5, one_line("$x$"))
    assert drawn._preprocess_math(drawn.get_text()) == ("$x$", False)


@pytest.mark.parametrize(
    ("num_labels", "shown", "size"),
    [(1, 1, TICK_SIZE), (5, 5, TICK_SIZE), (9, 9, 72 / 9 / 1.15), (30, 8, SMALL_SIZE)],
)
def test_smaller_letters_come_before_fewer_labels(num_labels, shown, size):
    figure = new_figure(2.0)
    axes = axes_at(figure, 1, 0.5, 5, 1)
    label_ticks(axes.yaxis, [str(number) for number in range(num_labels)], inches=1.0)
    labels = axes.get_yticklabels()
    assert len(labels) == shown
    assert labels[0].get_fontsize() == pytest.approx(size)
    assert [label.get_text() for label in labels] == [
        str(n) for n in range(0, num_labels, -(-num_labels // shown))
    ]


def test_axes_at_counts_inches_from_the_upper_left_corner():
    figure = new_figure(4.0)
    FigureCanvasAgg(figure)
    box = axes_at(figure, 1, 0.5, 3, 2).get_window_extent().extents / DPI
    np.testing.assert_allclose(box, [1, 4 - 0.5 - 2, 4, 4 - 0.5])


def test_log_ticks_are_plain_numbers():
    axes = new_figure(2.0).subplots()
    axes.plot([0.3, 2.5])
    axes.set_yscale("log")
    log_ticks(axes.yaxis, 0.3, 2.5)
    assert {"0.5", "1", "2"} <= set(texts(axes.figure))


@pytest.mark.parametrize(
    ("values", "shown"), [([0, 8e-5], "8e-05"), ([0, 4000], "4,000"), ([0.9001, 0.9004], "0.9002")]
)
def test_linear_ticks_have_neither_factor_nor_offset(values, shown):
    axes = new_figure(2.0).subplots()
    axes.plot(values)
    plain_ticks(axes.yaxis, max(values))
    found = texts(axes.figure)
    assert shown in [text.rstrip("0") if "." in text else text for text in found]
    assert not [text for text in found if text.startswith(("1e", "+"))]
