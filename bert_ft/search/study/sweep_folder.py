"""The study that a search's folder belongs to."""

from __future__ import annotations

from pathlib import Path

import yaml

from bert_ft import layout
from bert_ft.search.study.storage import absolute_url


def study_of(folder: Path) -> tuple[str | None, str] | None:
    """Return name (``None``: the only one) and storage of the study whose trials are in ``folder``; or ``None``.

    The storage is the database in the folder, else the one that the search was given.
    """
    database = folder / layout.STUDY_DATABASE
    if database.is_file():
        return None, f"sqlite:///{database.absolute()}"
    for path in sorted(folder.glob(f"*/{layout.HYDRA_FILE}")):
        try:
            hydra = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]
            sweeper, started_in = hydra["sweeper"], hydra["runtime"]["cwd"]
            if url := sweeper.get("storage"):
                return sweeper.get("study_name") or Path(hydra["sweep"]["dir"]).name, absolute_url(
                    url, Path(started_in)
                )
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
            continue
    return None
