"""Smoothed losses, counts and phases against the tests' own sums."""

from unittest import mock

import pytest
import torch
from lightning.pytorch import Callback
from transformers import BatchEncoding

from bert_ft.callbacks import training_curves
from bert_ft.callbacks.training_curves import PHASES, TrainingCurves
from bert_ft.data.packing import pad
from bert_ft.errors import ConfigError
from bert_ft.nn.losses import CrossEntropy

from .stepping import QUIET, Foreign, batches_of, fit, loader, logged, module_of, padded, trainer_of

pytestmark = [*QUIET, pytest.mark.slow]
SMOOTHING = 0.8


def curves(**settings):
    return TrainingCurves(**{"every_n_steps": 1, "smoothing": SMOOTHING, **settings})


def smoothed(losses):
    """Weighted means of the losses so far, the weight of each falling with its age."""
    ages = [range(end - 1, -1, -1) for end in range(1, len(losses) + 1)]
    return [
        sum(SMOOTHING**age * losses[place] for place, age in enumerate(past))
        / sum(SMOOTHING**age for age in past)
        for past in ages
    ]


def of(folder, name):
    return {step: values[name] for step, values in logged(folder).items() if name in values}


class TestLoss:
    @pytest.mark.parametrize("every_n_steps", [1, 4])
    def test_is_the_smoothed_training_loss_of_every_batch(self, tmp_path, every_n_steps):
        fit(tmp_path, module_of(), [curves(every_n_steps=every_n_steps)], batches_of(9))
        losses = of(tmp_path, "train/loss")  # as the module logs them
        assert losses.keys() == set(range(9))
        assert len(set(losses.values())) == 9
        steps = range(1, 10) if every_n_steps == 1 else (1, 4, 8)
        expected = smoothed([*losses.values()])
        expected = {step: pytest.approx(expected[step - 1], rel=1e-5) for step in steps}
        assert of(tmp_path, "train/loss_smoothed") == expected

    @pytest.mark.parametrize("class_weights", [None, [0.2, 1.0, 5.0]], ids=["rows", "class weights"])
    def test_of_batches_in_windows(self, tmp_path, class_weights):
        """What Lightning is given is weighted for the window, and divided by its length."""

        class Losses(Callback):
            def __init__(self):
                self.seen = []

            def setup(self, trainer, pl_module, stage):
                pl_module.objective.register_forward_hook(
                    lambda *given: self.seen.append(given[-1][0].item())
                )

        losses = Losses()
        batches = [*batches_of(3), *batches_of(2, [4, 8])]
        module = module_of(loss=CrossEntropy(class_weights=class_weights))
        fit(tmp_path, module, [losses, curves()], batches, accumulate_grad_batches=2)
        expected = smoothed(losses.seen)
        assert of(tmp_path, "train/loss_smoothed") == {
            step: pytest.approx(expected[end - 1], rel=1e-5) for step, end in ((1, 2), (2, 4), (3, 5))
        }

    @pytest.mark.parametrize("accumulate", [1, 2])
    def test_of_a_foreign_module(self, tmp_path, accumulate):
        losses = []

        class Noting(Foreign):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                losses.append(loss.item())
                return {"loss": loss} if accumulate == 2 else loss

        batches = [padded(batch) for batch in batches_of(4)]
        fit(tmp_path, Noting(), [curves()], batches, accumulate_grad_batches=accumulate)
        expected = smoothed(losses)[accumulate - 1 :: accumulate]
        assert [*of(tmp_path, "train/loss_smoothed").values()] == pytest.approx(expected, rel=1e-5)

    def test_that_isnt_finite_is_left_out(self, tmp_path):
        class Diverges(Foreign):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                return loss * float("nan") if batch_idx == 0 else loss.nan_to_num(0) + batch_idx

        fit(tmp_path, Diverges(), [curves()], [padded(batch) for batch in batches_of(3)])
        assert of(tmp_path, "train/loss_smoothed") == {
            step: pytest.approx(value) for step, value in enumerate(smoothed([1.0, 2.0]), 2)
        }

    @pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
    def test_of_a_batch_that_is_skipped_is_none(self, tmp_path):
        class Skips(Foreign):
            def training_step(self, batch, batch_idx):
                return super().training_step(batch, batch_idx).nan_to_num(0) * 0 + 3.0 if batch_idx else None

        fit(tmp_path, Skips(), [curves()], [padded(batch) for batch in batches_of(3)])
        assert set(of(tmp_path, "train/loss_smoothed").values()) == {3.0}

    @pytest.mark.parametrize("smoothing", [-0.1, 1])
    def test_smoothing_has_its_limits(self, smoothing):
        with pytest.raises(ConfigError, match=rf"monitor\.curves\.smoothing={smoothing}: must be"):
            curves(smoothing=smoothing)


