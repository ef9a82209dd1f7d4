"""Logged gradients against those that the tests' own callback records, and against autograd's."""

from copy import deepcopy

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn import functional as F
from torch.optim import SGD, AdamW

from bert_ft.callbacks.gradual_unfreezing import GradualUnfreezing
from bert_ft.nn.losses import CrossEntropy
from tests.training.test_clipping import ScaledOnly

from .gradient_monitoring import CLIPPING, SELDOM, WEIGHT, monitor
from .stepping import (
    QUIET,
    Foreign,
    Poison,
    assert_histograms,
    batches_of,
    bert_layers,
    fit,
    group_of,
    histograms,
    logged,
    module_of,
    norms,
    of_layers,
    padded,
    total,
)

pytestmark = [*QUIET, pytest.mark.slow]


def assert_norms(values, step, layer_of, rel=1e-5):
    """A step's logged values, those of layers without a gradient 0."""
    for kind, gradients in (("norm", step.gradients), ("norm_clipped", step.clipped)):
        expected = dict.fromkeys(layer_of.values(), 0.0) | norms(gradients, layer_of)
        assert of_layers(values, kind) == pytest.approx(expected, rel=rel, abs=1e-12)
        assert values[f"gradients/{kind}"] == pytest.approx(total(expected), rel=rel)


class TestNorms:
    @pytest.mark.parametrize(
        ("family", "clipping"),
        [*(("bert", clipping) for clipping in CLIPPING), ("albert", "norm"), ("deberta-v2", "norm")],
    )
    def test_of_each_layer_in_each_step(self, tmp_path, family, clipping):
        module = module_of(family)
        steps = fit(tmp_path, module, [monitor()], log_every_n_steps=SELDOM, **CLIPPING[clipping])
        found = logged(tmp_path, "gradients/")
        assert found.keys() == {1, 2, 3, 4}
        is_clipped = clipping in ("norm", "value")
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module))
            assert found[number]["gradients/nonfinite_steps"] == 0
            assert found[number]["gradients/clipped_ratio"] == is_clipped
            pairs = [(step.clipped[name], value) for name, value in step.gradients.items()]
            assert any(not torch.equal(*pair) for pair in pairs) == is_clipped

    def test_are_those_of_autograd(self, tmp_path):
        module = module_of(max_tokens=14, checkpointing=True)
        batch = batches_of(1)[0]
        classifier = deepcopy(module.classifier).double().eval()
        parameters = dict(classifier.named_parameters())
        loss = F.cross_entropy(classifier(batch), batch.as_given(batch.labels))
        values = dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))
        fit(tmp_path, module, [monitor()], [batch])
        layer_of = {name.removeprefix("classifier."): layer for name, layer in group_of(module).items()}
        found = of_layers(logged(tmp_path, "gradients/")[1], "norm")
        assert found == pytest.approx(norms(values, layer_of), rel=1e-4)

    def test_equal_what_the_module_logs(self, tmp_path):
        """The monitor counts the steps after each one, and the module before it."""
        fit(tmp_path, module_of(), [monitor()], gradient_clip_val=0.5)
        found = logged(tmp_path)
        for step in range(1, 5):
            for kind in ("norm", "norm_clipped"):
                expected = found[step - 1][f"train/grad_{kind}"]
                assert found[step][f"gradients/{kind}"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("clipping", [None, 0.5])
    def test_of_a_window_are_those_of_its_weighted_mean(self, tmp_path, clipping):
        """Windows of two, the last of one; batches of different sizes, and weighted classes."""
        module = module_of(loss=CrossEntropy(class_weights=[0.5, 1.0, 4.0]))
        batches = [*batches_of(2), *batches_of(3, [4, 4])]
        settings = {"accumulate_grad_batches": 2, "gradient_clip_val": clipping, "log_every_n_steps": SELDOM}
        steps = fit(tmp_path, module, [monitor()], batches, **settings)
        found = logged(tmp_path, "gradients/")
        assert found.keys() == {1, 2, 3}
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module))

    @pytest.mark.parametrize(
        ("precision", "clipping"), [("bf16-mixed", "none"), ("bf16-true", "norm"), ("64-true", "norm")]
    )
    def test_in_other_precisions(self, tmp_path, precision, clipping):
        module = module_of()
        steps = fit(tmp_path, module, [monitor()], precision=precision, **CLIPPING[clipping])
        # bf16-true has bf16 gradients, whose norm torch rounds as well
        rel = 2**-7 if precision == "bf16-true" else 1e-5
        found = logged(tmp_path, "gradients/")
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module), rel)
            assert found[number]["gradients/clipped_ratio"] == (clipping == "norm")

    def test_of_layers_that_join_later(self, tmp_path):
        module = module_of(freeze_layers=1)
        layer_of = group_of(module_of())
        steps = fit(tmp_path, module, [GradualUnfreezing(), monitor()], batches_of(1), max_epochs=4)
        found = logged(tmp_path, "gradients/")
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, layer_of)
        zero = [sum(norm == 0 for norm in of_layers(values, "norm").values()) for values in found.values()]
        assert zero == [4, 3, 2, 2]

    @pytest.mark.parametrize(
        ("clipping", "optimizer"),
        [("none", SGD), ("norm", AdamW), ("value", SGD), ("norm, out of reach", AdamW)],
    )
    def test_of_a_foreign_module(self, tmp_path, clipping, optimizer):
        module = Foreign(optimizer=optimizer)
        batches = [padded(batch) for batch in batches_of(5)]
        settings = {"accumulate_grad_batches": 2, **CLIPPING[clipping]}
        steps = fit(tmp_path, module, [monitor()], batches, **settings)
        found = logged(tmp_path, "gradients/")
        assert found.keys() == {1, 2, 3}
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, bert_layers(module))
            assert found[number]["gradients/clipped_ratio"] == (clipping in ("norm", "value"))

    def test_of_a_module_that_clears_its_gradients_after_the_step_there_are_none(self, tmp_path):
        class Clears(Foreign):
            def optimizer_step(self, *arguments):
                super().optimizer_step(*arguments)
                self.zero_grad()

        batches = [padded(batch) for batch in batches_of(2)]
        fit(tmp_path, Clears(), [monitor(histogram_every_n_steps=1)], batches)
        assert logged(tmp_path, "gradients/") == {}


