import pytest
from optuna.distributions import FloatDistribution

from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.table import duration
from bert_ft.search.results import tables
from bert_ft.search.results.importance import Importances
from bert_ft.search.results.statistics import statistics_of
from bert_ft.search.results.study_log import read_study
from tests.search.results.studies import add, at, five_trials, log_of, new_study


@pytest.fixture
def log():
    return five_trials()


def texts(table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_facts(log):
    found = tables.facts(log, statistics_of(log))
    assert found == {
        "trials": "4 of 10 ended (2 complete, 1 pruned, 1 failed, 1 lost)",
        "best": "val/accuracy 0.9500 in trial 2 (maximized)",
        "time": "2 min 7 s",
    }


@pytest.mark.parametrize(("drawn", "words"), [([], ""), (["a", "b"], " (except a, b)")])
def test_the_configured_trial_is_named_beside_the_best(drawn, words):
    study = new_study()
    # a parameter that the trial lacks wasn't drawn either
    space = {name: FloatDistribution(0, 1) for name in drawn}
    add(study, "complete", 0.5, dict.fromkeys(drawn, 0.5), space=space, as_configured=[*drawn, "pretrain.x"])
    add(study, "complete", 0.75)
    log = read_study(study)
    found = tables.facts(log, statistics_of(log))
    assert found["best"] == "value 0.7500 in trial 1 (maximized)"
    assert found["as configured"] == f"0.5000 in trial 0{words}"


def test_facts_of_a_search_that_runs():
    study = new_study(["minimize"], n_trials=4)
    add(study, "complete", 2.0, span=(0, 60))
    add(study, "running", span=(60, None))
    log = read_study(study, now=at(120))
    found = tables.facts(log, statistics_of(log))
    assert found["time"] == "2 min 0 s; about 6 min 0 s left"
    assert found["best"] == "value 2.0000 in trial 0 (minimized)"


def test_facts_of_nothing():
    log = read_study(new_study())
    facts = {"trials": "none yet", "objective": "value (maximized)", "time": "0.0 s"}
    assert tables.facts(log, statistics_of(log)) == facts


def test_facts_of_several_objectives():
    study = new_study(["maximize", "minimize"], objective=["val/accuracy", "size"])
    for values in ((0.9, 10), (0.8, 5), (0.7, 7)):
        add(study, "complete", values)
    log = read_study(study)
    found = tables.facts(log, statistics_of(log))
    assert (found["objective 1"], found["objective 2"]) == ("val/accuracy (maximized)", "size (minimized)")
    assert found["best"] == "trials 0, 1: no other trial dominates them"


def test_best_trials(log):
    table = tables.best_trials(log)
    assert table.columns == ["", "trial 2", "trial 0"]
    assert texts(table) == [
        ["val/accuracy", "0.9500", "0.9100"],
        ["seconds", "100.0", "100.0"],
        ["lr", "0.01", "0.001"],
        ["sizes", "[384]", "[768,384]"],
        ["gamma", "2", "-"],
        ["folder", "/elsewhere/2", "0"],
    ]


def test_at_the_edge():
    log = log_of("lr", FloatDistribution(1e-4, 1e-2, log=True), [0.01, 0.01, 0.001])
    assert texts(tables.at_the_edge(log)) == [["lr", "upper", "0.01", "2 of 3", "0.01"]]
    assert tables.facts(log, statistics_of(log))["at an edge"] == (
        "lr at the upper end of its range (0.01) in 2 of the best 3"
    )


def test_trial_statistics(log):
    rows = dict(texts(tables.trial_statistics(log, statistics_of(log))))
    assert rows == {
        "complete trials": "2",
        "pruned trials": "1",
        "failed trials": "1",
        "lost trials": "1",
        "pruning rate": "33.3%",
        "worker time saved by pruning (estimated)": "25.0 s",  # 5 steps in 25 s, 5 more
        "duration of complete trials, median (range)": "100.0 s (100.0 s to 100.0 s)",
        "duration of pruned trials, median (range)": "27.0 s (27.0 s to 27.0 s)",
        "duration of failed trials, median (range)": "3.0 s (3.0 s to 3.0 s)",
        "duration of lost trials, median (range)": "1.0 s (1.0 s to 1.0 s)",
        "time in pruned trials": "27.0 s, 11.7%",
        "time in failed trials": "3.0 s, 1.3%",
        "time in lost trials": "1.0 s, 0.4%",
        "time to the first step, median": "2.0 s",
        "time in which the search ran": "2 min 7 s",
        "workers' idle share": "9.1%",  # worker 0: 23 of 254 s
    }


def test_workers(log):
    assert texts(tables.workers(log)) == [
        ["0", "3", "104.0", "0.0", "23.0", "0.181"],
        ["1", "2", "127.0", "0.0", "0.0", "0.000"],
        ["all", "5", "231.0", "0.0", "23.0", "0.091"],
    ]


def test_failures_say_why(log):
    assert texts(tables.failures(log)) == [
        ["4", "its process was killed", "1.0", "0", "-"],
        ["3", "loss is NaN at step 7", "3.0", "0", "3"],
    ]


def test_importance_says_what_it_lacks():
    log = read_study(new_study())
    found = Importances(
        0,
        {"lr": 0.75, "sizes": 0.25},
        {"lr": 1.0, "gamma": 0.0, "sizes": 0.0},
        ["no word on x"],
        fanova_spread={"lr": 0.05},
    )
    table = tables.importance(log, [found])
    assert texts(table) == [
        ["lr", "0.750", "0.050", "1.000", "-"],
        ["gamma", "-", "-", "0.000", "-"],
        ["sizes", "0.250", "-", "0.000", "-"],
    ]
    assert table.reading.endswith("resamples of the trials. No word on x.")
    with pytest.raises(NotLogged, match=r"^not enough data: 3 trials$"):
        tables.importance(log, [Importances(0, {}, {}, ["not enough data: 3 trials"])])


def test_all_trials(log):
    table = tables.all_trials(log)
    assert table.columns[:5] == ["trial", "state", "val/accuracy", "last report", "seconds"]
    assert table.columns[5:] == ["lr", "sizes", "gamma"]
    assert texts(table)[0] == ["0", "complete", "0.9100", "0.9100", "100.0", "0.001", "[768,384]", "-"]
    assert texts(table)[1] == ["1", "pruned", "-", "0.4000", "27.0", "0.0001", "[384]", "-"]
    assert texts(table)[3][:3] == ["3", "failed", "-"]


@pytest.mark.parametrize("table", ["best_trials", "at_the_edge", "workers", "failures", "all_trials"])
def test_a_table_of_nothing_says_so(table):
    with pytest.raises(NotLogged, match=r"^no "):
        getattr(tables, table)(read_study(new_study()))


DURATIONS = {0: "0.0 s", 119.94: "119.9 s", 120: "2 min 0 s", 3599.6: "1 h 0 min", 12000: "3 h 20 min"}


@pytest.mark.parametrize(("seconds", "text"), [*DURATIONS.items(), (187200, "2 d 4 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text
