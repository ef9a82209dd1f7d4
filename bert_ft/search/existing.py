"""A study that is there already, to look at."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.study import Study
from sqlalchemy.exc import SQLAlchemyError

from bert_ft.errors import ConfigError
from bert_ft.search.storage import KEY, absolute_url, open_storage, without_password
from bert_ft.search.study_log import sweep_folder


def open_study(name: str | None, url: str) -> Study:
    """The study of that name in the database at ``url``; without a name the only one there.

    Raises:
        ConfigError: the database can't be used, or holds no such study.
    """
    try:
        storage = open_storage(absolute_url(url, Path.cwd()))
    except ConfigError as error:  # which names the sweep's key
        raise ConfigError(str(error).replace(f"{KEY}=", "storage=", 1)) from error
    shown = without_password(url)
    try:
        names = sorted(study.study_name for study in storage.get_all_studies())
    except SQLAlchemyError as error:
        raise ConfigError(f"storage={shown}: holds no studies: it isn't a database of Optuna's") from error
    if not names:
        raise ConfigError(f"storage={shown}: holds no study yet")
    if name is None and len(names) > 1:
        raise ConfigError(f"study_name: required, for storage={shown} holds several: {', '.join(names)}")
    if name is not None and name not in names:
        raise ConfigError(
            f"study_name={name}: storage={shown} has none of that name; it has {', '.join(names)}"
        )
    return optuna.load_study(study_name=name or names[0], storage=storage)


def folder_of(study: Study, given: str | None) -> Path:
    """Where to write what comes out of the study: the folder that is ``given``, else that of its sweep.

    Raises:
        ConfigError: none is given, and the study has noted none, or one that isn't there.
    """
    if given is not None:
        return Path(given)
    folder = sweep_folder(study)
    if folder is None:
        raise ConfigError(f"folder: required, for study_name={study.study_name} has noted none of its own")
    if not folder.is_dir():  # moved, or of another machine
        raise ConfigError(
            f"folder: required, for {folder}, which study_name={study.study_name} wrote to, isn't there"
        )
    return folder
