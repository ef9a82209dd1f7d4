"""The pictures of studies of every kind: readable, and showing what they say."""

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.search.results.importance import Importances, importances
from bert_ft.search.results.pictures import StudyView, plots
from bert_ft.search.results.study_log import read_study
from tests.drawing.texts import assert_readable, texts
from tests.search.results.studies import kinds, searched

pytestmark = pytest.mark.slow


def view_of(study, found=None) -> StudyView:
    return StudyView(read_study(study), importances(study) if found is None else found)


def figures(view: StudyView, *names: str) -> dict[str, Figure]:
    """Those of these names, or all."""
    found = {}
    for spec in (each for section in plots(view).values() for each in section):
        if names and spec.name not in names:
            continue
        try:
            found[spec.name] = spec.draw(view)
        except NotLogged:
            continue
    return found


@pytest.fixture(scope="module", autouse=True)
def a_small_forest():
    """Numbers are tested in test_importance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_ft.search.results.importance.NUM_TREES", 4)
        yield


@pytest.fixture(scope="module")
def drawn() -> tuple[StudyView, dict[str, Figure]]:
    view = view_of(searched(30, objective="val/accuracy"))
    return view, figures(view)


@pytest.mark.parametrize(
    "kind", ["one trial", "all failed", "only pruned", "infinite and diverged", "lists and constants"]
)
def test_pictures_of_every_kind_are_readable(kind):
    found = figures(view_of(kinds()[kind]))
    assert found
    for figure in found.values():
        assert_readable(figure)


def test_pictures_of_a_search_are_readable(drawn):
    _, found = drawn
    assert len(found) == 7
    for figure in found.values():
        assert_readable(figure)


def test_pictures_of_several_objectives_are_readable():
    study = searched(12, objectives=3)
    shares = {"optimizer.lr": 0.7, "loss": 0.2, "model.head.hidden_sizes": 0.1}
    view = view_of(study, [Importances(place, shares, shares) for place in range(3)])
    found = figures(view, "history", "importance", "pareto_front", "slices_1")
    assert len(found) == 4
    for figure in found.values():
        assert_readable(figure)


def test_history_shows_each_trial_once(drawn):
    view, found = drawn
    (axes,) = found["history"].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["best so far", "complete", "pruned, at its last report", "the best", "failed"]
    assert len(lines["complete"].get_xdata()) == len(view.log.complete)
    assert len(lines["pruned, at its last report"].get_xdata()) == 6
    assert lines["failed"].get_xdata().tolist() == [8, 17, 26]
    best = max(view.log.complete, key=lambda trial: trial.values[0])
    assert (*lines["the best"].get_xdata(), *lines["the best"].get_ydata()) == (best.number, best.values[0])
    low, high = axes.get_ylim()
    assert all(low < value < high for line in list(lines.values())[:4] for value in line.get_ydata())


def test_pruned_trials_are_crossed(drawn):
    _, found = drawn
    (axes,) = found["intermediate_values"].axes
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == 6
    assert [line.get_xdata().tolist() for line in crosses] == [[40]] * 6
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert set(names) == {"complete (20)", "pruned (6)", "failed (3)", "the best"}


def test_slices_have_the_scales_of_the_parameters(drawn):
    _, found = drawn
    by_name = {axes.get_xlabel(): axes for axes in found["slices"].axes if axes.get_xlabel()}
    assert by_name["optimizer.lr"].get_xscale() == "log"
    assert by_name["model.head.dropout"].get_xscale() == "linear"
    labels = [text.get_text() for text in by_name["model.head.hidden_sizes"].get_xticklabels()]
    assert labels == ["[384]", "[768,384]", "[]"]
    assert "loss.gamma" in by_name  # conditional: fewer points
    points = {name: len(axes.collections[0].get_offsets()) for name, axes in by_name.items()}
    assert points["loss.gamma"] < points["loss"] == 21


def test_importance_shows_both_evaluators(drawn):
    view, found = drawn
    (axes,) = found["importance"].axes
    fanova, ped_anova = (each for each in axes.containers if isinstance(each, BarContainer))
    assert (fanova.get_label(), ped_anova.get_label()) == ("fANOVA", "PED-ANOVA")
    shares = view.importances[0]
    assert sorted(bar.get_width() for bar in fanova) == pytest.approx(sorted(shares.fanova.values()))
    assert sorted(bar.get_width() for bar in ped_anova) == pytest.approx(sorted(shares.ped_anova.values()))
    assert fanova.patches[0].get_hatch() != ped_anova.patches[0].get_hatch()  # distinct without color


def test_pairs_are_of_the_most_important_parameters(drawn):
    view, found = drawn
    axes = [each for each in found["rank_pairs"].axes if each.get_visible()]
    assert len(axes) == 6 + 1  # four parameters, and the scale of the colours
    top = list(view.importances[0].ped_anova)[:4]
    names = {each.get_xlabel() for each in axes} | {each.get_ylabel() for each in axes}
    assert names - {"", "rank of the trial"} == set(top)


def test_parallel_coordinates_have_a_line_for_each_trial(drawn):
    view, found = drawn
    axes = found["parallel_coordinates"].axes[0]
    (lines,) = axes.collections
    assert len(lines.get_segments()) == len(view.log.complete)
    widths = lines.get_linewidths()
    assert sorted(widths)[-3:] == [2.2] * 3  # a tenth of 21
    assert sorted(widths)[-4] < 1
    # the best is drawn last, and darkest
    colours = np.array([sum(colour[:3]) for colour in lines.to_rgba(lines.get_array())])
    assert colours.argmin() == len(colours) - 1
    assert "not in the trial" in texts(found["parallel_coordinates"])


def test_rotated_names_have_room(drawn):
    """The boxes of rotated texts overlap; the distance across the texts counts."""
    _, found = drawn
    figure = found["parallel_coordinates"]
    names = [text for text in figure.axes[0].texts if text.get_rotation()]
    starts = [text.get_transform().transform(text.get_position())[0] for text in names]
    across = np.diff(starts) * np.sin(np.radians(names[0].get_rotation()))
    assert (across * 72 / figure.dpi > 1.2 * names[0].get_fontsize()).all()


def test_the_timeline_has_a_bar_for_each_trial(drawn):
    view, found = drawn
    (axes,) = found["timeline"].axes
    assert len(axes.patches) == 30
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "1"]
    seconds = sum(bar.get_width() for bar in axes.patches)
    assert axes.get_xlabel() == "minutes since the search began"
    assert seconds * 60 == pytest.approx(sum(trial.seconds for trial in view.log.trials))
    hatched = [bar for bar in axes.patches if bar.get_hatch() == "////"]
    assert len(hatched) == 6  # the pruned ones


def test_pareto_front_of_two_objectives_is_joined():
    view = view_of(searched(12, objectives=2), [])
    (axes,) = figures(view, "pareto_front")["pareto_front"].axes
    others, best = axes.get_lines()
    assert (others.get_linestyle(), best.get_linestyle()) == ("None", "--")
    assert len(others.get_xdata()) + len(best.get_xdata()) == len(view.log.complete)
    assert (np.diff(best.get_xdata()) > 0).all()
    assert (np.diff(best.get_ydata()) > 0).all()  # more of one costs the other
