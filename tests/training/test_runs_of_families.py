"""Whole runs of encoders that run padded, with every monitor looking on."""

import pytest

from tests.config.test_check_encoder import encoder_folder
from tests.training.running import reloaded_logits, train

FAMILIES = ["deberta", "lilt", "longformer", "mpnet", "squeezebert", "xlm", "xlnet"]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name == "deberta" else pytest.mark.slow) for name in FAMILIES]
)
def test_a_run_in_16_bits_with_all_monitors(tmp_path, tiny_encoder, reviews, family):
    folder = encoder_folder(tmp_path / "encoder", family, tiny_encoder)
    overrides = ["optimizer.layer_decay=1", "trainer.max_epochs=1", "trainer.precision=16", "monitor=full"]
    _, metrics = train(tmp_path / "run", folder, reviews, *overrides)
    logits, labels = reloaded_logits(tmp_path / "run", reviews, "validation")
    accuracy = (logits.argmax(dim=-1) == labels).float().mean().item()
    # a text or two on the border, which 16 bits put on its other side
    assert accuracy == pytest.approx(metrics["val"]["accuracy"], abs=0.03)
