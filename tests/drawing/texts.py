"""What is written in a picture, and where: measured with the renderer that draws it."""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


@dataclass(frozen=True)
class Written:
    text: str
    box: np.ndarray  # left, bottom, right, top in pixels
    size: float  # points
    angle: float = 0.0  # degrees


def written(figure: Figure) -> list[Written]:
    """Every text that is drawn, ticks out of view left out."""
    drawn: list[Text] = []
    original = Text.draw

    def draw(self, renderer):
        drawn.append(self)
        return original(self, renderer)

    Text.draw = draw
    try:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    finally:
        Text.draw = original
    renderer = canvas.get_renderer()
    return [
        Written(
            text.get_text(),
            text.get_window_extent(renderer).extents,
            text.get_fontsize(),
            text.get_rotation(),
        )
        for text in drawn
        if text.get_visible() and text.get_text().strip()
    ]


def texts(figure: Figure) -> list[str]:
    return [each.text for each in written(figure)]


def overlapping(found: list[Written]) -> list[tuple[str, str]]:
    """The pairs that lie on each other by more than a pixel each way.

    Of two that stand aslant side by side the boxes say nothing.
    """
    boxes = np.array([each.box for each in found])
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    hits = np.argwhere(np.triu(((high - low) > 1).all(axis=-1), k=1))
    return [
        (found[first].text, found[second].text)
        for first, second in hits
        if not (found[first].angle % 90 and found[second].angle % 90)
    ]


def assert_readable(figure: Figure, *, least: float = 6.5) -> None:
    """No text lies on another or leaves the picture, and none is too small."""
    found = written(figure)
    assert found
    assert not (pairs := overlapping(found)), pairs  # pytest explains nothing in a module that is no test
    width, height = figure.get_size_inches() * figure.dpi
    outside = [
        each.text
        for each in found
        if each.box[0] < -1 or each.box[1] < -1 or each.box[2] > width + 1 or each.box[3] > height + 1
    ]
    assert not outside, outside
    assert not (tiny := [(each.text, each.size) for each in found if each.size < least - 1e-6]), tiny
