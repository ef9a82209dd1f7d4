"""The learning rate that an encoder gets by default."""

import pytest

from bert_ft.optim.learning_rate import default_lr


@pytest.mark.parametrize(
    ("hidden_size", "num_layers", "lr"),
    [
        (384, 6, 2e-4),  # MiniLM and BERT-base: their measured rates, to the bit
        (768, 12, 1e-4),
        (1024, 24, 5.7e-5),
        (768, 6, 1.6e-4),
        (384, 12, 1.3e-4),
        (128, 2, 3e-4),  # the limits
        (1024, 1000, 1e-5),
    ],
)
def test_rates_of_known_sizes(hidden_size, num_layers, lr):
    assert default_lr(hidden_size, num_layers) == lr


def test_a_larger_encoder_never_gets_a_higher_rate():
    widths, depths = (64, 128, 384, 768, 1024, 4096), (1, 2, 6, 12, 24, 48)
    rates = [[default_lr(width, depth) for depth in depths] for width in widths]
    for row in [*rates, *zip(*rates, strict=True)]:
        assert list(row) == sorted(row, reverse=True)
