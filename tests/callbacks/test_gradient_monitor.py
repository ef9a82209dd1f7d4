"""Logged gradients against those that a callback of the tests' own noted down, and against autograd's."""

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


def first_losses(module, batch):
    """``(loss, parameters)`` of the weights at the start."""
    classifier = deepcopy(module.classifier).double().eval()
    return F.cross_entropy(classifier(batch), batch.as_given(batch.labels)), dict(
        classifier.named_parameters()
    )


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
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module))
            assert found[number]["gradients/nonfinite_steps"] == 0
            assert found[number]["gradients/clipped_ratio"] == (clipping in ("norm", "value"))
            changed = any(
                not torch.equal(step.clipped[name], value) for name, value in step.gradients.items()
            )
            assert changed == (clipping in ("norm", "value"))

    def test_are_those_of_autograd(self, tmp_path):
        module = module_of(max_tokens=14, checkpointing=True)
        batch = batches_of(1)[0]
        loss, parameters = first_losses(module, batch)
        values = dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))
        fit(tmp_path, module, [monitor()], [batch])
        layer_of = {name.removeprefix("classifier."): layer for name, layer in group_of(module).items()}
        assert of_layers(logged(tmp_path, "gradients/")[1], "norm") == pytest.approx(
            norms(values, layer_of), rel=1e-4
        )

    def test_equal_what_the_module_logs(self, tmp_path):
        """It counts the steps that are done, and the module those that were."""
        fit(tmp_path, module_of(), [monitor()], gradient_clip_val=0.5)
        found = logged(tmp_path)
        for step in range(1, 5):
            assert found[step]["gradients/norm"] == pytest.approx(
                found[step - 1]["train/grad_norm"], rel=1e-6
            )
            assert found[step]["gradients/norm_clipped"] == pytest.approx(
                found[step - 1]["train/grad_norm_clipped"], rel=1e-5
            )

    @pytest.mark.parametrize("clipping", [None, 0.5])
    def test_of_a_window_are_those_of_its_mean(self, tmp_path, clipping):
        """Windows of two, the last of one; batches of other sizes."""
        module = module_of()
        batches = [*batches_of(2), *batches_of(3, [4, 4])]
        settings = {"accumulate_grad_batches": 2, "gradient_clip_val": clipping, "log_every_n_steps": SELDOM}
        steps = fit(tmp_path, module, [monitor()], batches, **settings)
        found = logged(tmp_path, "gradients/")
        assert found.keys() == {1, 2, 3}
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module))

    @pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
    @pytest.mark.parametrize("clipping", ["none", "norm"])
    def test_in_other_precisions(self, tmp_path, precision, clipping):
        module = module_of()
        steps = fit(tmp_path, module, [monitor()], precision=precision, **CLIPPING[clipping])
        # bf16-true has bf16 gradients, whose norm torch rounds, too
        rel = 2**-7 if precision == "bf16-true" else 1e-5
        found = logged(tmp_path, "gradients/")
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module), rel)
            assert found[number]["gradients/clipped_ratio"] == (clipping == "norm")

    def test_of_frozen_layers_are_zero(self, tmp_path):
        module = module_of(freeze_layers=2)
        steps = fit(tmp_path, module, [monitor()], gradient_clip_val=0.5)
        layer_of = group_of(module_of())
        for number, step in enumerate(steps, start=1):
            values = logged(tmp_path, "gradients/")[number]
            assert_norms(values, step, layer_of)
            zero = {layer for layer, norm in of_layers(values, "norm").items() if norm == 0}
            assert zero == {"embeddings", "layer.0", "layer.1"}

    def test_of_layers_that_join_later(self, tmp_path):
        module = module_of()
        steps = fit(tmp_path, module, [GradualUnfreezing(), monitor()], batches_of(2), max_epochs=5)
        found = logged(tmp_path, "gradients/")
        for number, step in enumerate(steps, start=1):
            assert_norms(found[number], step, group_of(module_of()))
        zero = [sum(norm == 0 for norm in of_layers(values, "norm").values()) for values in found.values()]
        assert zero == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]

    @pytest.mark.parametrize("clipping", CLIPPING)
    @pytest.mark.parametrize("optimizer", [SGD, AdamW])
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

        module = Clears()
        fit(
            tmp_path, module, [monitor(histogram_every_n_steps=1)], [padded(batch) for batch in batches_of(2)]
        )
        assert logged(tmp_path, "gradients/") == {}


