"""README and the pages under ``docs/``, and the commands that they show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(name: str) -> str:
    """Return the text of a page of ``docs/``."""
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def shown_commands(page: Path) -> list[str]:
    """Return what comes after ``python -m bert_ft.`` on each line of a page that begins with it."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    return re.findall(r"^python -m bert_ft\.(\w+ .*?)\s*(?:#.*)?$", text, re.MULTILINE)
