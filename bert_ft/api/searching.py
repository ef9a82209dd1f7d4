"""``bert_ft.run_search``: the search for the best settings from Python."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_ft.errors import ConfigError, SearchError

if TYPE_CHECKING:
    import optuna

_LAST_WORDS = 2000  # characters of what a failed search printed


def run_search(
    overrides: Sequence[str] = (),
    *,
    n_trials: int | None = None,
    storage: str | None = None,
    study_name: str | None = None,
    folder: Path | str | None = None,
    verbose: bool = False,
) -> optuna.Study:
    """Search for the best settings, as ``python -m bert_ft.train --multirun hydra/sweeper=optuna`` with these overrides does.

    The search runs in processes of its own. The study's ``user_attrs["folder"]`` is its folder, with ``study.html``,
    ``trials.csv``, the best settings as ``best.yaml``, and the runs of the best trials.

    Args:
        overrides: ``key=value``, and ranges such as ``optimizer.lr=interval(1e-5,1e-3)``, without the quotes of a shell.
        n_trials: number of trials; ``None``: as configured.
        storage: database of the study, e.g. ``sqlite:///optuna.db``; ``None``: a SQLite file in the folder.
        study_name: a study of this name in the database is continued; ``None``: the name of the folder.
        folder: folder of the search; ``None``: ``outputs/search/<time>``.
        verbose: print the progress.

    Raises:
        ValueError: the search is misconfigured, or too many trials fail; the message is the command's.
        KeyboardInterrupt: you stopped it; the same call with its ``folder`` continues it.

    Example:
        >>> ranges = ["search=none", "optimizer.lr=choice(1e-3,3e-3)"]
        >>> files = ["data=files", "data.train_file=reviews.csv"]
        >>> study = bert_ft.run_search([*files, *settings, *ranges], n_trials=2, folder="searches/a")
        >>> len(study.trials), list(study.best_params)
        (2, ['optimizer.lr'])
    """
    import optuna

    from bert_ft.config.text_values import text_override
    from bert_ft.search.study.sweep_folder import study_of

    if isinstance(overrides, str):
        raise TypeError(f"overrides: got one text; pass a list, e.g. [{overrides!r}]")
    if storage is not None and "://" not in storage:
        raise ConfigError(f"storage={storage}: must be the address of a database, e.g. sqlite:///{storage}")
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    place = (
        Path(folder).expanduser().absolute() if folder is not None else Path.cwd() / "outputs/search" / name
    )
    keys: dict[str, Any] = {
        "hydra.sweep.dir": str(place),
        "hydra.sweeper.storage": storage,
        "hydra.sweeper.study_name": study_name,
    }
    own = [text_override(key, str(value), sweep=True) for key, value in keys.items() if value is not None]
    if n_trials is not None:
        own.append(f"hydra.sweeper.n_trials={n_trials}")
    _run(["--multirun", "hydra/sweeper=optuna", *overrides, *own], verbose=verbose)
    if (found := study_of(place)) is None:
        raise SearchError(f"{place}: the search has ended without a study")
    found_name, url = found
    if url.startswith("sqlite:///") and storage is not None:
        url = storage
    return optuna.load_study(study_name=study_name or found_name, storage=url)


def _run(words: Sequence[str], *, verbose: bool) -> None:
    """Run the command in a process of its own: trials are forked, which this process, with its threads, can't do safely."""
    command = [sys.executable, "-m", "bert_ft.train", *words]
    output = None if verbose else subprocess.PIPE
    # in a session of its own, so that Ctrl-C reaches it once
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=None if verbose else subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate()
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)  # it saves what is done, and says how to continue
        process.wait()
        raise
    if process.returncode:
        lines = (printed or "see above").strip()[-_LAST_WORDS:]
        raise SearchError(lines)
