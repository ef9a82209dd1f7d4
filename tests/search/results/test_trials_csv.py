import csv
import io

from bert_ft.search.results.study_log import read_study
from bert_ft.search.results.trials_csv import trials_csv
from tests.search.results.studies import five_trials, new_study


def test_a_row_a_trial():
    rows = list(csv.DictReader(io.StringIO(trials_csv(five_trials()))))
    assert len(rows) == 5
    assert rows[0] == {
        "number": "0",
        "state": "complete",
        "val/accuracy": "0.91",
        "last_step": "10",
        "last_value": "0.91",
        "lr": "0.001",
        "sizes": "[768,384]",
        "gamma": "",
        "seconds": "100.0",
        "start": "2026-11-25 10:00:00",
        "end": "2026-11-25 10:01:40",
        "worker": "0",
        "host": "",
        "steps": "10",
        "total_steps": "10",
        "seconds_to_first_step": "2.0",
        "reason": "",
        "folder": "/sweep/0",
    }
    assert (rows[1]["state"], rows[1]["val/accuracy"], rows[1]["last_value"]) == ("pruned", "", "0.4")
    assert rows[3]["reason"] == "loss is NaN at step 7"


def test_a_table_of_nothing_has_its_headings():
    assert trials_csv(read_study(new_study())).startswith("number,state,value,last_step,last_value,seconds,")
