"""The command that a run was started with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from bert_ft.reporting.run_log import RunLog

# where a run goes, or goes on from, and not what it does
ELSEWHERE = ("resume_from=", "hydra.run.dir=", "hydra.sweep.dir=")


def repeat_command(log: RunLog) -> str | None:
    """What repeats the run in a folder of its own, its seed written out; ``None`` if its overrides aren't known."""
    if log.overrides is None:
        return None
    hydra = (log.hydra or {}).get("hydra", {})
    own = [
        source["path"]
        for source in hydra.get("runtime", {}).get("config_sources", [])
        if source.get("provider") == "command-line"
    ]
    job = hydra.get("job", {}).get("config_name") or "train"
    return command_line([str(override) for override in log.overrides], own, _seed(log), job=job)


def command_line(
    overrides: Sequence[str], own: Sequence[str] = (), seed: Any = None, *, job: str = "train"
) -> str:
    """What runs the job with these overrides.

    Args:
        overrides: those that say where a run goes are left out.
        own: folders of the user's own configuration.
        seed: that of the run; ``None``: it isn't known.
        job: ``train`` or ``pretrain``.
    """
    words = [f"--config-dir={path}" for path in own]
    words += [override for override in overrides if not override.startswith(ELSEWHERE)]
    if seed is not None and not any(word.lstrip("+").startswith("seed=") for word in words):
        words.append(f"seed={seed}")
    return " ".join([f"python -m bert_ft.{job}", *(shlex.quote(word) for word in words)])


def working_folder(log: RunLog) -> str | None:
    """Where the command was given: relative paths in it start there."""
    return (log.hydra or {}).get("hydra", {}).get("runtime", {}).get("cwd")


def _seed(log: RunLog) -> Any:
    return (log.metrics or {}).get("seed", log.setting("seed"))
