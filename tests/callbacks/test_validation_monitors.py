"""All monitors of validations at once: they change nothing."""

import pytest
import torch
from lightning.pytorch import Callback

from bert_ft.callbacks.attention import AttentionMonitor
from bert_ft.callbacks.confidence import ConfidenceMonitor
from bert_ft.callbacks.representations import RepresentationMonitor
from bert_ft.kernels.split_embedding import SplitEmbedding
from tests.conftest import write_csv

from .monitored import IGNORED_REMARKS, assert_equal, finished, weights

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]


class DrawsRandomNumbers(Callback):
    def on_validation_epoch_end(self, trainer, pl_module):
        torch.rand(1)


def final_weights(folder, encoder, files, make_monitors, *overrides):
    monitors = make_monitors(folder / "monitor")
    run, _ = finished(folder, encoder, files, monitors, *overrides)
    assert any(isinstance(module, SplitEmbedding) for module in run.module.modules())
    assert (folder / "monitor").exists() == bool(monitors)
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


class TestTraining:
    """With dropout on, and validation texts with tokens that no training text has."""

    @pytest.fixture
    def files(self, reviews, tmp_path):
        rows = [(f"xylophone {word}", label) for word in "qz" for label in ("positive", "negative")]
        rows += [("good film " * 10, "positive")] * 4  # longer, so that it is validated first
        return {**reviews, "validation": write_csv(tmp_path / "unknown.csv", rows)}

    @pytest.mark.parametrize("limit", [[], ["trainer.limit_val_batches=1"]], ids=["all", "a part"])
    def test_is_bitwise_the_same(self, tmp_path, tiny_encoder, files, limit):
        """Also where validation doesn't read the rows of the embedding that the attention of its first texts needs."""
        settings = ["trainer.val_check_interval=0.5", "optimizer.weight_decay=0.1", *limit]
        settings += ["data.eval_batch_size=4"]
        plain, monitored = (
            final_weights(tmp_path / name, tiny_encoder, files, monitors, *settings)
            for name, monitors in {"plain": lambda _: [], "monitored": all_monitors}.items()
        )
        assert_equal(plain, monitored)

    def test_is_another_with_another_random_number(self, tmp_path, tiny_encoder, files):
        """The negative control."""
        settings = ["trainer.val_check_interval=0.5"]
        plain = final_weights(tmp_path / "plain", tiny_encoder, files, lambda _: [], *settings)
        run, _ = finished(tmp_path / "other", tiny_encoder, files, [DrawsRandomNumbers()], *settings)
        name = "classifier.encoder.encoder.layer.0.output.dense.weight"
        assert not torch.equal(plain[name], weights(run.module)[name])


def all_monitors(folder):
    return [AttentionMonitor(folder), ConfidenceMonitor(folder), RepresentationMonitor(folder)]
