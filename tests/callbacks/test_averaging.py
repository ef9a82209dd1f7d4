"""Averaged weights against means of the weights that the test's own callback records after each step."""

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
    expected,
    finished,
    mean,
    moving_average,
)

ROUNDING = {"32": 1e-6, "64": 1e-14}  # of a running mean of some ten weights below 4
SOME = [*EMA, "averaging.decay=0.3", "averaging.start_ratio=0.5", "averaging.every_n_steps=2"]


@pytest.mark.slow
class TestTheAverage:
    @pytest.mark.parametrize(
        ("overrides", "steps", "decay", "precision"),
        [
            (SWA, range(5, 21), None, "32"),
            ([*SWA, "averaging.every_n_steps=4"], [5, 9, 13, 17], None, "64"),
            ([*SWA, "averaging.cycle_steps=3"], [5, 8, 11, 14, 17, 20], None, "64"),
            ([*SWA, "averaging.start_ratio=1.0"], [20], None, "32"),
            ([*SWA, "trainer.accumulate_grad_batches=3"], range(2, 9), None, "64"),
            (EMA, range(1, 21), 0.8, "32"),
            (["averaging=ema"], range(1, 21), 0.99, "64"),
            (SOME, range(10, 21, 2), 0.3, "64"),
        ],
        ids=["swa", "every fourth", "cycles", "the last", "accumulated", "ema", "rising decay", "some steps"],
    )
    def test_is_the_mean_or_the_loop(
        self, tmp_path, tiny_encoder, reviews, overrides, steps, decay, precision
    ):
        settings = [*overrides, f"trainer.precision={precision}"]
        run, recorder, _ = finished(tmp_path, tiny_encoder, reviews, *settings)
        taken = [recorder.raw[step - 1] for step in steps]
        average = mean(taken) if decay is None else moving_average(taken, decay)
        assert_close(averaged(run), average, ROUNDING[precision])
        assert run.module.averaging.num_averaged == len(steps)
        assert (difference(recorder.raw[-1], average) > 1e-4) == (len(steps) > 1)
        assert checkpoint(tmp_path)["weights"] == overrides[0].removeprefix("averaging=")

    def test_of_a_split_embedding_equals_that_of_a_whole_one(
        self, tmp_path, tiny_encoder, reviews, monkeypatch
    ):
        """Rows that no training text uses move only by weight decay, including that of the averaged step."""

        def table(name):
            run, recorder, _ = finished(tmp_path / name, tiny_encoder, reviews, *SWA, "trainer.precision=64")
            embedding = run.module.classifier.encoder.get_input_embeddings()
            assert isinstance(embedding, SplitEmbedding) == (name != "whole")
            return {TABLE: run.module.averaging.averaged_weights()[TABLE]}, recorder

        split, _ = table("split")
        with monkeypatch.context() as patch:
            patch.setattr(averaging_module, "settle_unused_rows", lambda module: None)
            late, _ = table("late")
        monkeypatch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
        whole, recorder = table("whole")
        average = mean([{TABLE: step[TABLE]} for step in recorder.raw[4:]])
        assert_close(whole, average, 1e-14)
        assert_close(split, average, 1e-9)  # a product of other shapes rounds differently
        assert difference(late, average) > 1e-7

    def test_of_a_module_with_frozen_layers_and_their_cache(self, tmp_path, tiny_encoder, reviews):
        frozen = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
        run, recorder, metrics = finished(tmp_path, tiny_encoder, reviews, *SWA, *frozen)
        assert_close(averaged(run), mean(recorder.raw[4:]))
        assert metrics["weights"] == "swa"
        names = [name for name, value in run.module.named_parameters() if not value.requires_grad]
        assert names
        first = {name: recorder.raw[0][name] for name in names}
        assert_equal({name: averaged(run)[name] for name in names}, first)

    def test_is_on_the_device_of_training(self):
        """Not where the module is before Lightning moves it: each step would copy it through the host's memory."""
        average, module = StochasticAveraging(), LightningModule()
        module.layer = torch.nn.Linear(2, 2)
        strategy = SimpleNamespace(root_device=torch.device("meta"))
        average.setup(SimpleNamespace(strategy=strategy, precision="32-true"), module, "fit")
        assert {value.device.type for value in average.average.parameters()} == {"meta"}


class Snapshots(Callback):
    """The average before and after each validation."""

    def __init__(self):
        self.pairs = []

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([copy.deepcopy(dict(pl_module.averaging.average.named_parameters()))])

    def on_validation_end(self, trainer, pl_module):
        self.pairs[-1].append(copy.deepcopy(dict(pl_module.averaging.average.named_parameters())))


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [SWA, EMA], ids=["swa", "ema"])
def test_weights_of_16_bits_are_averaged_in_float32(tmp_path, tiny_encoder, reviews, overrides):
    run, recorder = built(
        tmp_path,
        tiny_encoder,
        reviews,
        *overrides,
        "trainer.precision=bf16-true",
        "trainer.num_sanity_val_steps=0",
    )
    snapshots = Snapshots()
    run.trainer.callbacks.append(snapshots)
    run.run()
    assert {value.dtype for value in recorder.raw[-1].values()} == {torch.bfloat16}
    found = averaged(run)
    assert {value.dtype for value in found.values()} == {torch.float32}
    average = expected(overrides, recorder.raw)
    assert_close(found, average)
    # in 16 bits it would be off by more
    assert difference({name: value.bfloat16().float() for name, value in found.items()}, average) > 1e-4
    assert len(snapshots.pairs) == 4
    for before, after in snapshots.pairs[1:]:
        assert_equal(before, after)
    for step, values in list(recorder.validated.items())[1:]:
        ours = expected(overrides, recorder.raw, step)
        assert {value.dtype for value in values.values()} == {torch.bfloat16}
        for name, value in values.items():  # half a unit in the last place of eight bits
            np.testing.assert_allclose(value.float().numpy(), ours[name], rtol=2**-8, atol=1e-6)
    saved = checkpoint(tmp_path)
    assert saved["state_dict"][TABLE].dtype == torch.float32
    assert saved["current_model_state"][TABLE].dtype == torch.bfloat16


@pytest.mark.slow
def test_two_processes_average_as_one_does(tmp_path, tiny_encoder, reviews):
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