class Clock:
    """Time that passes only if the test says so."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


class Slow(Callback):
    """Lets a known time pass in each phase of each batch."""

    SECONDS = {"data": 0.5, "forward": 1.0, "backward": 2.0, "optimizer": 4.0, "validation": 8.0}  # noqa: RUF012

    def __init__(self, clock):
        self.clock = clock

    def take(self, phase):
        self.clock.now += self.SECONDS[phase]

    def setup(self, trainer, pl_module, stage):
        forward, backward, step = pl_module.training_step, pl_module.backward, pl_module.optimizer_step

        def slow(phase, function):
            def call(*arguments, **options):
                self.take(phase)
                return function(*arguments, **options)

            return call

        def slow_step(epoch, batch_idx, optimizer, closure):
            step(epoch, batch_idx, optimizer, closure)
            self.take("optimizer")

        pl_module.training_step = slow("forward", forward)
        pl_module.backward = slow("backward", backward)
        pl_module.optimizer_step = slow_step

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.take("validation")


class Delayed:
    """Batches that take their time."""

    def __init__(self, batches, slow):
        self.batches, self.slow = batches, slow

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        self.slow.take("data")
        return self.batches[index]


def timed(folder, module, batches, every_n_steps=1, validate=False, **settings):
    clock = Clock()
    slow = Slow(clock)
    with mock.patch.object(training_curves, "time", clock):
        trainer = trainer_of(folder, [slow, curves(every_n_steps=every_n_steps)], **settings)
        trainer.fit(module, loader(Delayed(batches, slow)), loader(batches[:1]) if validate else None)
    return logged(folder)


def seconds(values):
    return [values[f"seconds/{phase}"] for phase in PHASES]


class TestTimes:
    def test_phases(self, tmp_path):
        found = timed(tmp_path, module_of(), batches_of(5), every_n_steps=2)
        # Lightning fetches a batch ahead, to know the last one: none before the last two
        sums = [sum(values) for values in zip(*(seconds(found[step]) for step in (2, 4)), strict=True)]
        assert sums == pytest.approx([1.5, 3.0, 6.0, 12.0, 0.0])
        assert seconds(found[1])[1:] == [1.0, 2.0, 4.0, 0.0]

    def test_a_window_has_the_phases_of_all_its_batches(self, tmp_path):
        found = timed(tmp_path, module_of(), batches_of(4), accumulate_grad_batches=2)
        for step in (1, 2):
            assert seconds(found[step])[1:] == [2.0, 4.0, 4.0, 0.0]

    def test_throughput_is_without_validation(self, tmp_path):
        batches = batches_of(6)
        settings = {"val_check_interval": 3, "num_sanity_val_steps": 1}
        found = timed(tmp_path, module_of(), batches, every_n_steps=2, validate=True, **settings)
        # the sanity check before training doesn't count, but the time until the next batch, in which checkpoints are saved
        assert seconds(found[4])[-1] == 8.0 + 0.5
        assert seconds(found[1])[-1] == seconds(found[2])[-1] == seconds(found[6])[-1] == 0
        assert found[6]["seconds_after/validation"] == 8.0  # that of the end comes after the last reading
        for step, number in ((1, 1), (2, 1), (4, 2), (6, 2)):
            training = sum(seconds(found[step])[:-1])
            tokens = sum(batch.num_tokens for batch in batches[step - number : step])
            assert found[step]["throughput/tokens_per_second"] == pytest.approx(tokens / training)
            assert found[step]["throughput/sequences_per_second"] == pytest.approx(
                number * len(batches[0]) / training
            )


class TestPadding:
    LENGTHS = (3, 5, 9, 4, 17)

    @pytest.mark.parametrize(
        ("family", "max_tokens", "places"),
        [
            ("bert", 4096, 38),
            ("bert", 14, 38),
            ("deberta", 4096, 5 * 17),
            ("deberta", 14, 3 * 5 + 9 + 17),  # each piece as long as its longest
        ],
    )
    def test_of_our_batches(self, tmp_path, family, max_tokens, places):
        """In a window, those of all its batches."""
        batches, settings = batches_of(2, self.LENGTHS), {"accumulate_grad_batches": 2}
        fit(tmp_path, module_of(family, max_tokens=max_tokens), [curves()], batches, **settings)
        assert of(tmp_path, "throughput/padding_ratio") == {1: pytest.approx(1 - 38 / places)}

    @pytest.mark.parametrize("kind", [dict, BatchEncoding])
    def test_of_a_foreign_modules(self, tmp_path, kind):
        batches = [kind(padded(batch, extra=3)) for batch in batches_of(2, self.LENGTHS)]
        fit(tmp_path, Foreign(), [curves()], batches)
        assert of(tmp_path, "throughput/padding_ratio")[1] == pytest.approx(1 - 38 / (5 * 20))
        found = logged(tmp_path)[2]
        rate = found["throughput/tokens_per_second"] / found["throughput/sequences_per_second"]
        assert rate == pytest.approx(38 / 5)

    def test_of_batches_that_dont_tell_nothing_is_said(self, tmp_path):
        batches = [
            {"input_ids": pad(batch.input_ids, batch), "labels": batch.labels} for batch in batches_of(2)
        ]
        fit(tmp_path, Foreign(), [curves()], batches)
        names = set(logged(tmp_path, "throughput/")[2])
        assert names == {"throughput/sequences_per_second", "throughput/peak_memory_mb"}


def test_peak_memory_is_that_of_the_process(tmp_path):
    """On a GPU it is the allocator's, which isn't looked at here."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    fit(tmp_path, module_of(), [curves()])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    for value in of(tmp_path, "throughput/peak_memory_mb").values():
        assert before * 0.999 <= value <= after * 1.001


def test_of_processes_counts_add_up_and_losses_are_averaged():
    """Of two readings: loss and its weight, tokens, places, sequences, five phases, memory."""
    readings = torch.tensor(
        [
            [2.0, 1.0, 100, 120, 10, 1.0, 1.0, 1.0, 1.0, 6.0, 50.0],
            [4.0, 1.0, 300, 360, 30, 9.0, 9.0, 9.0, 9.0, 9.0, 70.0],
        ]
    )
    found = curves().scalars(readings, 1)
    assert found["train/loss_smoothed"] == 3
    assert found["throughput/tokens_per_second"] == 400 / 4
    assert found["throughput/sequences_per_second"] == 40 / 4
    assert found["throughput/padding_ratio"] == pytest.approx(1 - 400 / 480)
    assert found["throughput/peak_memory_mb"] == 70
    assert found["seconds/validation"] == 6
