"""Logged activations against the tests' own pass, with the step's weights on the step's batch."""

import copy

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn import functional as F
from transformers import BatchEncoding

from bert_ft.callbacks.activations import ActivationMonitor
from bert_ft.data.packing import padding_mask, unpad
from bert_ft.models.encoding import is_packed
from bert_ft.models.sub_blocks import encoder_sub_blocks, head_sub_blocks
from bert_ft.nn.statistics import HISTOGRAM_VALUES, RAW
from tests.models.capturing import captured
from tests.models.families import FAMILIES, random_batch
from tests.moments import moments

from .stepping import (
    QUIET,
    Foreign,
    batches_of,
    fit,
    histograms,
    logged,
    module_of,
    padded,
    with_parameters,
)

pytestmark = [*QUIET, pytest.mark.slow]
NEAR_ZERO = 0.05


def monitor(**settings):
    return ActivationMonitor(**{"every_n_steps": 1, "near_zero": NEAR_ZERO, **settings})


def pass_of(classifier, batch, run=None):
    """Name → values of real tokens."""
    blocks = encoder_sub_blocks(classifier.encoder) + head_sub_blocks(classifier, classifier.encoder)
    seen = captured(blocks, run or (lambda: classifier(batch)))

    def tokens(value):
        return value[0] if is_packed(classifier.encoder) else unpad(value, batch)

    return {name: value if name.startswith("head.") else tokens(value) for name, value in seen.items()}


def pass_of_step(module, step):
    return pass_of(with_parameters(module.classifier, step.before), step.batches[-1])


def expected(values):
    return {
        f"activations/{name}/{statistic}": number
        for name, value in values.items()
        for statistic, number in moments(value, NEAR_ZERO).items()
    }


def assert_close(found, values, rel=1e-4):
    wanted = expected(values)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        size = wanted[f"{name.rsplit('/', 1)[0]}/max_abs"]
        # a fourth power, and NaN where a fresh projection gives zeros
        tolerance = 10 * rel if name.endswith("kurtosis") else rel
        assert value == pytest.approx(wanted[name], rel=tolerance, abs=rel * size, nan_ok=True), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(tmp_path, family):
    """In each step; padded families without their padding."""
    module = module_of(family)
    steps = fit(tmp_path, module, [monitor()], batches_of(2))
    found = logged(tmp_path, "activations/")
    assert found.keys() == {1, 2}
    for number, step in enumerate(steps, start=1):
        assert_close(found[number], pass_of_step(module, step))
    assert found[1] != found[2]


@pytest.mark.parametrize("family", ["bert", "albert", "distilbert", "modernbert", "deberta"])
def test_the_head_of_a_linear_classifier(tmp_path, family):
    """Not counting the call of a pooler that transformers makes on the packed tokens."""
    module = module_of(family, kind="linear")
    (step,) = fit(tmp_path, module, [monitor()], batches_of(1))
    values = pass_of_step(module, step)
    heads = [value for name, value in values.items() if name.startswith("head.")]
    assert {len(value) for value in heads} == {len(step.batches[0])}
    assert_close(logged(tmp_path, "activations/")[1], values)


def test_padding_would_make_a_difference(tmp_path):
    """The negative control of the tests above."""
    module = module_of("deberta")
    (step,) = fit(tmp_path, module, [monitor()], batches_of(1))
    classifier = with_parameters(module.classifier, step.before)
    with_padding = captured(encoder_sub_blocks(classifier.encoder), lambda: classifier(step.batches[0]))
    found = logged(tmp_path, "activations/")[1]
    for name, value in with_padding.items():
        others = {f"activations/{name}/{statistic}": n for statistic, n in moments(value, NEAR_ZERO).items()}
        assert any(abs(found[tag] - other) > 0.01 * abs(other) for tag, other in others.items()), name


class Counting(ActivationMonitor):
    """Keeps how many values each block had."""

    def scalars(self, readings, step):
        self.counts = sorted(readings.view(-1, len(RAW))[:, 0].tolist())
        return super().scalars(readings, step)


PIECES, CHECKPOINTING, TWO = {"max_tokens": 14}, {"checkpointing": True}, {"r_drop_weight": 1.0}


@pytest.mark.parametrize(
    ("family", "technique"),
    [
        ("bert", CHECKPOINTING),
        ("bert", PIECES | CHECKPOINTING | TWO),
        ("albert", PIECES | TWO),
        ("deberta", PIECES | CHECKPOINTING),
        ("deberta", TWO),
    ],
    ids=str,
)
def test_nothing_is_counted_twice(tmp_path, family, technique):
    """A recomputation in the backward pass isn't counted; two equal passes may be, which keeps the moments."""
    module = module_of(family, **technique)
    looking = Counting(every_n_steps=1, near_zero=NEAR_ZERO)
    (step,) = fit(tmp_path, module, [looking], batches_of(1))
    values = pass_of_step(module, step)
    assert_close(logged(tmp_path, "activations/")[1], values)
    passes = 2 if "r_drop_weight" in technique else 1
    assert looking.counts == sorted(passes * value.numel() for value in values.values())


