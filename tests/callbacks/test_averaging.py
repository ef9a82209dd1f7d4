"""Averaged weights against means of the weights that a callback of the test's own notes down after each step."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule

from bert_ft.callbacks import averaging as averaging_module
from bert_ft.callbacks.averaging import StochasticAveraging
from bert_ft.config.build import fine_tuning
from bert_ft.kernels.split_embedding import SplitEmbedding
from tests.training.running import train, train_in_two

from .averaged import (
    EMA,
    PLAIN,
    SWA,
    TABLE,
    assert_close,
    assert_equal,
    averaged,
    built,
    checkpoint,
    difference,
    finished,
    mean,
    moving_average,
)

ROUNDING = {"32": 1e-6, "64": 1e-14}  # of a running mean of some ten weights below 4


@pytest.mark.slow
class TestTheAverage:
    @pytest.mark.parametrize("precision", ["32", "64"])
    @pytest.mark.parametrize(
        ("overrides", "steps"),
        [
            (SWA, range(5, 21)),
            ([*SWA, "averaging.every_n_steps=4"], [5, 9, 13, 17]),
            ([*SWA, "averaging.cycle_steps=3"], [5, 8, 11, 14, 17, 20]),
            ([*SWA, "averaging.start_ratio=1.0"], [20]),
            ([*SWA, "trainer.accumulate_grad_batches=3"], range(2, 9)),
        ],
        ids=["each step", "every fourth", "cycles", "the last alone", "accumulated"],
    )
    def test_of_swa_is_the_mean(self, tmp_path, tiny_encoder, reviews, overrides, steps, precision):
        run, recorder, _ = finished(
            tmp_path, tiny_encoder, reviews, *overrides, f"trainer.precision={precision}"
        )
        expected = mean([recorder.raw[step - 1] for step in steps])
        assert_close(averaged(run), expected, ROUNDING[precision])
        assert run.module.averaging.num_averaged == len(steps)
        assert (difference(recorder.raw[-1], expected) > 1e-4) == (len(steps) > 1)
        assert checkpoint(tmp_path)["weights"] == "swa"

    @pytest.mark.parametrize("precision", ["32", "64"])
    @pytest.mark.parametrize(
        ("overrides", "steps", "decay"),
        [
            (EMA, range(1, 21), 0.8),
            (["averaging=ema"], range(1, 21), 0.99),
            (
                [*EMA, "averaging.decay=0.3", "averaging.start_ratio=0.5", "averaging.every_n_steps=2"],
                range(10, 21, 2),
                0.3,
            ),
        ],
        ids=["decay 0.8", "rising decay", "some steps"],
    )
    def test_of_ema_is_the_loop(self, tmp_path, tiny_encoder, reviews, overrides, steps, decay, precision):
        run, recorder, _ = finished(
            tmp_path, tiny_encoder, reviews, *overrides, f"trainer.precision={precision}"
        )
        taken = [recorder.raw[step - 1] for step in steps]
        expected = moving_average(taken, decay)
        assert_close(averaged(run), expected, ROUNDING[precision])
        assert difference(moving_average(taken, decay / 2), expected) > 1e-4
        assert difference(recorder.raw[-1], expected) > 1e-4
        assert checkpoint(tmp_path)["weights"] == "ema"

    @pytest.mark.parametrize("overrides", [SWA, EMA], ids=["swa", "ema"])
    def test_of_a_split_embedding_is_that_of_a_whole_one(
        self, tmp_path, tiny_encoder, reviews, monkeypatch, overrides
    ):
        """Rows that no training text uses move by the weight decay alone, and by that of the step that is averaged."""

        def table(name):
            run, recorder, _ = finished(
                tmp_path / name, tiny_encoder, reviews, *overrides, "trainer.precision=64"
            )
            return run.module.averaging.averaged_weights()[TABLE], recorder, run

        split, _, run = table("split")
        assert isinstance(run.module.classifier.encoder.get_input_embeddings(), SplitEmbedding)
        with monkeypatch.context() as patch:
            patch.setattr(averaging_module, "settle_unused_rows", lambda module: None)
            late, _, _ = table("late")
        monkeypatch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
        whole, recorder, run = table("whole")
        assert not isinstance(run.module.classifier.encoder.get_input_embeddings(), SplitEmbedding)
        raw = [{TABLE: step[TABLE]} for step in recorder.raw]
        expected = mean(raw[4:]) if overrides is SWA else moving_average(raw, 0.8)
        assert_close({TABLE: whole}, expected, 1e-14)
        # a product over other shapes rounds differently
        assert_close({TABLE: split}, expected, 1e-9)
        assert difference({TABLE: late}, expected) > 1e-7

    def test_of_a_module_with_frozen_layers_and_their_cache(self, tmp_path, tiny_encoder, reviews):
        run, recorder, metrics = finished(
            tmp_path, tiny_encoder, reviews, *SWA, "encoder.freeze_layers=1", "encoder.cache_frozen=true"
        )
        assert_close(averaged(run), mean(recorder.raw[4:]))
        assert metrics["weights"] == "swa"
        frozen = [name for name, value in run.module.named_parameters() if not value.requires_grad]
        assert frozen
        assert_equal(
            {name: averaged(run)[name] for name in frozen}, {name: recorder.raw[0][name] for name in frozen}
        )

    def test_lies_where_training_does(self):
        """Not where the module is before training moves it there: each step would go through the host's memory."""
        average = StochasticAveraging()
        module = LightningModule()
        module.layer = torch.nn.Linear(2, 2)
        trainer = SimpleNamespace(
            strategy=SimpleNamespace(root_device=torch.device("meta")), precision="32-true"
        )
        average.setup(trainer, module, "fit")
        assert {value.device.type for value in average.average.parameters()} == {"meta"}


