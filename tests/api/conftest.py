"""A working folder as a reader of the documentation has it, and settings for runs that take seconds."""

import pytest

from tests.conftest import make_rows

# a run of the tiny encoder
SETTINGS = {
    "data.max_length": 32,
    "optimizer.lr": 3e-3,
    "optimizer.head_lr": None,
    "trainer.accelerator": "cpu",
    "trainer.min_train_steps": 0,
    "trainer.max_epochs": 3,
}
WORDS = [f"{key}={'null' if value is None else value}" for key, value in SETTINGS.items()] + [
    "monitor=none",
    "report=false",
]


@pytest.fixture(scope="session")
def rows():
    """Texts and labels, of which each class has enough for validation without a warning."""
    return tuple(map(list, zip(*make_rows(240, seed=3), strict=True)))
