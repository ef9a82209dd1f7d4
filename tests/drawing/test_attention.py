import numpy as np
import pytest

from bert_ft.drawing.attention import MAX_HEADS, TOKEN_SIZE, HeadMap, draw_head_maps, draw_text_attention
from tests.drawing.texts import assert_readable, texts

pytestmark = pytest.mark.slow


def attention(layers: int, heads: int, length: int) -> np.ndarray:
    maps = np.random.default_rng(0).random((layers, heads, length, length))
    return (maps / maps.sum(-1, keepdims=True)).astype(np.float16)


def shown(axes) -> np.ndarray:
    (image,) = axes.images
    return np.asarray(image.get_array())


def test_head_maps_have_the_values_with_the_lowest_layer_below():
    values = np.arange(6.0).reshape(2, 3)
    figure = draw_head_maps(
        [HeadMap("entropy", values, "share", (0, 1)), HeadMap("distance", values, "tokens", (0, 5))]
    )
    axes = figure.axes[0]
    np.testing.assert_array_equal(shown(axes), values)
    assert axes.get_ylim() == (-0.5, 1.5)
    assert axes.images[0].get_clim() == (0, 1)
    found = texts(figure)
    assert {"entropy", "distance", "tokens", "share", "layer"} <= set(found)
    assert found.count("head") == 2


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (6, 12), (24, 16)])
def test_head_maps_are_readable(layers, heads):
    values = np.random.default_rng(0).random((layers, heads))
    names = ("entropy", "distance", "on the first token", "on the last token", "on the token itself")
    assert_readable(draw_head_maps([HeadMap(name, values, "share of the highest", (0, 1)) for name in names]))


def test_a_text_has_its_last_layer_all_layers_and_the_heads_of_the_last():
    maps = attention(3, 2, 5)
    figure = draw_text_attention(["[CLS]", "a", "good", "film", "[SEP]"], maps, "title")
    key, *tiles = [axes for axes in figure.axes if axes.images]
    means = maps.astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(shown(key), means[-1])
    assert len(tiles) == 3 + 2
    for axes, expected in zip(tiles, [*means, *maps[-1]], strict=True):
        np.testing.assert_allclose(shown(axes), expected)
    assert [label.get_text() for label in key.get_yticklabels()] == ["[CLS]", "a", "good", "film", "[SEP]"]
    assert len({axes.images[0].get_clim() for axes in [key, *tiles]}) == 1


def test_all_of_48_tokens_are_named():
    tokens = [f"token{number}" for number in range(48)]
    found = texts(draw_text_attention(tokens, attention(24, 16, 48), "title"))
    assert all(found.count(token) == 2 for token in tokens)


def test_of_many_heads_some_are_shown():
    figure = draw_text_attention(["a", "b"], attention(1, MAX_HEADS + 8, 2), "title")
    assert len([axes for axes in figure.axes if axes.images]) == 1 + 1 + MAX_HEADS


@pytest.mark.parametrize(
    ("layers", "heads", "length"),
    [(1, 1, 1), (2, 2, 6), (6, 12, 24), (24, 16, 48), (24, 16, 128)],
)
def test_is_readable(layers, heads, length):
    tokens = [f"##{'word' * (number % 5)}{number}$" for number in range(length)]
    assert_readable(draw_text_attention(tokens, attention(layers, heads, length), "title"), least=TOKEN_SIZE)
