"""The metric by which a run is judged, and the point to mark on its curve."""

import numpy as np

from bert_ft import layout
from bert_ft.reporting.run_log import RunLog


def objective_of(log: RunLog) -> tuple[str | None, str | None]:
    """Return tag and mode of the run's objective."""
    tag = (log.metrics or {}).get("objective", {}).get("metric") or log.setting("objective.metric")
    return tag, log.setting("objective.mode")


def best_so_far(log: RunLog) -> tuple[int, float] | None:
    """Return step and value of the best logged validation, by the run's objective."""
    tag, mode = objective_of(log)
    series = log.scalars.get(tag) if tag else None
    if series is None or not np.isfinite(series.values).any():
        return None
    best = int(np.nanargmin(series.values) if mode == "min" else np.nanargmax(series.values))
    return int(series.steps[best]), float(series.values[best])


def kept_point(log: RunLog, tag: str) -> tuple[int, float, str] | None:
    """Return step, value and name of the point to mark on the curve of ``tag``.

    It is the kept checkpoint, or the best validation so far if the run isn't finished.
    """
    if log.metrics is not None:
        value = (log.metrics.get("val") or {}).get(tag.removeprefix(layout.VAL))
        return None if log.kept_step is None or value is None else (log.kept_step, value, "kept checkpoint")
    best = best_so_far(log)
    series = log.scalars.get(tag)
    if best is None or series is None or best[0] not in series.steps:
        return None
    value = float(series.values[series.steps == best[0]][0])
    return (best[0], value, "best so far") if np.isfinite(value) else None
