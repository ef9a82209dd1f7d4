"""All that a run left in its folder, read into plain values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
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
    read_top_losses,
)
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.scalars import Series, read_scalars

Read = TypeVar("Read")


@dataclass(frozen=True)
class RunLog:
    """A run as its folder tells it; what isn't there is ``None`` or empty.

    Attributes:
        folder: the run's.
        scalars: tag → its values.
        metrics: ``metrics.json``; a run that was broken off has none.
        data_report: ``data_report.json``.
        environment: ``environment.json``.
        config: the run's configuration, interpolations as they are written.
        overrides: those of its command.
        hydra: what Hydra noted of the command itself.
        validation: ``logits`` ``(rows, classes)``, ``labels`` and ``rows`` ``(rows,)``, ``names`` ``(classes,)``; of the
            whole split ``confusion`` ``(classes, classes)`` and ``num_rows``, which may be more.
        representations: ``vectors`` ``(rows, width)``, ``predictions`` and the others likewise.
        attention: means by layer and head, ``(layers, heads)`` each; tokens and attention of some texts.
        top_losses: validation rows, the highest loss first.
        pretraining: the stage before it, itself like a run.
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
    pretraining: RunLog | None = None
    damaged: tuple[str, ...] = ()

    @property
    def stage(self) -> RunLog | None:
        """The pre-training stage: what went before this run, or the run itself where it is nothing else."""
        return self if self.is_stage else self.pretraining

    @property
    def is_stage(self) -> bool:
        """Whether the run is a pre-training stage alone."""
        return "stage" in (self.metrics or {}) or bool(self.setting("pretrain") and not self.setting("model"))

    @property
    def task(self) -> dict[str, Any] | None:
        """What the run's task says about itself; ``None`` where the run didn't record it, as before there were several."""
        return (self.data_report or {}).get("task")

    @property
    def kept_step(self) -> int | None:
        """Optimizer steps done at the kept checkpoint; ``None`` where the run was broken off."""
        return None if self.metrics is None else self.metrics.get("checkpoint", {}).get("step")

    def series(self, tag: str) -> Series:
        """The values of a tag.

        Raises:
            NotLogged: there are none.
        """
        if tag not in self.scalars:
            raise NotLogged(f"no {tag} was logged")
        return self.scalars[tag]

    def setting(self, key: str) -> Any:
        """The value of ``key`` (``trainer.max_epochs``) in the run's configuration; ``None`` where it has none."""
        node: Any = self.config
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        return node


def read_run(folder: Path) -> RunLog:
    """What is in the folder of a finished or broken-off run.

    Raises:
        ConfigError: there is no such folder, or nothing that a run logs is in it.
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

    def try_to(read: Callable[[], Read]) -> Read | None:
        try:
            return read()
        except DamagedFileError as error:
            damaged.append(str(error))
            return None

    metrics = try_to(lambda: _json(folder / layout.METRICS_FILE))
    kept_step = None if metrics is None else metrics.get("checkpoint", {}).get("step")
    monitor = folder / layout.MONITOR_FOLDER
    before = folder / layout.PRETRAINING_FOLDER
    pretraining = _read(before) if before.is_dir() else None
    return RunLog(
        folder=folder,
        scalars=read_scalars(folder),
        metrics=metrics,
        data_report=try_to(lambda: _json(folder / layout.DATA_REPORT_FILE)),
        environment=try_to(lambda: _json(folder / layout.ENVIRONMENT_FILE)),
        config=try_to(lambda: _yaml(folder / layout.CONFIG_FILE, dict)),
        overrides=try_to(lambda: _yaml(folder / layout.OVERRIDES_FILE, list)),
        hydra=try_to(lambda: _yaml(folder / layout.HYDRA_FILE, dict)),
        validation=try_to(lambda: read_arrays(monitor, layout.VALIDATION_ROWS, kept_step)),
        representations=try_to(lambda: read_arrays(monitor, layout.VECTORS, kept_step)),
        attention=try_to(lambda: read_arrays(monitor, layout.ATTENTION_MAPS, kept_step)),
        top_losses=try_to(lambda: read_top_losses(monitor, kept_step)),
        pretraining=pretraining,
        # the last: it fills while the others are read
        damaged=(*damaged, *(() if pretraining is None else pretraining.damaged)),
    )


def _json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path.name} can't be read ({error})") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path.name} isn't a mapping")
    return content


def _yaml(path: Path, kind: type[Read]) -> Read | None:
    if not path.exists():
        return None
    name = f"{layout.HYDRA_FOLDER}/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DamagedFileError(f"{name} can't be read ({error})") from error
    if not isinstance(content, kind):
        raise DamagedFileError(f"{name} isn't a {kind.__name__}")
    return content
