"""Averaged weights against means of the weights that a callback of the test's own notes down after each step."""

import copy
import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import Timer
from torch.nn import functional as F

from bert_ft.callbacks import averaging as averaging_module
from bert_ft.callbacks.averaging import ExponentialAveraging, StochasticAveraging
from bert_ft.config import build
from bert_ft.config.build import build_training
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.bundle import load_bundle
from bert_ft.nn.embedding import SplitEmbedding
from bert_ft.training.module import ClassificationModule
from tests.training.running import reloaded_logits, small_run, train, train_in_two
from tests.training.test_run import interrupted

TABLE = "classifier.encoder.embeddings.word_embeddings.weight"
ROUNDING = {"32": 1e-6, "64": 1e-14}  # of a running mean of some ten weights below 4
PLAIN = [
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",  # of ten steps
    "trainer.val_check_interval=0.5",
    "callbacks.early_stopping.patience=9",
    "optimizer.weight_decay=0.1",
]
SWA = ["averaging=swa", "averaging.start_ratio=0.25"]
EMA = ["averaging=ema", "averaging.decay=0.8"]
# an improvement by more than 9 there is none: after the third validation
STOP = ["callbacks.early_stopping.min_delta=9", "callbacks.early_stopping.patience=2"]
LAST = "callbacks.best_checkpoint=null"  # the weights at the end are kept


