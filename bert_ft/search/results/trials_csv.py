"""The trials of a study as comma-separated values."""

from __future__ import annotations

import csv
import io

from bert_ft.search.results.study_log import StudyLog

TIMES = ("seconds", "start", "end")
LAST = (*TIMES, "worker", "host", "steps", "total_steps", "seconds_to_first_step", "reason", "folder")


def trials_csv(log: StudyLog) -> str:
    """Return a row for each trial; unknown values are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = list(log.distributions)
    writer.writerow(["number", "state", *log.objectives, "last_step", "last_value", *names, *LAST])
    for trial in log.trials:
        values = trial.values or [None] * len(log.objectives)
        params = [trial.params.get(name) for name in names]
        last = [getattr(trial, name) for name in LAST]
        writer.writerow(
            [trial.number, trial.state, *values, *(trial.last_reported or (None, None)), *params, *last]
        )
    return buffer.getvalue()
