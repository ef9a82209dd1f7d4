"""Which of a run's checkpoints is kept, from metrics that are given."""

import math

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from bert_ft.callbacks.best_checkpoint import BestCheckpoint

from .monitored import IGNORED_REMARKS

pytestmark = IGNORED_REMARKS


class Scored(LightningModule):
    """Has the next of ``scores`` in each validation; its weight counts the steps."""

    def __init__(self, scores, num_rows=100):
        super().__init__()
        self.scores = scores
        self.num_rows = num_rows
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return -self.weight

    def validation_step(self, batch, batch_idx):
        score = self.scores[self.current_epoch]
        self.log("score", score, on_epoch=True, batch_size=len(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self):
        return DataLoader(range(1))

    def val_dataloader(self):
        return DataLoader(range(self.num_rows), batch_size=30)


def fit(folder, scores, *, num_rows=100, epochs=None, ckpt_path=None, **settings):
    checkpoint = BestCheckpoint(
        **{
            "dirpath": folder,
            "filename": "best",
            "monitor": "score",
            "mode": "max",
            "enable_version_counter": False,
            **settings,
        }
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs or len(scores),
        callbacks=[checkpoint],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2,
    )
    trainer.fit(Scored(scores, num_rows), ckpt_path=ckpt_path, weights_only=True)
    return checkpoint


def kept(folder, scores, **settings):
    """How many epochs the weights that are kept were trained."""
    checkpoint = fit(folder, scores, **settings)
    state = torch.load(checkpoint.best_model_path, weights_only=True)
    assert checkpoint.best_model_score == pytest.approx(scores[state["epoch"]])
    assert state["state_dict"]["weight"] == state["epoch"] + 1
    assert len(list(folder.glob("*.ckpt"))) == 1
    return state["epoch"] + 1


# a standard error of 0.8 on 100 rows is 0.04
@pytest.mark.parametrize(
    ("scores", "epoch"),
    [
        ([0.5, 0.8, 0.79], 3),
        ([0.5, 0.8, 0.761], 3),
        ([0.5, 0.8, 0.759], 2),
        ([0.5, 0.8, 0.7, 0.77], 4),
        ([0.5, 0.8, 0.77, 0.75], 3),  # measured from the best, not from what is kept: it can't slide
        ([0.5, 0.6, 0.7], 3),
        ([1.0, 0.999], 1),  # all right: the error is 0
        ([0.0, 0.0], 2),
    ],
)
def test_the_latest_within_a_standard_error(tmp_path, scores, epoch):
    assert kept(tmp_path, scores) == epoch


def test_on_many_rows_it_is_the_best(tmp_path):
    assert kept(tmp_path, [0.5, 0.8, 0.79], num_rows=1000) == 3
    assert kept(tmp_path / "more", [0.5, 0.8, 0.79], num_rows=2000) == 2


def test_how_much_is_a_setting(tmp_path):
    assert kept(tmp_path / "2", [0.5, 0.8, 0.73], standard_errors=2.0) == 3
    assert kept(tmp_path / "1", [0.5, 0.8, 0.73]) == 2
    assert kept(tmp_path / "0", [0.5, 0.8, 0.799], standard_errors=0.0) == 2


@pytest.mark.parametrize(
    ("scores", "mode", "epoch"),
    [
        ([0.5, 0.3, 0.31], "min", 2),
        ([5.0, 80.0, 79.9], "max", 2),  # no share
        ([-0.5, -0.2, -0.21], "max", 2),
    ],
)
def test_other_metrics_have_their_best(tmp_path, scores, mode, epoch):
    assert kept(tmp_path, scores, mode=mode) == epoch


@pytest.mark.parametrize("scores", [[0.5, 0.8, math.nan], [math.nan, 0.8, math.nan]])
def test_what_is_no_number_is_not_kept(tmp_path, scores):
    assert kept(tmp_path, scores) == 2


def test_several_are_the_best(tmp_path):
    checkpoint = fit(tmp_path, [0.8, 0.79, 0.78, 0.77], save_top_k=2, filename="{epoch}")
    assert {path.name for path in tmp_path.glob("*.ckpt")} == {"epoch=0.ckpt", "epoch=1.ckpt"}
    assert checkpoint.best_model_path.endswith("epoch=0.ckpt")


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_knows_the_best(tmp_path):
    """Of what is kept alone, 0.77, it would be within an error."""
    scores = [0.8, 0.77, 0.735]
    assert kept(tmp_path / "whole", scores) == 2
    first = fit(tmp_path / "two", scores, epochs=2)
    assert kept(tmp_path / "two", scores, ckpt_path=first.best_model_path) == 2
