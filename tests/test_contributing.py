"""The map in CONTRIBUTING.md names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = sorted(
    {
        word
        for word in re.findall(r"`([\w./*-]+)`", TEXT)
        if word.endswith((".py", ".yaml", "/")) and word not in ("space/", "study/", "trials/", "results/")
    }
)


@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_exists(name):
    places = [ROOT, ROOT / "bert_ft", ROOT / "bert_ft/config"]
    assert any(list(place.glob(name.rstrip("/"))) for place in places)


def test_each_folder_of_the_package_is_on_the_map():
    folders = {path.parent.name for path in (ROOT / "bert_ft").glob("*/__init__.py")}
    assert {folder for folder in folders if f"`bert_ft/{folder}/`" not in TEXT} == set()