class Snapshots(Callback):
    """The average before and after each validation."""

    def __init__(self):
        self.pairs = []

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([copy.deepcopy(dict(pl_module.averaging.average.named_parameters()))])

    def on_validation_end(self, trainer, pl_module):
        self.pairs[-1].append(dict(pl_module.averaging.average.named_parameters()))
        self.pairs[-1][1] = {name: value.detach().clone() for name, value in self.pairs[-1][1].items()}


@pytest.mark.parametrize("overrides", [SWA, EMA], ids=["swa", "ema"])
def test_weights_of_16_bits_are_averaged_in_float32(tmp_path, tiny_encoder, reviews, overrides):
    run, recorder = built(tmp_path, tiny_encoder, reviews, *overrides, "trainer.precision=bf16-true")
    snapshots = Snapshots()
    run.trainer.callbacks.append(snapshots)
    run.run()
    assert {value.dtype for value in recorder.raw[-1].values()} == {torch.bfloat16}
    found = averaged(run)
    assert {value.dtype for value in found.values()} == {torch.float32}
    taken = recorder.raw[4:] if overrides is SWA else recorder.raw
    expected = mean(taken) if overrides is SWA else moving_average(taken, 0.8)
    assert_close(found, expected)
    # in 16 bits it would be off by more
    assert difference({name: value.bfloat16().float() for name, value in found.items()}, expected) > 1e-4
    assert len(snapshots.pairs) == 4
    for before, after in snapshots.pairs[1:]:
        assert_equal(before, after)
    for step, values in list(recorder.validated.items())[1:]:
        ours = mean(recorder.raw[4:step]) if overrides is SWA else moving_average(recorder.raw[:step], 0.8)
        assert {value.dtype for value in values.values()} == {torch.bfloat16}
        for name, value in values.items():  # half a unit in the last place of eight bits
            np.testing.assert_allclose(value.float().numpy(), ours[name], rtol=2**-8, atol=1e-6)
    saved = checkpoint(tmp_path)
    assert saved["state_dict"][TABLE].dtype == torch.float32
    assert saved["current_model_state"][TABLE].dtype == torch.bfloat16


@pytest.mark.slow
def test_a_run_of_two_processes_averages_as_one_does(tmp_path, tiny_encoder, reviews):
    """Rank r has rows r, r + 2, …: two batches of 8 are one of 16."""
    still = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0", "model.head.dropout=0.0"]
    settings = [*PLAIN, *EMA, *still, "trainer.precision=64"]
    train(tmp_path / "one", tiny_encoder, reviews, *settings, "data.batch_size=16")
    train_in_two(tmp_path / "two", tiny_encoder, reviews, *settings, "data.batch_size=8")
    one, two = (checkpoint(tmp_path / name) for name in ("one", "two"))
    for part in ("state_dict", "current_model_state"):
        assert_close(two[part], {name: value.numpy() for name, value in one[part].items()})
    assert one["averaging_state"] == two["averaging_state"] == {"n_averaged": 20}
    assert json.loads((tmp_path / "two/metrics.json").read_text())["weights"] == "ema"