class Recorder(Callback):
    """Weights and rates of each optimizer step, and the weights in each validation.

    It stands behind the averaging, so that decay that was pending is done. Buffers, and rows that validation alone
    may read, are compared elsewhere.
    """

    def __init__(self):
        self.raw: list[dict[str, torch.Tensor]] = []
        self.validated: dict[int, dict[str, torch.Tensor]] = {}
        self.losses: list[float] = []
        self.rates: list[list[float]] = []
        self.initial_rates: list[float] = []

    def on_train_start(self, trainer, pl_module):
        self.initial_rates = [group["initial_lr"] for group in trainer.optimizers[0].param_groups]

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"].item())
        if trainer.global_step > len(self.raw):
            self.raw.append(weights(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated.setdefault(trainer.global_step, weights(pl_module))


def weights(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def trained(values):
    return {name: value for name, value in values.items() if not name.endswith(".unused")}


def built(folder, encoder, files, *overrides):
    """A run that isn't started, and its recorder."""
    config = small_run(folder, encoder, files, *PLAIN, *overrides)
    run, recorder = build_training(config), Recorder()
    run.trainer.callbacks.append(recorder)
    return run, recorder


def finished(folder, *arguments):
    run, recorder = built(folder, *arguments)
    run.run()
    return run, recorder, json.loads((folder / "metrics.json").read_text())


def checkpoint(folder, name="last"):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def averaged(run):
    """The average, by the names of ``named_parameters``."""
    return weights(run.module.averaging._average_model.module)


def mean(steps):
    return {name: np.mean([step[name].double().numpy() for step in steps], axis=0) for name in steps[0]}


def moving_average(steps, decay):
    average = {name: value.double().numpy() for name, value in steps[0].items()}
    for others, step in enumerate(steps[1:], start=1):
        kept = min(decay, (1 + others) / (10 + others))
        average = {
            name: kept * value + (1 - kept) * step[name].double().numpy() for name, value in average.items()
        }
    return average


def assert_close(values, expected, tolerance=1e-6):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(
            value.double().numpy(), expected[name], rtol=0, atol=tolerance, err_msg=name
        )


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert torch.equal(value, expected[name]), name


def difference(one, other):
    return max(float(np.abs(np.asarray(one[name]) - np.asarray(other[name])).max()) for name in one)


def states_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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
        monkeypatch.setattr(build, "train_used_rows_only", lambda *_: None)
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
        assert {value.device.type for value in average._average_model.parameters()} == {"meta"}


@pytest.fixture(scope="module", params=["swa", "ema"])
def kept(request, tmp_path_factory, tiny_encoder, reviews):
    """A run whose best validation is one of averaged weights."""
    folder = tmp_path_factory.mktemp(request.param)
    overrides = {"swa": [*SWA, "averaging.start_ratio=0.1"], "ema": EMA}[request.param]
    run, recorder, metrics = finished(
        folder, tiny_encoder, reviews, *overrides, "objective.metric=val/loss", "objective.mode=min"
    )

    def expected(step):
        if request.param == "swa":
            return mean(recorder.raw[1:step])
        return moving_average(recorder.raw[:step], 0.8)

    return SimpleNamespace(
        folder=folder,
        run=run,
        recorder=recorder,
        metrics=metrics,
        expected=expected,
        name=request.param,
        step=metrics["checkpoint"]["step"],
    )


def whole(values, run):
    """The trained rows of a table in their places among the others."""
    values = {name: np.asarray(value) for name, value in values.items()}
    embedding = run.module.classifier.encoder.get_input_embeddings()
    rows = np.concatenate([values[TABLE], values.pop(TABLE.replace("weight", "unused"))])
    return {**values, TABLE: rows[embedding.row_of.numpy()]}


@pytest.mark.slow
class TestWhatIsReportedAndKept:
    def test_validated_weights_are_the_average(self, kept):
        assert list(kept.recorder.validated) == [5, 10, 15, 20]
        for step, values in kept.recorder.validated.items():
            assert_close(values, kept.expected(step))
            assert difference(values, kept.recorder.raw[step - 1]) > 1e-4

    @pytest.mark.parametrize("name", ["best", "last"])
    def test_saved_weights_are_the_average(self, kept, name):
        saved = checkpoint(kept.folder, name)
        assert saved["weights"] == kept.name
        assert ("optimizer_states" in saved) == (name == "last")
        state = {key: value for key, value in saved["state_dict"].items() if key in kept.recorder.raw[0]}
        assert_close(state, whole(kept.expected(saved["global_step"]), kept.run))

    def test_those_of_training_go_with_what_is_resumed(self, kept):
        saved = checkpoint(kept.folder)
        raw = {
            name: saved["current_model_state"][name]
            for name in kept.recorder.raw[-1]
            if not name.endswith(".unused")
        }
        assert_equal(
            raw, {name: torch.from_numpy(v) for name, v in whole(kept.recorder.raw[-1], kept.run).items()}
        )
        assert saved["averaging_state"]["n_averaged"] == {"swa": 19, "ema": 20}[kept.name]
        assert "current_model_state" not in checkpoint(kept.folder, "best")

    def test_it_says_so(self, kept):
        assert kept.metrics["weights"] == kept.name
        assert load_bundle(kept.folder / "model").training["weights"] == kept.name

    def test_tested_and_exported_weights_are_the_average(self, kept):
        assert_close(weights(kept.run.module), kept.expected(kept.step))
        state = load_bundle(kept.folder / "model").classifier.state_dict()
        state = {f"classifier.{name}": value for name, value in state.items()}
        expected = whole(kept.expected(kept.step), kept.run)
        assert_close({name: state[name] for name in expected}, expected)
        assert (
            difference(
                {name: state[name] for name in expected}, whole(kept.recorder.raw[kept.step - 1], kept.run)
            )
            > 1e-4
        )

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_the_reloaded_folder_gives_what_was_reported(self, kept, reviews, split):
        logits, labels = reloaded_logits(kept.folder, reviews, split)
        reported = kept.metrics["val" if split == "validation" else "test"]
        assert reported["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6)
        assert reported["accuracy"] == pytest.approx(
            (logits.argmax(1) == labels).double().mean().item(), abs=1e-6
        )


def test_at_the_end_of_training_the_average_is_there(tmp_path, tiny_encoder, reviews):
    """Without a best checkpoint it is what is kept; it is validated anew."""
    run, recorder, metrics = finished(tmp_path, tiny_encoder, reviews, *SWA, LAST)
    assert (metrics["weights"], metrics["checkpoint"]["path"]) == ("swa", None)
    assert_close(weights(run.module), mean(recorder.raw[4:]))
    assert_equal(recorder.validated[20], weights(run.module))


TIME = "trainer.max_time='00:00:00:{}'"


@pytest.mark.slow
class TestAStartThatIsNeverReached:
    @pytest.mark.parametrize("overrides", [["averaging=swa"], ["averaging=ema"]], ids=["swa", "ema"])
    @pytest.mark.parametrize(
        ("stop", "num_steps"),
        [(STOP, 15), ([TIME.format("06")], 7), ([TIME.format("06"), LAST], 7), ([TIME.format("00")], 0)],
        ids=["early stopping", "time limit", "time limit, no best checkpoint", "no time at all"],
    )
    def test_is_no_averaging(self, tmp_path, tiny_encoder, reviews, monkeypatch, stop, num_steps, overrides):
        results = []
        for name, options in (("none", []), ("averaging", [*overrides, "averaging.start_ratio=0.9"])):
            run, recorder = built(tmp_path / name, tiny_encoder, reviews, *options, *stop)
            # a second for each step; this one's isn't in the record yet
            monkeypatch.setattr(Timer, "time_elapsed", lambda *_, steps=recorder.raw: len(steps))
            run.run()
            metrics = json.loads((tmp_path / name / "metrics.json").read_text())
            files = [
                checkpoint(file.parents[1], file.stem) for file in sorted((tmp_path / name).glob("*/*.ckpt"))
            ]
            assert len(recorder.raw) == num_steps
            assert recorder.losses or num_steps == 0
            results.append((metrics | {"fit_seconds": None}, files, run.module.state_dict()))
        (metrics, files, state), (other_metrics, other_files, other_state) = results
        assert metrics == other_metrics
        assert metrics["weights"] == "raw"
        assert metrics["stopped"] != "all steps done"
        assert states_equal(state, other_state)
        assert len(files) == len(other_files) == (0 if num_steps == 0 else 2 - (LAST in stop))
        for one, other in zip(files, other_files, strict=True):
            assert states_equal(one["state_dict"], other["state_dict"])
            assert other["weights"] == "raw"
            assert "averaging_state" not in other

    def test_one_that_is_reached_is_another_thing(self, tmp_path, tiny_encoder, reviews):
        """The negative control."""
        for name, options in (("none", []), ("averaging", ["averaging=ema", "averaging.start_ratio=0.9"])):
            train(tmp_path / name, tiny_encoder, reviews, *PLAIN, *options)
        none, averaging = (checkpoint(tmp_path / name) for name in ("none", "averaging"))
        assert not states_equal(none["state_dict"], averaging["state_dict"])
        assert "averaging_state" in averaging

    def test_validation_and_checkpoints_before_the_start_hold_raw_weights(
        self, tmp_path, tiny_encoder, reviews
    ):
        saved = {}

        class Reader(Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                if trainer.global_step in (5, 10, 15) and trainer.global_step not in saved:
                    saved[trainer.global_step] = checkpoint(tmp_path), checkpoint(tmp_path, "best")

        options = ["averaging=ema", "averaging.start_ratio=0.6"]  # the twelfth step
        run, recorder = built(tmp_path, tiny_encoder, reviews, *options)
        run.trainer.callbacks.append(Reader())
        run.run()
        for step in (5, 10):
            assert_equal(trained(recorder.validated[step]), trained(recorder.raw[step - 1]))
            for file in saved[step]:
                raw = whole(recorder.raw[file["global_step"] - 1], run)
                # rows that no training text uses were decayed since the step was noted
                assert_close({name: file["state_dict"][name] for name in raw}, raw, 1e-4)
                del raw[TABLE]
                assert_equal(
                    {name: file["state_dict"][name] for name in raw},
                    {name: torch.from_numpy(value) for name, value in raw.items()},
                )
                assert file["weights"] == "raw"
        assert saved[15][0]["weights"] == "ema"
        assert difference(recorder.validated[15], recorder.raw[14]) > 1e-4


@pytest.mark.slow
class TestEarlyStopping:
    """With averaging the weights that training stops at are no others than those that were validated."""

    @pytest.mark.parametrize("overrides", [SWA, EMA], ids=["swa", "ema"])
    @pytest.mark.parametrize("best", [True, False])
    def test_after_the_start(self, tmp_path, tiny_encoder, reviews, overrides, best):
        run, recorder, metrics = finished(
            tmp_path,
            tiny_encoder,
            reviews,
            *overrides,
            *STOP,
            *([] if best else [LAST]),
        )
        assert metrics["stopped"] == "no better val/accuracy for 2 validations"
        assert len(recorder.raw) == 15
        step = metrics["checkpoint"]["step"]
        expected = (
            mean(recorder.raw[4:step]) if overrides is SWA else moving_average(recorder.raw[:step], 0.8)
        )
        assert metrics["weights"] == overrides[0].removeprefix("averaging=")
        assert_close(weights(run.module), expected)
        end = mean(recorder.raw[4:]) if overrides is SWA else moving_average(recorder.raw, 0.8)
        assert_close(averaged(run), end)
        assert best or step == 15


@pytest.mark.slow
class TestResume:
    @pytest.mark.parametrize("accumulate", [1, 2])
    @pytest.mark.parametrize(
        "overrides",
        [
            SWA,
            [*SWA, "averaging.cycle_steps=2"],
            EMA,
            [*SWA, "averaging.start_ratio=0.8"],
            [*EMA, "averaging.start_ratio=0.8"],
            [*EMA, "trainer.precision=64"],
            [*SWA, "trainer.precision=bf16-true"],
        ],
        ids=["swa", "cycles", "ema", "before swa", "before ema", "64 bits", "16 bits"],
    )
    def test_equals_the_uninterrupted_run(
        self, tmp_path, tiny_encoder, reviews, monkeypatch, overrides, accumulate
    ):
        arguments = (
            tiny_encoder,
            reviews,
            *PLAIN,
            *overrides,
            "trainer.max_epochs=3",
            # of ten batches; the last validation before the break is after fourteen
            "trainer.val_check_interval=4",
            f"trainer.accumulate_grad_batches={accumulate}",
        )
        train(tmp_path / "whole", *arguments)
        last = interrupted(
            monkeypatch,
            "on_train_batch_start",
            lambda module: module.global_step == 17 // accumulate,
            tmp_path / "broken",
            *arguments,
        )
        broken = torch.load(last, weights_only=True)
        assert broken["global_step"] == 14 // accumulate
        assert broken["weights"] == (
            "raw" if overrides[-1].endswith("start_ratio=0.8") else overrides[0][-3:]
        )
        _, metrics = train(tmp_path / "broken", *arguments, f"resume_from={last}")
        whole, resumed = (checkpoint(tmp_path / name) for name in ("whole", "broken"))
        for part in ("state_dict", "current_model_state", "averaging_state"):
            assert states_equal(whole[part], resumed[part]), part
        assert not states_equal(whole["state_dict"], whole["current_model_state"])
        assert metrics == json.loads((tmp_path / "whole/metrics.json").read_text()) | {
            "fit_seconds": metrics["fit_seconds"]
        }

    @pytest.mark.parametrize("others", [[], EMA], ids=["none", "ema"])
    def test_under_another_averaging_is_refused(self, tmp_path, tiny_encoder, reviews, others):
        """The checkpoint's average would be trained on as if it were the weights."""
        train(tmp_path, tiny_encoder, reviews, *PLAIN, *SWA)
        (tmp_path / "metrics.json").unlink()
        last = tmp_path / "checkpoints/last.ckpt"
        with pytest.raises(CheckpointError, match=r"resume_from: .* the same averaging=swa"):
            train(tmp_path, tiny_encoder, reviews, *PLAIN, *others, f"resume_from={last}")


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
            monkeypatch.setattr(build, "train_used_rows_only", lambda *_: None)
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


class Snapshots(Callback):
    """The average before and after each validation."""

    def __init__(self):
        self.pairs = []

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([copy.deepcopy(dict(pl_module.averaging._average_model.named_parameters()))])

    def on_validation_end(self, trainer, pl_module):
        self.pairs[-1].append(dict(pl_module.averaging._average_model.named_parameters()))
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
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_validation_the_weights_of_training_are_back(
    tmp_path, tiny_encoder, reviews, monkeypatch, error
):
    run, recorder = built(tmp_path, tiny_encoder, reviews, *EMA)
    validate = ClassificationModule.validation_step

    def break_off(module, *arguments):
        validate(module, *arguments)
        if module.global_step == 10:
            raise error("broken off")

    monkeypatch.setattr(ClassificationModule, "validation_step", break_off)
    with pytest.raises((RuntimeError, SystemExit)):
        run.run()
    assert difference(recorder.validated[10], recorder.raw[9]) > 1e-4
    assert_equal(weights(run.module), recorder.raw[9])


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (StochasticAveraging, {"start_ratio": 1.5}, r"averaging\.start_ratio=1\.5 must be between 0 and 1"),
        (ExponentialAveraging, {"start_ratio": -0.1}, r"averaging\.start_ratio=-0\.1 must be"),
        (StochasticAveraging, {"every_n_steps": 0}, r"averaging\.every_n_steps=0 must be at least 1"),
        (ExponentialAveraging, {"decay": 1.0}, r"averaging\.decay=1\.0 must be at least 0 and below 1"),
        (
            StochasticAveraging,
            {"follow_schedule": True, "lr_ratio": 0.5},
            r"averaging\.follow_schedule=true: .* averaging\.lr_ratio and averaging\.cycle_steps to null",
        ),
        (
            StochasticAveraging,
            {"follow_schedule": True, "cycle_steps": 3},
            r"averaging\.follow_schedule=true",
        ),
    ],
)
def test_out_of_range(kind, arguments, message):
    with pytest.raises(ConfigError, match=message):
        kind(**arguments)


def test_an_end_in_time_alone(tmp_path, tiny_encoder, reviews):
    """A share of what isn't known beforehand."""
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=-1: no end is set"):
        train(
            tmp_path, tiny_encoder, reviews, *EMA, "trainer.max_epochs=-1", "trainer.max_time='00:00:01:00'"
        )


def test_a_start_in_the_warm_up_is_refused_before_training(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError, match=r"averaging\.start_ratio=0\.0: step 1 of 20 is in the warm-up"):
        train(
            tmp_path,
            tiny_encoder,
            reviews,
            *PLAIN,
            "averaging=swa",
            "averaging.start_ratio=0.0",
            "schedule.warmup_ratio=0.2",
        )


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
