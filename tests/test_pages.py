"""The pages of docs/: they build as a site without a warning, and each can be found."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.pages import PAGES, ROOT


def build(folder: Path) -> subprocess.CompletedProcess:
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run([zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True)


def test_the_site_builds_and_a_broken_link_is_an_error(tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/search/index.html").exists()
    (tmp_path / "docs/index.md").write_text("[a page](that_is_missing.md)\n")
    assert build(tmp_path).returncode != 0


def test_every_page_is_in_the_navigation():
    found = []

    def collect(node):
        for value in node.values() if isinstance(node, dict) else node:
            collect(value) if isinstance(value, dict | list) else found.append(value)

    collect(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(found) == sorted(page.name for page in PAGES if page.parent.name == "docs")


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200