@pytest.mark.parametrize("changes", [{}, PIECES | CHECKPOINTING], ids=str)
def test_both_passes_of_fgm(tmp_path, changes):
    """The second is that of the perturbed texts; the backward pass between them isn't counted."""
    epsilon = 2.0
    module = module_of(adversarial_epsilon=epsilon, **changes)
    (step,) = fit(tmp_path, module, [monitor()], batches_of(1))
    classifier, batch = with_parameters(module.classifier, step.before), step.batches[0]
    given = []

    def perturb(module, arguments, output):
        given.append(output)
        return output + perturbation

    perturbation = 0.0
    classifier.encoder.get_input_embeddings().register_forward_hook(perturb)
    clean = pass_of(
        classifier,
        batch,
        lambda: given.append(F.cross_entropy(classifier(batch), batch.as_given(batch.labels))),
    )
    embeddings, loss = given
    (gradient,) = torch.autograd.grad(loss, embeddings)
    parts = gradient[0].split(list(batch.lengths))
    perturbation = torch.cat([epsilon * part / part.norm() for part in parts])
    perturbed = pass_of(classifier, batch)
    both = {name: torch.cat([value, perturbed[name]]) for name, value in clean.items()}
    assert_close(logged(tmp_path, "activations/")[1], both)
    with pytest.raises(AssertionError):  # the negative control
        assert_close(logged(tmp_path, "activations/")[1], clean)


def test_bf16(tmp_path):
    """Moments are those of the rounded values: with sums in bf16 they would be off by some percent."""
    module = module_of()
    (step,) = fit(tmp_path, module, [monitor()], batches_of(1, [40, 50, 60]), precision="bf16-mixed")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = pass_of_step(module, step)
    assert values["layer.0.ffn"].dtype == torch.bfloat16
    assert_close(logged(tmp_path, "activations/")[1], values)


def test_some_steps_of_windows_are_looked_at_in_their_last_batch(tmp_path):
    """Nine batches in windows of two: the fifth has one. Frozen layers are reported too."""
    module = module_of(freeze_layers=2)
    steps = fit(tmp_path, module, [monitor(every_n_steps=5)], batches_of(9), accumulate_grad_batches=2)
    found = logged(tmp_path, "activations/")
    assert found.keys() == {1, 5}
    for number, values in found.items():
        assert_close(values, pass_of_step(module, steps[number - 1]))


class TestAForeignModule:
    @pytest.mark.parametrize(
        ("family", "kind"), [("bert", dict), ("modernbert", BatchEncoding), ("deberta-v2", BatchEncoding)]
    )
    def test_equals_ours(self, tmp_path, family, kind):
        """Its padding is left out, however much there is."""
        batches = batches_of(1)
        foreign = Foreign(family)
        (step,) = fit(tmp_path, foreign, [monitor()], [kind(padded(batches[0], extra=7))])
        found = logged(tmp_path, "activations/")[1]
        model = copy.deepcopy(foreign.model).eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(step.before[f"model.{name}"])
        blocks = encoder_sub_blocks(model.base_model) + head_sub_blocks(foreign, foreign.model.base_model)
        heads = {block.names[0]: block for block in blocks if block.kind in ("linear", "tanh")}
        assert heads
        seen = captured(encoder_sub_blocks(model.base_model), lambda: model(**padded(batches[0])))
        values = {name: value[padding_mask(batches[0])] for name, value in seen.items()}
        of_layers = {name: value for name, value in found.items() if "/layer." in name}
        assert_close(of_layers, values)
        assert {name.split("/")[1] for name in found if "/layer." not in name} == heads.keys()

    def test_a_mask_by_position(self, tmp_path):
        class Positional(Foreign):
            def training_step(self, batch, batch_idx):
                states = self.model.base_model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
                return F.cross_entropy(self.model.classifier(states[:, 0]), batch["labels"])

        batch = batches_of(1)[0]
        names = ("by keyword", "by position")
        for name, kind in zip(names, (Foreign, Positional), strict=True):
            fit(tmp_path / name, kind(), [monitor()], [padded(batch, extra=7)])
        one, other = (logged(tmp_path / name, "activations/layer.")[1] for name in names)
        assert other == pytest.approx(one, rel=1e-5)

    def test_checkpointing(self, tmp_path):
        batch, found = batches_of(1)[0], []
        for reentrant in (None, True, False):
            module, folder = Foreign(), tmp_path / str(reentrant)
            if reentrant is not None:
                module.model.activation_checkpointing_enable({"use_reentrant": reentrant})
            fit(folder, module, [monitor()], [padded(batch)])
            found.append(logged(folder, "activations/")[1])
        assert found[1] == pytest.approx(found[0], rel=1e-5)
        assert found[2] == pytest.approx(found[0], rel=1e-5)


