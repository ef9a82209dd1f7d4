"""A report's pictures in TensorBoard, beside the curves."""

import io
import logging
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from bert_ft import layout
from bert_ft.drawing.style import png
from bert_ft.errors import OutputError, is_unwritable, unwritten, what_is_unwritable
from bert_ft.reporting.monitor_files import read_arrays
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.report import write_page
from bert_ft.reporting.representation_pictures import representations
from bert_ft.reporting.run_log import RunLog, read_run

log = logging.getLogger(__name__)


def publish(folder: Path) -> Path:
    """Write the report of the run in ``folder``, and its pictures into TensorBoard; return the page's path."""
    run = read_run(folder)
    page = write_page(run)
    add_pictures(run)
    return page


def publish_if_possible(folder: Path) -> Path | None:
    """Call ``publish``; log a failure and return ``None``, since the run itself is complete."""
    command = f"python -m bert_ft.report {shlex.quote(f'run={folder}')}"
    try:
        return publish(folder)
    except Exception as error:
        if isinstance(error, OSError) and is_unwritable(error):
            problem = f"{what_is_unwritable(error, folder)}; to write the report afterwards: {command}"
            unwritten.append(OutputError(problem))
        else:
            log.exception("the report couldn't be drawn; retry with: %s", command)
        return None


def add_pictures(run: RunLog) -> None:
    """Add the pictures of the written report, and the plane of the vectors at each validation."""
    folder, monitor = run.folder, run.folder / layout.MONITOR_FOLDER
    with SummaryWriter(str(folder / layout.TENSORBOARD_FOLDER)) as writer:
        for path in sorted((folder / layout.REPORT_PICTURE_FOLDER).glob("*.png")):
            writer.add_image(f"{layout.PICTURES}{path.stem}", imread(path), run.last_step, dataformats="HWC")
        for step in sorted(layout.monitor_files(monitor, layout.VECTORS)):
            at_step = replace(run, representations=read_arrays(monitor, layout.VECTORS, step))
            with suppress(NotLogged):
                picture = imread(io.BytesIO(png(representations.draw(at_step))))
                writer.add_image(f"{layout.REPRESENTATIONS}plane", picture, step, dataformats="HWC")
