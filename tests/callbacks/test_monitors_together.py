"""All monitors of steps at once: they change nothing, wait for nothing, and agree over processes and after a resume."""

import contextlib
import csv
import json
from collections import Counter
from unittest import mock

import hydra
import pytest
import torch
from hydra.utils import get_class
from lightning.pytorch import Callback, seed_everything
from torch import Tensor
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BatchEncoding

from bert_ft.callbacks import monitor as monitor_module
from bert_ft.callbacks.averaging import ExponentialAveraging
from bert_ft.callbacks.gradual_unfreezing import GradualUnfreezing
from bert_ft.callbacks.monitor import Monitor
from bert_ft.config.paths import conf_dir
from bert_ft.errors import ConfigError
from tests.training.running import train, train_in_two
from tests.training.test_run import interrupted

from .monitored import assert_equal, weights
from .stepping import (
    QUIET,
    STILL,
    Foreign,
    batches_of,
    fit,
    loader,
    logged,
    module_of,
    monitors,
    padded,
    trainer_of,
)

pytestmark = [*QUIET, pytest.mark.slow]
STEPPING = ("activations", "gradients", "weights", "curves")
OTHERS_OFF = [f"monitor.{name}=null" for name in ("confidence", "attention", "representations")]
EVERY_STEP = ["monitor=full", *OTHERS_OFF, *(f"monitor.{name}.every_n_steps=1" for name in STEPPING)]
SHORT = ["trainer.accelerator=cpu", "trainer.max_epochs=1"]  # ten steps
MEASURED = ("throughput/", "seconds/", "seconds_after/")  # never the same twice


class TestConfiguration:
    def monitors_of(self, *overrides):
        with hydra.initialize_config_dir(config_dir=str(conf_dir())):
            nodes = hydra.compose("train", list(overrides)).monitor
        return {name: node for name, node in nodes.items() if node is not None}

    def test_each_choice(self):
        assert self.monitors_of("monitor=none") == {}
        light, full = self.monitors_of("monitor=light"), self.monitors_of("monitor=full")
        assert light.keys() == {*STEPPING, "confidence"}
        assert full.keys() == {*light, "attention", "representations"}
        assert light == self.monitors_of()
        for name in STEPPING:
            assert issubclass(get_class(full[name]._target_), Monitor)
        for name in ("activations", "gradients", "weights"):
            assert light[name].histogram_every_n_steps is None
            assert full[name].histogram_every_n_steps % full[name].every_n_steps == 0
        assert (light["weights"].distance, full["weights"].distance) == (False, True)

    def test_one_may_be_switched_off(self):
        assert "weights" not in self.monitors_of("monitor.weights=null")

    @pytest.mark.parametrize("name", STEPPING)
    @pytest.mark.parametrize("value", [0, -1])
    def test_every_0_steps_is_refused(self, tmp_path, tiny_encoder, reviews, name, value):
        with pytest.raises(
            ConfigError, match=rf"monitor\.{name}\.every_n_steps={value}: must be an integer ≥ 1"
        ):
            train(tmp_path, tiny_encoder, reviews, "monitor=light", f"monitor.{name}.every_n_steps={value}")

    @pytest.mark.parametrize("kind", [type(monitor) for monitor in monitors()])
    def test_every_0_steps_is_refused_in_code(self, kind):
        with pytest.raises(ConfigError, match=r"monitor\.\w+\.every_n_steps=0: must be an integer ≥ 1"):
            kind(every_n_steps=0)

    def test_a_noise_scale_without_accumulation_is_refused(self, tmp_path, tiny_encoder, reviews):
        with pytest.raises(ConfigError, match=r"noise_scale=[Tt]rue.*trainer\.accumulate_grad_batches"):
            train(tmp_path, tiny_encoder, reviews, *SHORT, *EVERY_STEP, "monitor.gradients.noise_scale=true")


