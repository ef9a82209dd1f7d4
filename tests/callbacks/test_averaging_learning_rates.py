"""Training beside an average: as without one, but for SWA's own learning rates, and those in closed form."""

import csv

import pytest
import torch

from bert_ft.config.build import fine_tuning

from .averaged import EMA, SWA, TABLE, assert_equal, difference, finished, trained


@pytest.mark.slow
class TestTraining:
    @pytest.mark.parametrize("rows", ["split", "whole"])
    @pytest.mark.parametrize(
        "overrides", [EMA, [*SWA, "averaging.follow_schedule=true"]], ids=["ema", "swa along the schedule"]
    )
    def test_is_not_changed_by_looking_on(
        self, tmp_path, tiny_encoder, reviews, monkeypatch, overrides, rows
    ):
        if rows == "whole":
            monkeypatch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
        _, plain, _ = finished(tmp_path / "plain", tiny_encoder, reviews)
        _, other, _ = finished(tmp_path / "other", tiny_encoder, reviews, *overrides)
        assert plain.losses == other.losses
        assert plain.rates == other.rates
        assert len(plain.raw) == len(other.raw) == 20
        for one, two in zip(plain.raw, other.raw, strict=True):
            assert_equal(trained(one), trained(two))
        assert difference(plain.validated[20], other.validated[20]) > 1e-4
        if rows == "split":  # their decay is done at once instead of step by step, which rounds differently
            unused = TABLE.replace("weight", "unused")
            torch.testing.assert_close(plain.raw[-1][unused], other.raw[-1][unused], rtol=1e-2, atol=1e-4)

    def test_is_changed_by_the_rate_of_swa(self, tmp_path, tiny_encoder, reviews):
        """The negative control, and the rates of all layers in closed form."""
        _, plain, _ = finished(tmp_path / "plain", tiny_encoder, reviews)
        _, other, _ = finished(tmp_path / "other", tiny_encoder, reviews, *SWA)
        assert plain.rates[:5] == other.rates[:5]
        assert_equal(trained(plain.raw[4]), trained(other.raw[4]))
        assert plain.rates[5] == other.rates[5]  # what the schedule has come down to
        assert not torch.equal(plain.raw[-1][TABLE], other.raw[-1][TABLE])

    @pytest.mark.parametrize(
        ("overrides", "tail"),
        [
            ([], [0.75] * 15),
            (["averaging.lr_ratio=0.5"], [0.5] * 15),
            (["averaging.lr_ratio=0.5", "averaging.cycle_steps=3"], [0.5, 0.275, 0.05] * 5),
        ],
        ids=["kept", "given", "cycles"],
    )
    def test_layers_keep_the_ratio_of_their_rates(self, tmp_path, tiny_encoder, reviews, overrides, tail):
        _, recorder, _ = finished(
            tmp_path,
            tiny_encoder,
            reviews,
            *SWA,
            *overrides,
            "schedule.warmup_ratio=null",
            "optimizer.layer_decay=0.5",
            "optimizer.head_lr=0.01",
        )
        multipliers = [1 - step / 20 for step in range(5)] + tail
        initial = recorder.initial_rates
        assert len(set(initial)) == 4  # embeddings, two layers, head
        for rates, multiplier in zip(recorder.rates, multipliers, strict=True):
            assert rates == pytest.approx([rate * multiplier for rate in initial], rel=1e-12)
        with (tmp_path / "csv/version_0/metrics.csv").open() as file:
            logged = [
                sorted(
                    float(value)
                    for name, value in row.items()
                    if name.startswith("lr-") and value and "weight_decay" not in name
                )
                for row in csv.DictReader(file)
            ]
        logged = [row for row in logged if row]
        for rates, expected in zip(logged, recorder.rates, strict=True):
            assert rates == pytest.approx(sorted(expected), rel=1e-6)
