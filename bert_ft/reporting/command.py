"""The command that a run was started with."""

import shlex

from bert_ft.reporting.run_log import RunLog

# where a run writes or resumes, not what it does
RUN_SPECIFIC = ("resume_from=", "hydra.run.dir=", "hydra.sweep.dir=")


def repeat_command(log: RunLog) -> str | None:
    """Return the command that repeats the run in a new folder; ``None`` if its overrides aren't known."""
    if log.overrides is None:
        return None
    hydra = (log.hydra or {}).get("hydra", {})
    own = [
        source["path"]
        for source in hydra.get("runtime", {}).get("config_sources", [])
        if source.get("provider") == "command-line"
    ]
    words = [f"--config-dir={path}" for path in own]
    words += [str(override) for override in log.overrides if not str(override).startswith(RUN_SPECIFIC)]
    seed = (log.metrics or {}).get("seed", log.setting("seed"))
    if seed is not None and not any(word.lstrip("+").startswith("seed=") for word in words):
        words.append(f"seed={seed}")
    job = hydra.get("job", {}).get("config_name") or "train"
    return " ".join([f"python -m bert_ft.{job}", *(shlex.quote(word) for word in words)])


def working_folder(log: RunLog) -> str | None:
    """Return the folder that relative paths of the command start from."""
    return (log.hydra or {}).get("hydra", {}).get("runtime", {}).get("cwd")
