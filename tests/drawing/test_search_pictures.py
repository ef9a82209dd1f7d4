"""Pictures of a search at their limits: many parameters, long names, many workers, wild values."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bert_ft.drawing.importance_bars import ImportancePanel, draw_importances
from bert_ft.drawing.parallel_coordinates import Coordinate, draw_parallel_coordinates
from bert_ft.drawing.rank_pairs import draw_rank_pairs
from bert_ft.drawing.style import new_figure
from bert_ft.drawing.trial_curves import TrialCurve, draw_trial_curves
from bert_ft.drawing.trial_history import History, draw_history
from bert_ft.drawing.trial_slices import Slice, draw_slices
from bert_ft.drawing.trials import Scale, dark_is_better, scale_along
from bert_ft.drawing.worker_timeline import Bar, draw_timeline
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow
LONG = "pretrain.a_rather.long_name_of_a_parameter"
CHOICES = Scale(LONG, 0, 11, choices=tuple(f"[768,{number * 384},384]" for number in range(12)))
SCALES = [
    Scale("optimizer.lr", 1e-6, 1e-2, is_log=True),
    CHOICES,
    Scale("narrow", 0.1 - 1e-4, 0.1),
    Scale("large", 1, 200_000, is_log=True),
    Scale("point", 0.3, 0.3),
    Scale("tiny", 0, 3e-5),
]


def places(scale: Scale, count: int) -> np.ndarray:
    if scale.choices:
        return np.linspace(0, len(scale.choices) - 1, count).round()
    return np.linspace(scale.low, scale.high, count)


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e12])
def test_slices_of_many_kinds(scale):
    slices = [Slice(each, places(each, 9), scale * np.arange(9.0), np.arange(9) * 1000) for each in SCALES]
    figure = draw_slices(slices, "val/" + LONG, "what is seen", best=8000)
    assert_readable(figure)
    scales = [axes.get_xscale() for axes in figure.axes[:6]]
    assert scales == ["log", "linear", "linear", "log", "linear", "linear"]


def test_many_slices():
    slices = [Slice(SCALES[0], np.array([1e-4]), np.array([0.5]), np.array([0]))] * 24
    figure = draw_slices(slices, "value", "title", best=0)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 24 + 1
    assert figure.get_size_inches()[1] < 20


@pytest.mark.parametrize("count", [2, 3, 5])
def test_pairs_of_any_number(count):
    scales = SCALES[:count]
    values = np.stack([places(each, 12) for each in scales], axis=1)
    values[3, 1] = np.nan
    figure = draw_rank_pairs(scales, values, np.linspace(0, 1, 12), "title")
    assert_readable(figure)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == count * (count - 1) // 2 + 1
    points = figure.axes[0].collections[0].get_offsets()
    assert len(points.compressed()) // 2 == 11  # one trial lacks the parameter


@pytest.mark.parametrize("high", [2e-4, 1e-3, 1e-2])
def test_ticks_of_a_few_decades_have_room_in_a_small_panel(high):
    scales = [Scale(name, 2e-5, high, is_log=True) for name in "abcd"]
    values = np.geomspace(2e-5, high, 12)[:, None].repeat(4, axis=1)
    assert_readable(draw_rank_pairs(scales, values, np.linspace(0, 1, 12), "title"))


@pytest.mark.parametrize("count", [2, 11])
def test_parallel_coordinates_of_any_number(count):
    labels = {place / 11: f"[768,{place * 384},384]" for place in range(12)}
    axes = [Coordinate(LONG, np.linspace(0, 1, 30), labels) for _ in range(count)]
    figure = draw_parallel_coordinates(axes, np.linspace(0, 1, 30), 3, "title")
    assert_readable(figure)
    assert "not in the trial" not in texts(figure)


def test_a_trial_without_the_parameter_runs_below_the_axis():
    axes = [Coordinate("a", np.array([0.0, 1.0]), {}), Coordinate("b", np.array([0.5, np.nan]), {})]
    figure = draw_parallel_coordinates(axes, np.array([0.0, 1.0]), 1, "title")
    worse, better = figure.axes[0].collections[0].get_segments()
    assert better[:, 1].tolist() == [0.0, 0.5]
    assert worse[0, 1] == 1.0
    assert worse[1, 1] < 0


def test_importances_of_many_parameters():
    names = [f"{LONG}{number}" for number in range(24)]
    shares = {name: (number + 1) / 300 for number, name in enumerate(names)}
    panel = ImportancePanel("title", {"fANOVA": shares, "PED-ANOVA": shares})
    assert_readable(draw_importances([panel], names))


def test_a_history_of_many_and_wild_trials():
    points = [(number, 1e30 if number == 7 else -1e-9 * number) for number in range(2000)]
    panel = History("title", "val/" + LONG, points, points, points[:5], [3, 4], limits=(-2e-6, 1e-7))
    figure = draw_history([panel, panel])
    assert_readable(figure)
    complete = next(line for line in figure.axes[0].get_lines() if line.get_label() == "complete")
    assert -2e-6 < complete.get_ydata().min() <= complete.get_ydata().max() < 1e-7  # held within the border
    assert complete.get_ydata()[7] > complete.get_ydata()[0]


@pytest.mark.parametrize("steps", [[10], [10, 20], range(1, 30_000, 300)])
def test_curves_of_any_length(steps):
    steps = np.array(steps)
    states = ("complete", "pruned", "failed", "lost", "running")
    curves = [TrialCurve(state, steps, place + steps / 1e5) for place, state in enumerate(states)]
    curves.append(TrialCurve("complete", steps, steps / 1e5, is_best=True))
    figure = draw_trial_curves(curves, "val/accuracy", "title")
    assert_readable(figure)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names[-1] == "the best"
    assert len(names) == 6
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() != "x"]
    assert len({(line.get_linestyle(), line.get_color()) for line in lines}) == 6


@pytest.mark.parametrize(("num_lanes", "seconds"), [(1, 0.0), (40, 3.0), (3, 500_000.0)])
def test_timelines_of_any_size(num_lanes, seconds):
    states = ("complete", "pruned", "failed", "lost", "running")
    bars = [Bar(lane, lane * seconds / 100, seconds, states[lane % 5], lane) for lane in range(num_lanes)]
    figure = draw_timeline(bars, [f"machine-{lane} 0" for lane in range(num_lanes)], "title")
    assert_readable(figure)
    assert len(figure.axes[0].patches) == num_lanes
    unit = figure.axes[0].get_xlabel().split()[0]
    assert unit == ("days" if seconds > 1e5 else "seconds")


def test_a_number_stands_in_a_bar_where_it_has_room():
    bars = [Bar(0, 0, 100, "complete", 7), Bar(0, 100, 0.5, "complete", 8)]
    assert [text.get_text() for text in draw_timeline(bars, ["0"], "").axes[0].texts] == ["7"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_value_lies_within_its_axis(scale):
    figure = new_figure(2.0)
    axes = figure.subplots()
    scale_along(axes.xaxis, scale, 2.2)
    low, high = axes.get_xlim()
    assert all(low < place < high for place in places(scale, 5))
    FigureCanvasAgg(figure).draw()
    shown = [text.get_text() for text in axes.get_xticklabels() if text.get_text()]
    assert shown
    assert len(set(shown)) == len(shown)  # ticks that can't be told apart say nothing


def test_the_better_the_darker():
    colors = dark_is_better()(np.linspace(0, 1, 20))
    lightness = colors[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] < 0.85  # the worst is still seen on white
