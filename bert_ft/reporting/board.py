"""A report's pictures in TensorBoard, beside the curves."""

from __future__ import annotations

import io
import logging
import shlex
from dataclasses import replace
from pathlib import Path

from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from bert_ft.drawing.style import png
from bert_ft.reporting.monitor_files import read_arrays, steps_of
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.report import write_page
from bert_ft.reporting.representation_pictures import plane
from bert_ft.reporting.run_log import RunLog, read_run

log = logging.getLogger(__name__)


def publish(folder: Path) -> Path:
    """Write the report of the run in ``folder``, and its pictures into TensorBoard; the page's path."""
    run = read_run(folder)
    page = write_page(run)
    add_pictures(run)
    return page


def publish_if_possible(folder: Path) -> Path | None:
    """As ``publish``; ``None`` where that fails, which the log tells: the run itself is finished and stays so."""
    try:
        return publish(folder)
    except Exception:
        log.exception(
            "the report couldn't be drawn; python -m bert_ft.report %s tries again",
            shlex.quote(f"run={folder}"),
        )
        return None


def add_pictures(run: RunLog) -> None:
    """Add the pictures of the report that was written, and the plane of the vectors at each validation."""
    folder = run.folder
    step = max((int(series.steps[-1]) for series in run.scalars.values()), default=0)
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for path in sorted((folder / "report").glob("*.png")):
            writer.add_image(f"pictures/{path.stem}", imread(path), step, dataformats="HWC")
        for validated in steps_of(folder / "monitor", "representations"):
            at_that_step = replace(
                run, representations=read_arrays(folder / "monitor", "representations", validated)
            )
            try:
                picture = imread(io.BytesIO(png(plane(at_that_step))))
            except NotLogged:
                continue
            writer.add_image("representations/plane", picture, validated, dataformats="HWC")
