"""The page itself: complete, readable without anything else, and honest about what it lacks."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bert_ft.drawing.style import DPI, WIDTH
from bert_ft.reporting.report import write_report
from tests import commands
from tests.reporting.synthetic import Size, write_json, write_run, write_scalars

pytestmark = pytest.mark.slow

VOID = {"meta", "img", "link", "br", "hr"}
SIZE = Size(num_rows=20, num_steps=8)


class Page(HTMLParser):
    """A page's tags, texts and links; refuses tags that aren't closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def report_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def a_word_of(figure) -> bytes:
    """Instead of a file that takes its time; another one for each picture."""
    return "; ".join(axes.get_title(loc="left") + axes.get_ylabel() for axes in figure.axes).encode()


@pytest.fixture
def no_files_drawn(monkeypatch):
    """For tests of the words: the figures are made, but not the files."""
    monkeypatch.setattr("bert_ft.reporting.pictures.png", a_word_of)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Page]:
    """A run and its page, without the files of the pictures."""
    folder = write_run(tmp_path_factory.mktemp("finished") / "run", SIZE)
    row = {
        "row": 3,
        "text": "<script>alert('x')</script> & <b>bold</b>",
        "label": "<i>a</i>",
        "prediction": "b",
    }
    losses = [row | {"probability": 0.1, "loss": 2.3}]
    write_json(folder / f"monitor/top_losses_{SIZE.kept_step}.json", losses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_ft.reporting.pictures.png", a_word_of)
        page = report_of(folder)
    return folder, page


@pytest.fixture
def bare(tmp_path) -> Path:
    """A run that logged one loss."""
    write_scalars(tmp_path, [("val/loss", 1, 1.0)])
    return tmp_path


def test_the_page_needs_nothing_else(finished):
    _, page = finished
    assert page.of("script") == page.of("link") == page.of("iframe") == []
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))
    assert all(target.startswith("#") for target in page.attributes("href"))
    style = "".join(page.texts[page.texts.index(text)] for text in page.texts if ":root" in text)
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style
    assert "@import" not in style
    targets = [target.removeprefix("#") for target in page.attributes("href")]
    assert len(targets) >= 8
    order = [targets.index(name) for name in ("validation", "training", "data", "layers", "environment")]
    assert order == sorted(order)
    assert set(targets) <= set(page.attributes("id"))


def test_pictures_are_those_of_the_folder(finished):
    folder, page = finished
    embedded = {base64.b64decode(source.partition(",")[2]) for source in page.attributes("src")}
    files = {path.read_bytes() for path in (folder / "report").glob("*.png")}
    assert embedded == files
    assert len(files) == len(page.of("img")) == 20
    assert all(image["alt"] for image in page.of("img"))


def test_the_page_says_what_was_reached(finished):
    folder, page = finished
    for part in (
        "val/accuracy 0.9",
        "0.9125",
        "checkpoints/best.ckpt, by val/accuracy, after 2 epochs, step 6",
        "all steps done",
        "131 s in bf16-mixed",
        str(folder / "model"),
        "python -m bert_ft.train data=files 'data.train_file=my data/train.csv' 'model.head.hidden_sizes=[768,256]' seed=3",
        "${hydra:runtime.output_dir}/checkpoints",
        "2.13.0",
        "1 row has the text of a training row",
        f"show step {SIZE.kept_step}: the kept checkpoint",
    ):
        assert part in page.text
    assert "Left out" not in page.text


def test_texts_of_rows_are_escaped(finished):
    folder, page = finished
    assert "<script>alert('x')</script> & <b>bold</b>" in page.text
    assert "<i>a</i>" in page.text
    assert "<script" not in (folder / "report.html").read_text(encoding="utf-8")
    assert page.of("b") == page.of("i") == []


@pytest.mark.usefixtures("no_files_drawn")
def test_names_and_settings_are_escaped(tmp_path):
    folder = write_run(tmp_path / "<u>run</u>", Size(num_rows=6, num_steps=2, num_validations=2))
    (folder / ".hydra/overrides.yaml").write_text("['+note=\"<u>\"']")
    (folder / ".hydra/config.yaml").write_text("note: <u>")
    write_json(folder / "metrics.json", {"stopped": "<u>", "val": {"<u>": 1.0}, "versions": {"<u>": "<u>"}})
    write_json(
        folder / "data_report.json", {"warnings": ["<u>"], "splits": {"<u>": {"label_counts": {"<u>": 1}}}}
    )
    shutil.rmtree(folder / "monitor")
    page = report_of(folder)
    assert page.of("u") == []
    assert page.text.count("<u>") >= 9


