"""The report as one self-contained page."""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from bert_ft import layout
from bert_ft.atomic_file import write
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.pictures import LeftOut, Picture
from bert_ft.reporting.table import Table


@dataclass(frozen=True)
class Section:
    """A part of the page under its own heading; ``note`` applies to all parts, such as the step shown."""

    title: str
    note: str
    parts: Sequence[Picture | Table | LeftOut]

    @property
    def name(self) -> str:
        """The section's anchor, for links to it."""
        return re.sub(r"\W+", "-", self.title.lower())

    @property
    def is_empty(self) -> bool:
        """Whether all parts are left out."""
        return all(isinstance(part, LeftOut) for part in self.parts)


@dataclass(frozen=True)
class Page:
    """Everything on the page; what isn't known is ``None``.

    Attributes:
        title: title of the page.
        facts: name → what was reached.
        results: the metrics.
        sections: in the order of the page.
        config: settings as YAML.
        command: the command that repeats the run or trial.
        working_folder: where the command was given.
        notes: warnings of the data report.
        damaged: a sentence for each file that couldn't be read.
        advice: what the run says about itself.
        subject: name of what the command repeats, e.g. the run.
        config_name: heading of the collapsed settings.
        no_config: why there are no settings.
        no_command: why there is no command.
    """

    title: str
    facts: dict[str, str]
    results: Table | LeftOut
    sections: Sequence[Section]
    config: str | None
    command: str | None
    working_folder: str | None
    notes: Sequence[str]
    damaged: Sequence[str]
    advice: Sequence[str] = ()
    subject: str = "the run"
    config_name: str = "All settings"
    no_config: str = f"the run kept no {layout.CONFIG_FILE}"
    no_command: str = f"the run kept no {layout.OVERRIDES_FILE}"


def write_page(page: Page, path: Path, pictures: Path) -> Path:
    """Write the page to ``path`` and its pictures into the folder ``pictures``; return ``path``.

    Pictures of an earlier report that this one doesn't have are removed. Files are replaced atomically, so that a
    reader never sees a half-written one.
    """
    parts = [part for section in page.sections for part in section.parts]
    drawn = {f"{part.spec.name}.png": part.png for part in parts if isinstance(part, Picture)}
    pictures.mkdir(exist_ok=True)
    for earlier in pictures.glob("*.png"):
        if earlier.name not in drawn:
            earlier.unlink(missing_ok=True)
    for name, png in drawn.items():
        write(pictures / name, png)
    write(path, render(page).encode())
    return path


def table_or_reason(title: str, make: Callable[..., Table], *of: Any) -> Table | LeftOut:
    """Return the table, or the reason why it can't be made."""
    try:
        return make(*of)
    except NotLogged as reason:
        return LeftOut(title, str(reason))


def render(page: Page) -> str:
    """Return the page as HTML, with all text escaped, since some comes from users' rows."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bert_ft.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    environment.tests["picture"] = lambda part: isinstance(part, Picture)
    environment.tests["left_out"] = lambda part: isinstance(part, LeftOut)
    environment.tests["table"] = lambda part: isinstance(part, Table)
    return environment.get_template("report.html.j2").render(page=page)
