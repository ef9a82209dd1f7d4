"""What a trial tells its study of each validation."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from bert_ft.callbacks.standard_error import standard_error
from bert_ft.callbacks.trial_pruning import TrialPruning

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*num_workers")


class Validated(LightningModule):
    """Reports a fixed accuracy on 50 rows."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.value = value

    def training_step(self, batch, index):
        return self.layer(batch).mean()

    def validation_step(self, batch, index):
        self.log("val/accuracy", self.value)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Link:
    def __init__(self):
        self.told = []
        self.noted = {}

    def note(self, **attributes):
        self.noted |= attributes

    def seconds_since_claimed(self):
        return 0.0

    def report(self, value, step, *, tolerance):
        self.told.append((round(value, 6), step, tolerance))
        return False


@pytest.mark.parametrize(
    ("value", "standard_errors", "rows", "expected"),
    [
        (0.8, 1.0, 50, (0.8 * 0.2 / 50) ** 0.5),
        (0.8, 2.0, 40, 2 * (0.8 * 0.2 / 40) ** 0.5),
        (0.8, 0.0, 50, 0.0),
        (1.7, 1.0, 50, 0.0),
    ],
)
def test_the_tolerance_is_that_of_the_validated_rows(
    tmp_path, monkeypatch, value, standard_errors, rows, expected
):
    link = Link()
    monkeypatch.setattr("bert_ft.callbacks.trial_pruning.current_trial", lambda: link)
    trainer = Trainer(
        max_epochs=2,
        limit_val_batches=2 if rows == 40 else 1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=[TrialPruning("val/accuracy", standard_errors)],
    )
    data = DataLoader(torch.ones(50, 1), batch_size=20)
    trainer.fit(Validated(value), data, data)
    assert [step for _, step, _ in link.told] == [3, 6]
    assert [tolerance for *_, tolerance in link.told] == pytest.approx([expected] * 2, abs=1e-6)
    assert link.noted["validated_rows"] == rows


def test_the_standard_error_of_a_share():
    draws = torch.rand(20000, 30, generator=torch.Generator().manual_seed(0)) < 0.7
    assert standard_error(0.7, 30) == pytest.approx(draws.float().mean(1).std().item(), rel=0.02)
    assert (
        standard_error(float("nan"), 30) == standard_error(-float("inf"), 30) == standard_error(0.5, 0) == 0.0
    )


def test_the_standard_error_of_a_correlation():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20000, 50, generator=generator)
    y = 0.8 * x + 0.6 * torch.randn(20000, 50, generator=generator)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    drawn = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    assert standard_error(0.8, 50, "val/spearman") == pytest.approx(drawn.std().item(), rel=0.05)
    assert standard_error(0.8, 50, "val/r2") == 0
