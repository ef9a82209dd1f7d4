"""All step monitors at once: they change nothing, don't wait, and agree between processes and after a resume."""

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
from tests.training.running import interrupted, train, train_in_two

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
FROZEN = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
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

    @pytest.mark.parametrize("kind", [type(monitor) for monitor in monitors()])
    def test_every_0_steps_is_refused(self, kind):
        with pytest.raises(ConfigError, match=r"monitor\.\w+\.every_n_steps=0: must be an integer ≥ 1"):
            kind(every_n_steps=0)


# technique → arguments of the module, its callbacks, settings of the trainer
TECHNIQUES = {
    "bf16, clipped": ({"dropout": 0.2}, (), {"precision": "bf16-mixed", "gradient_clip_val": 0.5}),
    "bf16-true, clipped by value": (
        {"dropout": 0.2},
        (),
        {"precision": "bf16-true", "gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ),
    "R-Drop, checkpointing": ({"dropout": 0.2, "r_drop_weight": 1.0, "checkpointing": True}, (), {}),
    "FGM, pieces": ({"dropout": 0.2, "adversarial_epsilon": 1.0, "max_tokens": 14}, (), {}),
    "windows, frozen": ({"dropout": 0.2, "freeze_layers": 1}, (), {"accumulate_grad_batches": 2}),
    "unfreezing, averaging": ({"dropout": 0.2}, (GradualUnfreezing, ExponentialAveraging), {"max_epochs": 2}),
    "pieces and checkpointing": ({"dropout": 0.2, "max_tokens": 14, "checkpointing": True}, (), {}),
}


def finished(folder, technique, *, family="bert", watched=True, dropout_seed=1):
    arguments, callbacks, settings = TECHNIQUES[technique]
    module = module_of(family, **arguments)
    noise_scale = "accumulate_grad_batches" in settings
    watching = monitors(histogram_every_n_steps=1, noise_scale=noise_scale) if watched else []
    seed_everything(dropout_seed, verbose=False)
    fit(folder, module, [*(callback() for callback in callbacks), *watching], batches_of(3), **settings)
    return weights(module.classifier), torch.get_rng_state()


class TestNothingChanges:
    @pytest.mark.parametrize(
        ("family", "technique"),
        [
            *(("bert", technique) for technique in TECHNIQUES),
            *((family, "pieces and checkpointing") for family in ("deberta-v2", "modernbert", "distilbert")),
        ],
    )
    def test_weights_are_the_same_to_the_last_bit(self, tmp_path, family, technique):
        watched, state = finished(tmp_path / "watched", technique, family=family)
        plain, plain_state = finished(tmp_path / "plain", technique, family=family, watched=False)
        assert_equal(watched, plain)
        assert torch.equal(state, plain_state)
        assert any(name.startswith("activations/") for name in logged(tmp_path / "watched")[1])

    def test_another_seed_of_the_dropout_would_show(self, tmp_path):
        """The negative control."""
        one, _ = finished(tmp_path / "one", "windows, frozen")
        other, _ = finished(tmp_path / "other", "windows, frozen", dropout_seed=2)
        with pytest.raises(AssertionError):
            assert_equal(one, other)

    def test_in_a_whole_run(self, tmp_path, tiny_encoder, reviews):
        """With dropout, and with embedding rows that no text uses."""
        histograms = [f"monitor.{kind}.histogram_every_n_steps=1" for kind in STEPPING[:3]]
        metrics, states = [], []
        for name, overrides in (("watched", [*EVERY_STEP, *histograms]), ("plain", ["monitor=none"])):
            metrics.append(train(tmp_path / name, tiny_encoder, reviews, *SHORT, *overrides)[1])
            files = [tmp_path / name / f"checkpoints/{checkpoint}.ckpt" for checkpoint in ("best", "last")]
            states.append([torch.load(file, weights_only=True)["state_dict"] for file in files])
        for watched, plain in zip(*states, strict=True):
            assert_equal(watched, plain)
        assert metrics[0] == metrics[1] | {"fit_seconds": metrics[0]["fit_seconds"]}
        found = logged(tmp_path / "watched")
        assert all(len(found[step]) > 80 for step in range(1, 11))


class Waits(TorchDispatchMode):
    """Counts, by optimizer steps, what would wait for a GPU; not what happens to readings on the CPU."""

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
        """``cpu`` counts too, though it does nothing on a CPU."""
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
    ("family", "settings", "in_a_pass", "histogram_every_n_steps"),
    [
        ("bert", {}, 0, None),
        ("bert", {"gradient_clip_val": 0.5}, 0, 3),
        ("bert", {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}, 0, 3),
        ("deberta", {}, 1, 3),  # to find the real tokens
        ("foreign", {"gradient_clip_val": 0.5}, 1, 3),
    ],
    ids=["bert", "clipped", "clipped by value", "padded", "foreign"],
)
def test_a_gpu_is_waited_for_once_in_a_step_that_is_looked_at_and_not_in_others(
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


def test_the_order_of_monitors_doesnt_matter(tmp_path):
    fit(tmp_path / "one", module_of(), monitors())
    fit(tmp_path / "other", module_of(), [monitors()[number] for number in (2, 0, 3, 1)])
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


def test_frozen_layers_whose_output_is_cached_arent_reported(tmp_path, tiny_encoder, reviews):
    """Not even in the first epoch, which computes it once for each text."""
    train(tmp_path, tiny_encoder, reviews, *EVERY_STEP, *FROZEN, "trainer.max_epochs=2")
    found = logged(tmp_path, "activations/")
    assert found.keys() == set(range(1, 21))
    blocks = [{name.split("/")[1] for name in values} for values in found.values()]
    assert all(names == blocks[0] for names in blocks)
    layers = {name for name in blocks[0] if name.startswith("layer.")}
    assert layers == {f"layer.1.{kind}" for kind in ("attention", "activation", "ffn", "hidden")}


def test_a_resumed_run_logs_what_the_uninterrupted_one_does(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Steps are counted on, and distances are measured from the pre-trained weights."""
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
            kept = ("activations/", "gradients/", "weights/", "throughput/padding", "train/loss_smoothed")
            values = {name: value for name, value in one[step].items() if name.startswith(kept)}
            expected = {name: value for name, value in values.items() if name != "gradients/noise_scale"}
            assert len(expected) > 60
            # each looks at one batch of its window; moments in float32, and a fresh projection gives only zeros
            assert {name: two[step][name] for name in expected} == pytest.approx(
                expected, rel=2e-4, abs=1e-6, nan_ok=True
            )

    def test_with_a_frozen_part_that_each_caches_by_itself(self, tmp_path, tiny_encoder, reviews):
        """After some epochs one process has cached all rows of its batch, and the other hasn't."""
        settings = [*EVERY_STEP, *FROZEN, "trainer.max_epochs=8", "callbacks.early_stopping=null"]
        told = train_in_two(tmp_path, tiny_encoder, reviews, *settings)
        assert "deprecated" not in told
        assert json.loads((tmp_path / "metrics.json").read_text())["stopped"] == "all steps done"
        found = logged(tmp_path, "activations/")
        assert len(found) == 40
        assert len({frozenset(values) for values in found.values()}) == 1
