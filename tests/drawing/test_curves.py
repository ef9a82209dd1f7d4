import numpy as np
import pytest

from bert_ft.drawing.curves import MAX_LABELLED, Line, Panel, draw_curves
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow


def line(name: str, num_points: int = 5, **settings) -> Line:
    return Line(name, np.arange(1, num_points + 1), np.linspace(1, 2, num_points), **settings)


def axes_of(*panels: Panel):
    return draw_curves(panels).axes


def test_lines_have_the_values_and_the_axes_their_names():
    (axes,) = axes_of(Panel("what is seen", "loss (nats)", [line("one"), line("two")]))
    assert [drawn.get_label() for drawn in axes.get_lines()] == ["one", "two"]
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), np.linspace(1, 2, 5))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer steps", "loss (nats)")
    assert axes.get_title(loc="left") == "what is seen"
    texts(axes.figure)  # lays it out
    legend = axes.get_legend().get_texts()[0].get_window_extent()
    assert legend.x0 > axes.get_window_extent().x1  # outside of the data


def test_lines_differ_in_more_than_color():
    (axes,) = axes_of(Panel("", "", [*(line(str(number)) for number in range(4)), line("long", 10_000)]))
    *short, long = axes.get_lines()
    assert len({(drawn.get_linestyle(), drawn.get_marker()) for drawn in short}) == 4
    assert long.get_marker() == "None"


def test_a_faint_line_takes_no_color_from_the_others():
    (axes,) = axes_of(Panel("", "", [line("raw", is_faint=True), line("smoothed")]))
    (single,) = axes_of(Panel("", "", [line("smoothed")]))
    assert axes.get_lines()[1].get_color() == single.get_lines()[0].get_color()
    assert single.get_legend() is None


def test_threshold_and_marked_point():
    panel = Panel("", "", [line("a")], threshold=(1.5, "clipped at 1.5"), marked=(3, 1.25, "kept checkpoint"))
    (axes,) = axes_of(panel)
    _, threshold, marked = axes.get_lines()
    assert set(threshold.get_ydata()) == {1.5}
    assert (*marked.get_xdata(), *marked.get_ydata()) == (3, 1.25)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["a", "clipped at 1.5", "kept checkpoint"]


def test_of_many_layers_some_are_named():
    lines = [line(f"layer.{number}", depth=number / 25) for number in range(26)]
    (axes,) = axes_of(Panel("", "", lines))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(axes.get_lines()) == 26
    assert len(names) == MAX_LABELLED
    assert (names[0], names[-1]) == ("layer.0", "layer.25")
    lightness = [sum(drawn.get_color()[:3]) for drawn in axes.get_lines()]
    assert lightness == sorted(lightness)


def test_panels_share_their_steps_and_name_them_once():
    panels = [Panel(f"panel {number}", "y", [line("a", 5 + number)]) for number in range(3)]
    axes = axes_of(*panels)
    assert [each.get_xlabel() for each in axes] == ["", "", "optimizer steps"]
    assert len({each.get_xlim() for each in axes}) == 1


@pytest.mark.parametrize(("num_points", "scale"), [(1, 1.0), (4, 1e-5), (4, 1e6), (10_000, 1.0)])
def test_nothing_overlaps(num_points, scale):
    rng = np.random.default_rng(0)
    steps = np.arange(1, num_points + 1)
    lines = [Line(f"a rather long name, {name}", steps, scale * rng.random(num_points)) for name in "abcdef"]
    panel = Panel(
        "a title that says what is seen in it", "unit", lines, marked=(1, scale / 2, "kept checkpoint")
    )
    assert_readable(draw_curves([panel, panel]))


@pytest.mark.parametrize("is_log", [False, True])
def test_values_that_are_all_nan_or_zero_are_drawn_as_nothing(is_log):
    nothing = Line("nan", np.arange(3), np.array([np.nan, np.nan, 0.0]))
    figure = draw_curves([Panel("nothing", "y", [nothing], is_log=is_log)])
    assert_readable(figure)
    assert figure.axes[0].get_yscale() == ("log" if is_log else "linear")
    assert np.isnan(figure.axes[0].get_lines()[0].get_ydata()[2]) == is_log
