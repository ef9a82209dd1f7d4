"""Everything in a run's folder, read into plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from bert_ft import layout
from bert_ft.errors import ConfigError
from bert_ft.reporting.monitor_files import (
    Arrays,
    DamagedFileError,
    LossRow,
    Snapshot,
    read_arrays,
    read_json,
    read_or_say,
    read_top_losses,
)
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.scalars import Series, read_scalars

Read = TypeVar("Read")


@dataclass(frozen=True)
class RunLog:
    """The content of a run's folder; missing parts are ``None`` or empty.

    Attributes:
        folder: the run's folder.
        scalars: tag → its values.
        metrics: ``metrics.json``; an unfinished run has none.
        data_report: ``data_report.json``.
        environment: ``environment.json``.
        config: the run's configuration, with its interpolations unresolved.
        overrides: the overrides of its command.
        hydra: Hydra's record of the command.
        validation: ``logits`` ``(rows, classes)``, ``labels`` and ``rows`` ``(rows,)``, ``names`` ``(classes,)``; of the
            whole split, which may have more rows, ``confusion`` ``(classes, classes)`` and ``num_rows``.
        representations: ``vectors`` ``(rows, width)``, ``predictions``, ``labels`` and ``rows`` ``(rows,)``, ``names``.
        attention: means by layer and head, ``(layers, heads)`` each; tokens and attention of some texts.
        top_losses: validation rows, the highest loss first.
        test: the same as ``validation`` of the test split, by the weights that were saved.
        test_losses: its rows, the highest loss first.
        pretraining: the pre-training stage of a run that has one.
        damaged: a sentence for each file that couldn't be read.
    """

    folder: Path
    scalars: dict[str, Series] = field(default_factory=dict)
    metrics: dict[str, Any] | None = None
    data_report: dict[str, Any] | None = None
    environment: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    overrides: list[str] | None = None
    hydra: dict[str, Any] | None = None
    validation: Snapshot[Arrays] | None = None
    representations: Snapshot[Arrays] | None = None
    attention: Snapshot[Arrays] | None = None
    top_losses: Snapshot[list[LossRow]] | None = None
    test: Snapshot[Arrays] | None = None
    test_losses: Snapshot[list[LossRow]] | None = None
    pretraining: RunLog | None = None
    damaged: tuple[str, ...] = ()

    def of_test(self) -> RunLog:
        """Return the run with its test split in the place of the validation split."""
        return replace(self, validation=self.test, top_losses=self.test_losses)

    @property
    def stage(self) -> RunLog | None:
        """The pre-training stage: the run itself if it is standalone."""
        return self if self.is_stage else self.pretraining

    @property
    def is_stage(self) -> bool:
        """Whether the run is a standalone pre-training stage."""
        return "stage" in (self.metrics or {}) or bool(self.setting("pretrain") and not self.setting("model"))

    @property
    def task(self) -> dict[str, Any] | None:
        """The run's record of its task; ``None`` in runs of earlier versions."""
        return (self.data_report or {}).get("task")

    @property
    def kept_step(self) -> int | None:
        """Optimizer steps done at the kept checkpoint; ``None`` if the run isn't finished."""
        return None if self.metrics is None else self.metrics.get("checkpoint", {}).get("step")

    @property
    def last_step(self) -> int:
        """The last step at which anything was logged; 0 if nothing was."""
        return max((int(series.steps[-1]) for series in self.scalars.values()), default=0)

    def series(self, tag: str) -> Series:
        """Return the values of a tag.

        Raises:
            NotLogged: there are none.
        """
        if tag not in self.scalars:
            raise NotLogged(f"no {tag} was logged")
        return self.scalars[tag]

    def setting(self, key: str) -> Any:
        """Return the value of ``key`` (``trainer.max_epochs``) in the configuration; ``None`` if it has none."""
        node: Any = self.config
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node


def read_run(folder: Path) -> RunLog:
    """Read the folder of a finished or unfinished run.

    Raises:
        ConfigError: there is no such folder, or it has none of a run's logs.
    """
    if not folder.is_dir():
        raise ConfigError(f"run={folder}: no such folder (searched from {Path.cwd()})")
    log = _read(folder)
    if not log.scalars and log.metrics is None and log.data_report is None and log.pretraining is None:
        raise ConfigError(
            f"run={folder}: holds no logged data (neither tensorboard/, csv/, metrics.json nor data_report.json); "
            "give the folder of a run, such as outputs/train/<run>"
        )
    return log


def _read(folder: Path) -> RunLog:
    damaged: list[str] = []

    def try_to(read: Callable[..., Read], *arguments: Any) -> Read | None:
        try:
            return read(*arguments)
        except DamagedFileError as error:
            damaged.append(str(error))
            return None

    in_folder = partial(try_to, _file, folder)
    metrics = in_folder(layout.METRICS_FILE, dict)
    kept_step = None if metrics is None else metrics.get("checkpoint", {}).get("step")
    monitor = folder / layout.MONITOR_FOLDER
    before = folder / layout.PRETRAINING_FOLDER
    pretraining = _read(before) if before.is_dir() else None
    return RunLog(
        folder=folder,
        scalars=read_scalars(folder),
        metrics=metrics,
        data_report=in_folder(layout.DATA_REPORT_FILE, dict),
        environment=in_folder(layout.ENVIRONMENT_FILE, dict),
        config=in_folder(layout.CONFIG_FILE, dict),
        overrides=in_folder(layout.OVERRIDES_FILE, list),
        hydra=in_folder(layout.HYDRA_FILE, dict),
        validation=try_to(read_arrays, monitor, layout.VALIDATION_ROWS, kept_step),
        representations=try_to(read_arrays, monitor, layout.VECTORS, kept_step),
        attention=try_to(read_arrays, monitor, layout.ATTENTION_MAPS, kept_step),
        top_losses=try_to(read_top_losses, monitor, kept_step),
        test=try_to(read_arrays, folder / layout.TEST_FOLDER, layout.TEST_ROWS, kept_step),
        test_losses=try_to(read_top_losses, folder / layout.TEST_FOLDER, kept_step, layout.TEST_LOSSES),
        pretraining=pretraining,
        # last: it is filled while the others are read
        damaged=(*damaged, *(() if pretraining is None else pretraining.damaged)),
    )


def _file(folder: Path, name: str, kind: type) -> Any:
    """Read a JSON or YAML file that holds a ``kind``; ``None`` if there is none."""
    path = folder / name
    if not path.exists():
        return None
    content = read_or_say(path, name, read_json if path.suffix == ".json" else _yaml)
    if not isinstance(content, kind):
        raise DamagedFileError(f"{name} isn't a {kind.__name__}")
    return content


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
