"""The report's pictures in TensorBoard's event files."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.running import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_encoder, reviews):
    folder = tmp_path_factory.mktemp("board")
    train(folder, tiny_encoder, reviews, "monitor=full", "report=true", "trainer.max_epochs=2")
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return folder, events


def test_every_picture_of_the_report_is_there(run):
    folder, events = run
    names = {path.stem for path in (folder / "report").glob("*.png")}
    assert len(names) > 15
    assert {tag for tag in events.Tags()["images"] if tag.startswith("pictures/")} == {
        f"pictures/{name}" for name in names
    }
    (event,) = events.Images("pictures/losses")
    shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"))
    kept = np.asarray(Image.open(folder / "report/losses.png").convert("RGB"))
    assert np.abs(shown.astype(int) - kept).max() <= 1  # it goes through floats


def test_the_plane_of_the_vectors_at_each_validation(run):
    _, events = run
    planes = events.Images("representations/plane")
    assert [event.step for event in planes] == [10, 20]
    assert planes[0].encoded_image_string != planes[1].encoded_image_string


def test_a_report_that_cannot_be_drawn_fails_no_run(tmp_path, tiny_encoder, reviews, monkeypatch, caplog):
    def broken(run):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("bert_ft.reporting.board.write_page", broken)
    _, metrics = train(tmp_path, tiny_encoder, reviews, "debug=fast", "report=true")
    assert metrics["test"]["accuracy"] > 0
    assert f"python -m bert_ft.report run={tmp_path}" in caplog.text
    assert "no fonts" in caplog.text


def test_without_loggers_there_is_no_report(tmp_path, tiny_encoder, reviews):
    train(tmp_path, tiny_encoder, reviews, "debug=fast", "logger=none", "report=true")
    assert not (tmp_path / "report.html").exists()