class TestHooks:
    class Watch(Callback):
        """Number of hooks in each forward pass, and after it."""

        def __init__(self):
            self.inside, self.outside = [], []

        def setup(self, trainer, pl_module, stage):
            step = pl_module.training_step

            def watched(*arguments):
                self.inside.append(hooks(pl_module))
                return step(*arguments)

            pl_module.training_step = watched

        def on_after_backward(self, trainer, pl_module):
            self.outside.append(hooks(pl_module))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.outside.append(hooks(pl_module))

    def test_are_only_in_the_forward_pass_of_a_step_that_is_looked_at(self, tmp_path):
        watch, module = self.Watch(), module_of()
        fit(tmp_path, module, [monitor(every_n_steps=2), watch], batches_of(8), accumulate_grad_batches=2)
        assert [batch for batch, number in enumerate(watch.inside) if number] == [1, 3, 7]
        assert not any(watch.outside)
        assert hooks(module) == 0

    @pytest.mark.parametrize("where", ["in the encoder", "in the loss", "in the backward pass"])
    def test_are_gone_after_an_exception(self, tmp_path, where):
        module = module_of()

        def fail(*arguments):
            raise RuntimeError("on purpose")

        if where == "in the encoder":
            module.classifier.encoder.encoder.layer[1].register_forward_hook(fail)
        elif where == "in the loss":
            module.objective.loss.register_forward_hook(fail)
        else:
            next(module.parameters()).register_hook(fail)
        before = hooks(module)
        looking = monitor()
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(tmp_path, module, [looking])
        assert hooks(module) == before
        assert looking.reading is None

    @pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
    def test_are_gone_after_a_batch_that_is_skipped(self, tmp_path):
        class Skips(Foreign):
            def training_step(self, batch, batch_idx):
                loss = super().training_step(batch, batch_idx)
                return loss if batch_idx % 2 else None

        watch, module = self.Watch(), Skips()
        batches = [padded(batch) for batch in batches_of(4)]
        fit(tmp_path, module, [monitor(), watch], batches)
        assert not any(watch.outside)
        assert hooks(module) == 0
        assert all(len(values) > 5 for values in logged(tmp_path, "activations/").values())


def hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


class TestHistograms:
    def test_show_the_values_of_some_steps(self, tmp_path):
        module = module_of()
        looking = monitor(every_n_steps=2, histogram_every_n_steps=4)
        steps = fit(tmp_path, module, [looking], batches_of(9))
        assert logged(tmp_path, "activations/").keys() == {1, 2, 4, 6, 8}
        for name, value in pass_of_step(module, steps[3]).items():
            found = histograms(tmp_path, f"activations/{name}")
            assert found.keys() == {1, 4, 8}
            histogram = found[4]
            assert histogram.num == value.numel()
            assert histogram.min == pytest.approx(value.min().item(), rel=1e-4)
            assert histogram.max == pytest.approx(value.max().item(), rel=1e-4)
            error = 1e-4 * value.abs().sum().item()
            assert histogram.sum == pytest.approx(value.double().sum().item(), abs=error)

    def test_are_of_a_sample_over_all_tokens(self, tmp_path):
        module = module_of()
        (step,) = fit(tmp_path, module, [monitor(histogram_every_n_steps=1)], [random_batch([60] * 20)])
        values = pass_of_step(module, step)["layer.0.hidden"]
        (histogram,) = histograms(tmp_path, "activations/layer.0.hidden").values()
        assert HISTOGRAM_VALUES / 2 < histogram.num < 2 * HISTOGRAM_VALUES < values.numel()
        error = values.std() / HISTOGRAM_VALUES**0.5
        assert abs(histogram.sum / histogram.num - values.mean()) < 5 * error

    def test_leave_out_what_isnt_finite(self, tmp_path):
        """TensorBoard refuses it, and training would end."""
        module = module_of()
        with torch.no_grad():
            module.classifier.encoder.encoder.layer[1].output.dense.bias[0] = float("nan")
        fit(tmp_path, module, [monitor(histogram_every_n_steps=1)], batches_of(1))
        assert histograms(tmp_path, "activations/layer.0.ffn")
        with pytest.raises(KeyError):
            histograms(tmp_path, "activations/layer.1.ffn")
