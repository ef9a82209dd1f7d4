"""The trials of a study as a file of comma-separated values."""

from __future__ import annotations

import csv
import io

from bert_ft.search.results.study_log import StudyLog

COLUMNS = ("number", "state")
LAST = (
    "seconds",
    "start",
    "end",
    "worker",
    "host",
    "steps",
    "total_steps",
    "seconds_to_first_step",
    "reason",
    "folder",
)


def trials_csv(log: StudyLog) -> str:
    """A row a trial: number, state, values, last report, parameters, times, worker, reason and folder; empty where unknown."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    params = list(log.distributions)
    writer.writerow([*COLUMNS, *log.objectives, "last_step", "last_value", *params, *LAST])
    for trial in log.trials:
        values = trial.values or [None] * len(log.objectives)
        last = trial.last_reported or (None, None)
        row = {name: getattr(trial, name) for name in LAST}
        row |= {name: None if row[name] is None else row[name].isoformat(" ") for name in ("start", "end")}
        settings = [trial.params.get(name) for name in params]
        writer.writerow([trial.number, trial.state, *values, *last, *settings, *row.values()])
    return buffer.getvalue()