# technique → arguments of the module, its callbacks, settings of the trainer
TECHNIQUES = {
    "dropout": ({"dropout": 0.2}, (), {}),
    "bf16": ({"dropout": 0.2}, (), {"precision": "bf16-mixed"}),
    "bf16-true": ({"dropout": 0.2}, (), {"precision": "bf16-true"}),
    "checkpointing": ({"dropout": 0.2, "checkpointing": True}, (), {}),
    "pieces": ({"dropout": 0.2, "max_tokens": 14}, (), {}),
    "pieces and checkpointing": ({"dropout": 0.2, "max_tokens": 14, "checkpointing": True}, (), {}),
    "R-Drop": ({"dropout": 0.2, "r_drop_weight": 1.0}, (), {}),
    "FGM": ({"dropout": 0.2, "adversarial_epsilon": 1.0, "max_tokens": 14}, (), {}),
    "clipped": ({"dropout": 0.2}, (), {"gradient_clip_val": 0.5}),
    "clipped by value": ({}, (), {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "windows": ({"dropout": 0.2}, (), {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}),
    "frozen": ({"dropout": 0.2, "freeze_layers": 1}, (), {}),
    "unfreezing": ({"dropout": 0.2}, (GradualUnfreezing,), {"max_epochs": 2}),
    "averaging": ({"dropout": 0.2}, (ExponentialAveraging,), {}),
}


def finished(folder, technique, *, family="bert", watched=True, dropout_seed=1):
    arguments, callbacks, settings = TECHNIQUES[technique]
    module = module_of(family, **arguments)
    watching = monitors(histogram_every_n_steps=1) if watched else []
    if "accumulate_grad_batches" in settings and watched:
        watching = monitors(histogram_every_n_steps=1, noise_scale=True)
    seed_everything(dropout_seed, verbose=False)
    fit(folder, module, [*(callback() for callback in callbacks), *watching], batches_of(3), **settings)
    return weights(module.classifier), torch.get_rng_state()


class TestNothingChanges:
    @pytest.mark.parametrize("technique", TECHNIQUES)
    def test_weights_are_the_same_to_the_last_bit(self, tmp_path, technique):
        watched, state = finished(tmp_path / "watched", technique)
        plain, plain_state = finished(tmp_path / "plain", technique, watched=False)
        assert_equal(watched, plain)
        assert torch.equal(state, plain_state)
        assert any(name.startswith("activations/") for name in logged(tmp_path / "watched")[1])

    @pytest.mark.parametrize("family", ["deberta-v2", "modernbert", "distilbert"])
    def test_of_other_families(self, tmp_path, family):
        watched, _ = finished(tmp_path / "watched", "pieces and checkpointing", family=family)
        plain, _ = finished(tmp_path / "plain", "pieces and checkpointing", family=family, watched=False)
        assert_equal(watched, plain)

    def test_another_seed_of_the_dropout_would_show(self, tmp_path):
        """The negative control."""
        one, _ = finished(tmp_path / "one", "dropout")
        other, _ = finished(tmp_path / "other", "dropout", dropout_seed=2)
        with pytest.raises(AssertionError):
            assert_equal(one, other)

    def test_in_a_whole_run(self, tmp_path, tiny_encoder, reviews):
        """With dropout, and rows of the embedding that no text uses; best and last weights, and what is reported."""
        metrics = []
        for name, overrides in (("watched", EVERY_STEP), ("plain", ["monitor=none"])):
            if name == "watched":
                overrides = [
                    *overrides,
                    *(f"monitor.{kind}.histogram_every_n_steps=1" for kind in STEPPING[:3]),
                ]
            metrics.append(train(tmp_path / name, tiny_encoder, reviews, *SHORT, *overrides)[1])
        for checkpoint in ("best", "last"):
            watched, plain = (
                torch.load(tmp_path / name / f"checkpoints/{checkpoint}.ckpt", weights_only=True)[
                    "state_dict"
                ]
                for name in ("watched", "plain")
            )
            assert_equal(watched, plain)
        assert metrics[0] == metrics[1] | {"fit_seconds": metrics[0]["fit_seconds"]}
        found = logged(tmp_path / "watched")
        assert all(len(found[step]) > 80 for step in range(1, 11))


class Waits(TorchDispatchMode):
    """Counts, by the optimizer steps done, what would have a GPU waited for; not what is done with readings on the CPU."""

    OPERATORS = (
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.masked_select.default,
        torch.ops.aten.equal.default,
        torch.ops.aten.is_nonzero.default,
    )

    def __init__(self):
        super().__init__()
        self.step, self.counts, self.is_reading = 0, Counter(), False

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        chooses = function is torch.ops.aten.index.Tensor and any(
            part is not None and part.dtype == torch.bool for part in arguments[1]
        )
        if function in self.OPERATORS or chooses:
            self.count()
        return function(*arguments, **(options or {}))

    def count(self):
        self.counts[self.step] += not self.is_reading

    @contextlib.contextmanager
    def counting(self):
        """Here ``cpu`` counts, too, which on a CPU does nothing."""
        with contextlib.ExitStack() as stack:
            for name in ("cpu", "numpy"):
                original = getattr(Tensor, name)

                def counted(*arguments, _original=original, **options):
                    self.count()
                    return _original(*arguments, **options)

                stack.enter_context(mock.patch.object(Tensor, name, counted))
            places = [(kind, "scalars") for kind in {type(monitor) for monitor in monitors()}]
            for place, name in [*places, (monitor_module, "write_histograms")]:
                original = getattr(place, name)

                def reading(*arguments, _original=original):
                    self.is_reading = True
                    result = _original(*arguments)
                    self.is_reading = False
                    return result

                stack.enter_context(mock.patch.object(place, name, reading))
            yield stack.enter_context(self)


class Steps(Callback):
    def __init__(self, waits):
        self.waits = waits

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.waits.step = trainer.global_step + 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert self.waits.step == trainer.global_step

    def on_train_end(self, trainer, pl_module):
        self.waits.step = None


@pytest.mark.parametrize(
    ("family", "settings", "in_a_pass"),
    [
        ("bert", {}, 0),
        ("bert", {"gradient_clip_val": 0.5}, 0),
        ("bert", {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, 0),
        ("deberta", {}, 1),  # where the real tokens are
        ("foreign", {"gradient_clip_val": 0.5}, 1),
    ],
    ids=["bert", "clipped", "clipped by value", "padded", "foreign"],
)
@pytest.mark.parametrize("histogram_every_n_steps", [None, 3])
def test_a_gpu_is_waited_for_once_in_a_step_that_is_looked_at_and_never_else(
    tmp_path, family, settings, in_a_pass, histogram_every_n_steps
):
    counts = []
    for watching in (monitors(every_n_steps=3, histogram_every_n_steps=histogram_every_n_steps), []):
        module = Foreign() if family == "foreign" else module_of(family)
        batches = batches_of(8)
        if family == "foreign":
            batches = [padded(batch) for batch in batches]
        waits = Waits()
        with waits.counting():
            trainer = trainer_of(tmp_path / str(len(counts)), [Steps(waits), *watching], **settings)
            trainer.fit(module, loader(batches))
        counts.append(waits.counts)
    watched, plain = counts
    looked_at = {step: watched[step] - plain[step] for step in range(1, 9)}
    assert looked_at == dict.fromkeys(range(1, 9), 0) | dict.fromkeys((1, 3, 6), 1 + in_a_pass)
    assert sum(plain.values()) > 0  # it counts at all


def test_a_step_is_one_row_of_the_csv_file(tmp_path):
    fit(tmp_path, module_of(), monitors(), batches_of(3))
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["weights/head/norm"]]
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    for name in ("activations/layer.0.ffn/sd", "gradients/norm", "train/loss_smoothed"):
        assert all(row[name] for row in rows)


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_order_of_monitors_doesnt_matter(tmp_path, order):
    fit(tmp_path / "one", module_of(), monitors())
    fit(tmp_path / "other", module_of(), [monitors()[number] for number in order])
    one, other = (logged(tmp_path / name) for name in ("one", "other"))
    assert one.keys() == other.keys()
    for step, values in one.items():
        assert other[step].keys() == values.keys()
        kept = {name: value for name, value in values.items() if not name.startswith(MEASURED)}
        assert {name: other[step][name] for name in kept} == pytest.approx(kept, rel=1e-6, nan_ok=True)


def test_a_foreign_module(tmp_path):
    module = Foreign(optimizer=AdamW)
    batches = [BatchEncoding(padded(batch, extra=2)) for batch in batches_of(6)]
    watching = monitors(every_n_steps=2, histogram_every_n_steps=2, noise_scale=True)
    settings = {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "max_epochs": 2}
    fit(tmp_path, module, watching, batches, **settings)
    found = logged(tmp_path)
    steps = {step for step, values in found.items() if "gradients/norm" in values}
    assert steps == {1, 2, 4, 6}
    kinds = {name.split("/")[0] for name in found[4]}
    assert kinds >= {"activations", "gradients", "weights", "throughput", "seconds", "train"}


@pytest.mark.parametrize(
    "settings", [{"logger": False}, {"fast_dev_run": 2}, {"limit_train_batches": 2}], ids=str
)
@pytest.mark.filterwarnings("ignore:The .*progress")
def test_other_settings_of_lightning(tmp_path, settings):
    fit(tmp_path, module_of(), monitors(histogram_every_n_steps=1), **settings)


def test_only_validation(tmp_path):
    trainer = trainer_of(tmp_path, monitors())
    trainer.validate(module_of(), loader(batches_of(2)), verbose=False)
    assert not any("activations" in name for values in logged(tmp_path).values() for name in values)


class TestFrozenStates:
    FROZEN = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]  # noqa: RUF012

    def test_layers_that_are_kept_arent_reported(self, tmp_path, tiny_encoder, reviews):
        """Nor in the first epoch, which computes them once for each text."""
        overrides = [*EVERY_STEP, *self.FROZEN, "trainer.accelerator=cpu", "trainer.max_epochs=2"]
        train(tmp_path, tiny_encoder, reviews, *overrides)
        found = logged(tmp_path, "activations/")
        assert found.keys() == set(range(1, 21))
        blocks = [{name.split("/")[1] for name in values} for values in found.values()]
        assert all(names == blocks[0] for names in blocks)
        layers = {name for name in blocks[0] if name.startswith("layer.")}
        assert layers == {f"layer.1.{kind}" for kind in ("attention", "activation", "ffn", "hidden")}

    def test_without_keeping_they_are(self, tmp_path, tiny_encoder, reviews):
        train(tmp_path, tiny_encoder, reviews, *SHORT, *EVERY_STEP, self.FROZEN[0])
        assert "activations/layer.0.ffn/sd" in logged(tmp_path)[1]


@pytest.mark.slow
def test_after_a_resume_all_goes_on(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Steps are counted on, and distances are those from the pre-trained weights."""
    arguments = (tiny_encoder, reviews, "trainer.max_epochs=2", "trainer.val_check_interval=0.5", *EVERY_STEP)
    train(tmp_path / "whole", *arguments)
    last = interrupted(
        monkeypatch, "on_train_batch_start", lambda m: m.global_step == 17, tmp_path / "broken", *arguments
    )
    train(tmp_path / "broken", *arguments, f"resume_from={last}")
    whole, broken = logged(tmp_path / "whole"), logged(tmp_path / "broken")
    for step in range(1, 21):
        expected = {name: value for name, value in whole[step].items() if not name.startswith(MEASURED)}
        assert len(expected) > 80
        # weights of a resumed run are the same to the last bit, moments' sums over threads needn't be
        assert {name: broken[step][name] for name in expected} == pytest.approx(
            expected, rel=1e-6, nan_ok=True
        )
    assert whole[20]["weights/layer.0/distance"] > whole[10]["weights/layer.0/distance"]


@pytest.mark.slow
class TestTwoProcesses:
    SETTINGS = [  # noqa: RUF012
        *EVERY_STEP,
        *STILL,
        "trainer.accelerator=cpu",
        "trainer.precision=64",
        "trainer.accumulate_grad_batches=3",
        "monitor.gradients.noise_scale=true",
    ]

    def test_log_what_one_does_on_the_joint_batches(self, tmp_path, tiny_encoder, reviews):
        """Rank r has rows r, r + 2, …: two batches of 8 are one of 16; windows of three, the last of one."""
        one_epoch = "trainer.max_epochs=1"
        train(tmp_path / "one", tiny_encoder, reviews, *self.SETTINGS, one_epoch, "data.batch_size=16")
        settings = [*self.SETTINGS, one_epoch, "data.batch_size=8"]
        train_in_two(tmp_path / "two", tiny_encoder, reviews, *settings)
        one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
        for step in range(1, 5):
            # noise is estimated from a process's own first batch, and time is its own
            left_out = (
                "throughput/tokens",
                "throughput/seq",
                "throughput/peak",
                "seconds/",
                "gradients/noise_scale",
            )
            expected = {
                name: value
                for name, value in one[step].items()
                if name.startswith(
                    ("activations/", "gradients/", "weights/", "throughput/", "train/loss_smoothed")
                )
                and not name.startswith(left_out)
            }
            assert len(expected) > 60
            # each looks at one batch of its window; moments in float32, and a fresh projection gives only zeros
            assert {name: two[step][name] for name in expected} == pytest.approx(
                expected, rel=2e-4, abs=1e-6, nan_ok=True
            )

    def test_with_a_frozen_part_that_each_keeps_for_itself(self, tmp_path, tiny_encoder, reviews):
        """After some epochs one process has all rows of its batch already, and the other hasn't."""
        settings = [*EVERY_STEP, *TestFrozenStates.FROZEN]
        settings += ["trainer.max_epochs=8", "callbacks.early_stopping=null"]
        told = train_in_two(tmp_path, tiny_encoder, reviews, *settings)
        assert "deprecated" not in told
        assert json.loads((tmp_path / "metrics.json").read_text())["stopped"] == "all steps done"
        found = logged(tmp_path, "activations/")
        assert len(found) == 40
        assert len({frozenset(values) for values in found.values()}) == 1
