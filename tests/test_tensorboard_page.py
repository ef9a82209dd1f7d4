"""TensorBoard's own page over a run's logs, in a browser without a window: what a user finds there."""

import re
import subprocess
import sys
import time

import pytest

from tests.browser import needs_browser, start_browser
from tests.training.running import train

pytestmark = needs_browser
# everything that is on the page, within the shadow roots of its elements and in frames as well
DEEP = """
const roots = [document], texts = [], names = {}; let pictures = 0, paths = 0;
while (roots.length) {
    const root = roots.pop();
    texts.push((root.body || root).textContent);
    for (const element of root.querySelectorAll('*')) {
        const name = element.tagName.toLowerCase();
        names[name] = (names[name] || 0) + 1;
        if (name === 'img' && element.naturalWidth > 300) pictures += 1;
        if (name === 'path' && element.closest('.histogram')) paths += 1;
        if (element.shadowRoot) roots.push(element.shadowRoot);
        if (name === 'iframe' && element.contentDocument) roots.push(element.contentDocument);
    }
}
return {text: texts.join(' '), names: names, pictures: pictures, paths: paths};
"""
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def page(tmp_path_factory, tiny_encoder, reviews):
    """``show(tab, found)``: waits until ``found(what is on the page)``, and gives it."""
    outputs = tmp_path_factory.mktemp("outputs")
    watched = ["monitor=full", "report=true", "trainer.max_epochs=2", "optimizer.lr=2e-3"]
    train(outputs / "run", tiny_encoder, reviews, *watched)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(outputs), "--port", "0"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--load_fast", "false"], stderr=subprocess.PIPE, text=True
    )
    browser = None
    try:
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
        # the projector asks for WebGL
        browser = start_browser("window-size=1400,1000", "enable-unsafe-swiftshader")

        def show(tab, found):
            browser.get("about:blank")
            browser.get(f"{address}#{tab}")
            ends = time.monotonic() + WAIT_SECONDS
            while not found(seen := browser.execute_script(DEEP)):
                assert time.monotonic() < ends, (tab, seen["text"][-2000:], seen["names"])
                time.sleep(0.5)
            return seen

        yield show
    finally:
        if browser is not None:
            browser.quit()
        server.terminate()
        server.wait()
        server.stderr.close()


def test_scalars(page):
    seen = page("timeseries", lambda seen: seen["names"].get("scalar-card", 0) >= 2)
    groups = ["activations", "attention", "confidence", "gradients", "throughput", "train", "val", "weights"]
    for group in groups:
        assert re.search(rf"{group}\s*\d+\s*cards", seen["text"]), group


def test_histograms(page):
    seen = page(
        "histograms", lambda seen: seen["names"].get("vz-histogram-timeseries", 0) >= 4 and seen["paths"]
    )
    assert "activations/layer.0.ffn" in seen["text"] or "activations/head" in seen["text"]
    for group in ("activations", "confidence", "gradients", "weights"):
        assert group in seen["text"]


def test_images(page):
    seen = page("images", lambda seen: seen["pictures"] >= 2)
    assert "pictures/" in seen["text"]


def test_projector(page):
    seen = page("projector", lambda seen: re.search(r"Points:\s*40", seen["text"]))  # all validation texts
    assert re.search(r"Dimension:\s*32", seen["text"])


def test_hparams(page):
    seen = page("hparams", lambda seen: "optimizer/lr" in seen["text"])
    assert "kept/val_accuracy" in seen["text"] or "kept/ val_accuracy" in seen["text"]
    assert "optimizer/layer_decay" in seen["text"]