class TestClippedSteps:
    def test_all_count_where_the_module_clips(self, tmp_path):
        """Between two steps that are looked at, too."""
        module = module_of()
        limits = [0.5, 1e6, 1e6, 0.5, 0.5, 1e6, 0.5]

        class Limits(Callback):
            def on_before_optimizer_step(self, trainer, pl_module, optimizer):
                trainer.gradient_clip_val = limits[trainer.global_step]

        settings = {"gradient_clip_val": 0.5, "log_every_n_steps": SELDOM}
        fit(tmp_path, module, [monitor(every_n_steps=3), Limits()], batches_of(7), **settings)
        found = logged(tmp_path, "gradients/")
        assert {step: values["gradients/clipped_ratio"] for step, values in found.items()} == {
            1: 1,
            3: pytest.approx(1 / 3),
            6: pytest.approx(3 / 6),
        }

    def test_a_norm_just_below_the_limit_isnt_clipped(self, tmp_path):
        (step,) = fit(tmp_path / "free", module_of(), [monitor()], batches_of(1))
        norm = total(norms(step.gradients, group_of(module_of())))
        for factor, clipped in ((1.01, 0), (0.99, 1)):
            folder = tmp_path / str(factor)
            fit(folder, module_of(), [monitor()], batches_of(1), gradient_clip_val=factor * norm)
            assert logged(folder, "gradients/")[1]["gradients/clipped_ratio"] == clipped


@pytest.mark.parametrize(
    ("is_foreign", "fused", "clipping"),
    [
        (is_foreign, fused, clipping)
        for is_foreign in (True, False)
        for fused in (True, False)
        for clipping in ("none", "norm")
        if not (is_foreign and fused and clipping == "norm")  # which Lightning refuses
    ],
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
        settings = {"gradient_clip_val": 0.5}
        looking = monitor(every_n_steps=2, histogram_every_n_steps=4)
        steps = fit(tmp_path, module, [looking], batches_of(5), **settings)
        layer_of = group_of(module)
        for layer in set(layer_of.values()):
            found = histograms(tmp_path, f"gradients/{layer}")
            assert found.keys() == {1, 4}
            for number, histogram in found.items():
                clipped = steps[number - 1].clipped
                values = torch.cat(
                    [value.flatten() for name, value in clipped.items() if layer_of[name] == layer]
                )
                assert histogram.num == len(values)  # few enough for all
                assert histogram.min == pytest.approx(values.min().item(), rel=1e-6)
                assert histogram.max == pytest.approx(values.max().item(), rel=1e-6)

    def test_leave_out_what_isnt_finite(self, tmp_path):
        looking = monitor(histogram_every_n_steps=1)
        fit(tmp_path, module_of(), [looking, Poison([2], WEIGHT)], batches_of(2))
        assert histograms(tmp_path, "gradients/layer.1").keys() == {1}
        assert histograms(tmp_path, "gradients/layer.0").keys() == {1, 2}


def test_class_weights_are_part_of_the_gradient(tmp_path):
    module = module_of(loss=CrossEntropy(class_weights=[0.5, 1.0, 4.0]))
    steps = fit(tmp_path, module, [monitor()], batches_of(4, [3, 5]), accumulate_grad_batches=2)
    for number, step in enumerate(steps, start=1):
        assert_norms(logged(tmp_path, "gradients/")[number], step, group_of(module))