# what is taken away → the section or part that is missed, and the word that says why
MISSING = {
    "tensorboard": [("Layers", "activations"), ("Training", "no "), ("Logged values", "tensorboard/")],
    "data_report.json": [("Data", "data_report.json")],
    "environment.json": [("Environment", "environment.json")],
    ".hydra": [("Command", ".hydra/overrides.yaml"), ("Settings", ".hydra/config.yaml")],
    "monitor/validation": [("Confusion matrix", "validation_<step>.npz")],
    "monitor/top_losses": [("Highest losses", "top_losses_<step>.json")],
    "monitor/representations": [("The plane of most variance", "representations_<step>.npz")],
    "monitor/attention": [("What each head looks at", "attention_<step>.npz")],
}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.usefixtures("no_files_drawn")
def test_what_is_missing_is_left_out_with_its_reason(tmp_path, name):
    folder = write_run(tmp_path, SIZE)
    found = list(folder.glob(f"{name}*"))
    assert found
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report_of(folder)
    for title, reason in MISSING[name]:
        assert re.search(rf"{re.escape(title)}: [^.]*{re.escape(reason)}", page.text), title
        assert not [image for image in page.of("img") if image["alt"].startswith(f"{title}:")]


def test_a_run_with_next_to_nothing(bare):
    page = report_of(bare)
    assert "not finished: there is no metrics.json; logged up to step 1" in page.text
    assert len(page.of("img")) == 1
    listed = page.text[page.text.index("Left out", page.text.index("Configuration")) :]
    for section in ("Layers", "Validation", "Representations", "Attention", "Data", "Environment"):
        assert f"{section}:" in listed
    assert [target for target in page.attributes("href") if target in ("#layers", "#data")] == []


@pytest.mark.usefixtures("no_files_drawn")
def test_a_broken_off_run(tmp_path):
    folder = write_run(tmp_path, SIZE, finished=False)
    (events,) = (folder / "tensorboard").glob("*")
    events.write_bytes(events.read_bytes()[:-5])
    (folder / "monitor/attention_8.npz").write_bytes(b"PK")
    page = report_of(folder)
    assert "not finished" in page.text
    assert "best so far val/accuracy" in page.text
    assert "show step 8: the last one monitored." in page.text
    assert "Left out: monitor/attention_8.npz can't be read" in page.text


def test_one_validation_of_one_row(tmp_path):
    size = Size(num_rows=1, num_classes=2, num_validations=1, one_class=True)
    page = report_of(write_run(tmp_path, size))
    assert "there was one validation" in page.text
    assert "1 vectors of width 16 span no plane" in page.text
    assert len(page.of("img")) == 16


def test_a_large_run(tmp_path):
    """24 layers, 43 classes, 48 tokens, 10,000 steps."""
    size = Size(24, 16, 43, num_rows=4000, num_steps=10_000, num_validations=20, num_tokens=48, every=200)
    page = report_of(write_run(tmp_path, size))
    assert len(page.of("img")) == 20
    assert "class 42" in page.text
    for path in (tmp_path / "report").glob("*.png"):
        with Image.open(path) as picture:
            assert picture.width == WIDTH * DPI
            assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)


def test_pictures_of_an_earlier_report_go(bare, no_files_drawn):
    (bare / "report").mkdir()
    (bare / "report/old.png").touch()
    (bare / "report/notes.txt").touch()
    path = write_report(bare)
    first = path.read_text(encoding="utf-8")
    assert write_report(bare) == path == bare / "report.html"
    assert path.read_text(encoding="utf-8") == first
    assert not (bare / "report/old.png").exists()
    assert (bare / "report/losses.png").exists()
    assert (bare / "report/notes.txt").exists()


def test_what_a_single_step_shows_is_named(tmp_path, no_files_drawn):
    folder = write_run(tmp_path, SIZE)
    assert "evenly spaced" not in report_of(folder).text
    path = folder / f"monitor/validation_{SIZE.kept_step}.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "num_rows": np.array(12_345)})
    assert f"Confidence and calibration use {SIZE.num_rows:,} of 12,345 rows" in report_of(folder).text
    for path in (folder / "monitor").glob(f"*_{SIZE.kept_step}.*"):
        path.unlink()
    assert "show step 8: the last one monitored, not the kept checkpoint." in report_of(folder).text


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return commands.run("bert_ft.report", *arguments, cwd=cwd)


def test_the_command(bare):
    result = run(f"run={bare.name}", cwd=bare.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"report written: {bare.name}/report.html\n"
    assert {path.name for path in bare.iterdir()} == {"tensorboard", "report", "report.html"}


def test_the_command_refuses_what_is_no_run(tmp_path):
    for arguments, message in (
        (["run=nowhere"], "run=nowhere: no such folder"),
        ([f"run={tmp_path}"], f"run={tmp_path}: holds no logged data"),
        ([], "run: required; give the folder of a run, or the study_name and storage of a search"),
    ):
        result = run(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_torch(bare):
    """Saves two seconds."""
    script = (
        "import sys; from pathlib import Path; from bert_ft.reporting.report import write_report\n"
        f"write_report(Path({str(bare)!r}))\n"
        "print(sorted({'torch', 'lightning', 'transformers', 'sklearn', 'tensorflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "[]\n"
