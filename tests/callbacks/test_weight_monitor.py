"""Logged norms, updates and distances against the weights that the tests' own callback records."""

import pytest
import torch
from torch.optim import AdamW

from bert_ft.callbacks.averaging import ExponentialAveraging, StochasticAveraging
from bert_ft.callbacks.gradual_unfreezing import GradualUnfreezing
from bert_ft.callbacks.weights import WeightMonitor
from bert_ft.kernels.split_embedding import SplitEmbedding
from tests.models.families import FAMILIES

from .monitored import Log
from .stepping import (
    QUIET,
    Foreign,
    Recorder,
    assert_histograms,
    batches_of,
    bert_layers,
    fit,
    group_of,
    histograms,
    loader,
    logged,
    minus,
    module_of,
    norms,
    of_layers,
    padded,
    trainer_of,
    warnings_of,
)

pytestmark = [*QUIET, pytest.mark.slow]


def monitor(**settings):
    return WeightMonitor(**{"every_n_steps": 1, "distance": True, **settings})


def assert_step(values, step, initial, layer_of, rel=1e-5):
    before, change = norms(step.before, layer_of), norms(minus(step.after, step.before), layer_of)
    assert of_layers(values, "norm") == pytest.approx(norms(step.after, layer_of), rel=rel)
    ratio = {layer: change[layer] / norm for layer, norm in before.items()}
    # a change is a difference of rounded weights
    assert of_layers(values, "update_ratio") == pytest.approx(ratio, rel=max(rel, 1e-4))
    distance = norms(minus(step.after, initial), layer_of)
    assert of_layers(values, "distance") == pytest.approx(distance, rel=max(rel, 1e-4), abs=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(tmp_path, family):
    module = module_of(family)
    steps = fit(tmp_path, module, [monitor()])
    found = logged(tmp_path, "weights/")
    assert found.keys() == {1, 2, 3, 4}
    for number, step in enumerate(steps, start=1):
        assert_step(found[number], step, steps[0].before, group_of(module))
    first, last = found[1], found[4]
    assert last["weights/embeddings/distance"] > first["weights/embeddings/distance"] > 0


def test_distances_are_left_out(tmp_path):
    fit(tmp_path, module_of(), [ExponentialAveraging(), monitor(distance=False)], batches_of(1))
    kinds = {name.rsplit("/", 1)[1] for name in logged(tmp_path, "weights/")[1]}
    assert kinds == {"norm", "update_ratio"}


def test_some_steps_of_windows_are_looked_at(tmp_path):
    module = module_of()
    steps = fit(tmp_path, module, [monitor(every_n_steps=3)], batches_of(13), accumulate_grad_batches=2)
    found = logged(tmp_path, "weights/")
    assert found.keys() == {1, 3, 6}
    for number, values in found.items():
        assert_step(values, steps[number - 1], steps[0].before, group_of(module))


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true", "bf16-true"])
def test_other_precisions(tmp_path, precision):
    """bf16-true rounds the weights before they are trained: that is part of the distance."""
    module = module_of()
    initial = {name: value.detach().clone() for name, value in module.named_parameters()}
    steps = fit(tmp_path, module, [monitor()], precision=precision)
    rel = 2**-7 if precision == "bf16-true" else 1e-5
    for number, step in enumerate(steps, start=1):
        assert_step(logged(tmp_path, "weights/")[number], step, initial, group_of(module), rel)


def test_frozen_layers_stay_where_they_are(tmp_path):
    module = module_of(freeze_layers=1)
    steps = fit(tmp_path, module, [monitor()])
    for number, step in enumerate(steps, start=1):
        values = logged(tmp_path, "weights/")[number]
        assert_step(values, step, steps[0].before, group_of(module))
        moved = {layer for layer, ratio in of_layers(values, "update_ratio").items() if ratio}
        assert moved == {"layer.1", "layer.2", "head"}


def test_layers_that_join_later(tmp_path):
    fit(tmp_path, module_of(), [GradualUnfreezing(), monitor()], batches_of(1), max_epochs=5)
    for kind in ("update_ratio", "distance"):
        found = [of_layers(values, kind).values() for values in logged(tmp_path, "weights/").values()]
        assert [sum(value > 0 for value in values) for values in found] == [1, 2, 3, 4, 5]


def test_a_foreign_module(tmp_path):
    module = Foreign(optimizer=AdamW)
    layer_of = bert_layers(module)
    steps = fit(tmp_path, module, [monitor()], [padded(batch) for batch in batches_of(2)])
    for number, step in enumerate(steps, start=1):
        assert_step(logged(tmp_path, "weights/")[number], step, steps[0].before, layer_of)


def test_rows_that_no_text_uses_are_weights_like_others(tmp_path):
    """Their decay is applied late; a whole embedding gives the same values."""
    used = torch.zeros(FAMILIES["bert"]["vocab_size"], dtype=torch.bool)
    used[torch.cat([batch.input_ids for batch in batches_of()])] = True
    assert 0 < used.sum() < len(used)
    found = {}
    for name in ("whole", "split"):
        module = module_of()
        encoder = module.classifier.encoder
        if name == "split":
            encoder.set_input_embeddings(SplitEmbedding(encoder.get_input_embeddings(), used))
        fit(tmp_path / name, module, [monitor(every_n_steps=2)])
        found[name] = logged(tmp_path / name, "weights/")
    assert found["split"].keys() == found["whole"].keys() == {1, 2, 4}
    for step, values in found["whole"].items():
        assert found["split"][step] == pytest.approx(values, rel=1e-4)


class TestAveraging:
    @pytest.mark.parametrize(
        ("averaging", "weights_of"),
        [
            # step → the share of each step's weights in the average
            (
                lambda: StochasticAveraging(start_ratio=0.5),
                {2: [0, 1], 3: [0, 1 / 2, 1 / 2], 4: [0, 1 / 3, 1 / 3, 1 / 3]},
            ),
            (
                lambda: ExponentialAveraging(decay=0.1),
                {1: [1], 2: [0.1, 0.9], 3: [0.01, 0.09, 0.9], 4: [1e-3, 9e-3, 0.09, 0.9]},
            ),
        ],
        ids=["swa", "ema"],
    )
    def test_its_drift(self, tmp_path, averaging, weights_of):
        module = module_of()
        steps = fit(tmp_path, module, [averaging(), monitor()])
        found = logged(tmp_path, "weights/")
        drifts = {step: of_layers(values, "averaging_drift") for step, values in found.items()}
        assert {step for step, values in drifts.items() if values} == weights_of.keys()
        for number, shares in weights_of.items():
            after = [step.after for step in steps]
            average = {
                name: sum(share * each[name].double() for share, each in zip(shares, after, strict=False))
                for name in after[0]
            }
            drift = norms(minus(steps[number - 1].after, average), group_of(module))
            assert drifts[number] == pytest.approx(drift, rel=1e-3, abs=1e-5)
            assert_step(found[number], steps[number - 1], steps[0].before, group_of(module))


class TestResume:
    def test_measures_from_where_training_began(self, tmp_path):
        """Distances are those from the weights before the first start, and steps are counted on."""
        whole = fit(tmp_path / "whole", module_of(), [monitor()], batches_of(4), max_epochs=2)
        expected = logged(tmp_path / "whole", "weights/")
        assert expected.keys() == set(range(1, 9))
        first = trainer_of(tmp_path / "two", [monitor()], max_epochs=1)
        module = module_of()
        first.fit(module, loader(batches_of(4)))
        first.save_checkpoint(tmp_path / "at_4.ckpt")
        recorder = Recorder()
        second = trainer_of(tmp_path / "two", [recorder, monitor(every_n_steps=2)], max_epochs=2)
        second.fit(module_of(), loader(batches_of(4)), ckpt_path=tmp_path / "at_4.ckpt", weights_only=True)
        found = logged(tmp_path / "two", "weights/")
        assert found.keys() == {1, 2, 3, 4, 6, 8}
        for step, values in found.items():
            assert values == pytest.approx(expected[step], rel=1e-6)
        for number, step in enumerate(recorder.steps, start=5):
            if number in found:
                assert_step(found[number], step, whole[0].before, group_of(module))

    def test_without_the_weights_that_training_began_with_there_are_no_distances(self, tmp_path, caplog):
        """As after a pre-training stage, which a resumed run doesn't repeat; an average still drifts."""
        module = module_of()
        module.has_initial_weights = False
        fit(tmp_path, module, [ExponentialAveraging(), monitor()])
        assert ["distance ends here" in message for message in warnings_of(caplog)] == [True]
        found = logged(tmp_path, "weights/")[4]
        assert not of_layers(found, "distance")
        assert of_layers(found, "norm")
        assert of_layers(found, "averaging_drift")


class TestMemory:
    def test_copies_are_released(self, tmp_path):
        looking = monitor()
        trainer_of(tmp_path, [looking]).fit(module_of(), loader(batches_of(2)))
        assert looking._initial == looking._previous == []

    def test_after_an_exception_too(self, tmp_path):
        looking, module = monitor(), module_of()

        def fail(*arguments):
            raise RuntimeError("on purpose")

        module.optimizer_step = fail
        with pytest.raises(RuntimeError, match="on purpose"):
            trainer_of(tmp_path, [looking]).fit(module, loader(batches_of(2)))
        assert looking._initial == looking._previous == []

    def test_any_logger_will_do(self, tmp_path):
        log = Log()
        for logger in (log, False):
            looking = monitor(histogram_every_n_steps=1)
            trainer_of(tmp_path, [looking], logger=logger).fit(module_of(), loader(batches_of(2)))
        assert log.of("weights/").keys() == {1, 2}


class TestHistograms:
    def test_are_of_each_layer_after_the_step(self, tmp_path):
        module = module_of()
        looking = monitor(every_n_steps=2, histogram_every_n_steps=4)
        steps = fit(tmp_path, module, [looking], batches_of(5))
        assert_histograms(tmp_path, "weights", {n: steps[n - 1].after for n in (1, 4)}, group_of(module))

    def test_leave_out_what_isnt_finite(self, tmp_path):
        module = module_of()  # a weight that nothing reads, for otherwise all would follow
        module.classifier.head.register_parameter("unread", torch.nn.Parameter(torch.tensor([float("inf")])))
        fit(tmp_path, module, [monitor(histogram_every_n_steps=1)], batches_of(1))
        assert histograms(tmp_path, "weights/layer.0")
        with pytest.raises(KeyError):
            histograms(tmp_path, "weights/head")