class TestClippedSteps:
    def test_all_count_where_the_module_clips(self, tmp_path):
        """Also between two steps that are looked at."""
        module = module_of()
        limits = [0.5, 1e6, 1e6, 0.5, 0.5, 1e6, 0.5]

        class Limits(Callback):
            def on_before_optimizer_step(self, trainer, pl_module, optimizer):
                trainer.gradient_clip_val = limits[trainer.global_step]

        settings = {"gradient_clip_val": 0.5, "log_every_n_steps": SELDOM}
        fit(tmp_path, module, [monitor(every_n_steps=3), Limits()], batches_of(7), **settings)
        found = logged(tmp_path, "gradients/")
        ratios = {step: values["gradients/clipped_ratio"] for step, values in found.items()}
        assert ratios == pytest.approx({1: 1, 3: 1 / 3, 6: 3 / 6})

    def test_a_norm_just_below_the_limit_isnt_clipped(self, tmp_path):
        (step,) = fit(tmp_path / "free", module_of(), [monitor()], batches_of(1))
        norm = total(norms(step.gradients, group_of(module_of())))
        for factor, clipped in ((1.01, 0), (0.99, 1)):
            folder = tmp_path / str(factor)
            fit(folder, module_of(), [monitor()], batches_of(1), gradient_clip_val=factor * norm)
            assert logged(folder, "gradients/")[1]["gradients/clipped_ratio"] == clipped


@pytest.mark.parametrize(
    ("is_foreign", "fused", "clipping"),
    [(True, True, "none"), (True, False, "norm"), (False, True, "norm"), (False, False, "none")],
)
def test_scaled_gradients_are_reported_as_others_are(tmp_path, fused, clipping, is_foreign):
    """By a power of two, so that all digits stay."""
    found = {}
    for name in ("scaled", "plain"):
        if is_foreign:
            module = Foreign(optimizer=lambda parameters, lr: AdamW(parameters, lr, fused=fused))
            batches = [padded(batch) for batch in batches_of(4)]
        else:
            module = module_of()
            module.optimizer.algorithm.keywords["fused"] = fused
            batches = batches_of(4)
        settings = {"accumulate_grad_batches": 2, **CLIPPING[clipping]}
        settings |= {"plugins": [ScaledOnly()]} if name == "scaled" else {}
        fit(tmp_path / name, module, [monitor(noise_scale=True)], batches, **settings)
        found[name] = logged(tmp_path / name, "gradients/")
    assert found["scaled"].keys() == found["plain"].keys() == {1, 2}
    for step, values in found["plain"].items():
        assert found["scaled"][step] == pytest.approx(values, rel=1e-6)


class TestHistograms:
    def test_are_of_the_clipped_gradients(self, tmp_path):
        module = module_of()
        looking = monitor(every_n_steps=2, histogram_every_n_steps=4)
        steps = fit(tmp_path, module, [looking], batches_of(5), gradient_clip_val=0.5)
        assert_histograms(tmp_path, "gradients", {n: steps[n - 1].clipped for n in (1, 4)}, group_of(module))

    def test_leave_out_what_isnt_finite(self, tmp_path):
        looking = monitor(histogram_every_n_steps=1)
        fit(tmp_path, module_of(), [looking, Poison([2], WEIGHT)], batches_of(2))
        assert histograms(tmp_path, "gradients/layer.1").keys() == {1}
        assert histograms(tmp_path, "gradients/layer.0").keys() == {1, 2}
