"""Non-finite gradients: a warning names where they start, and all are counted."""

import pytest
import torch

from tests.training.test_clipping import ScaledOnly

from .gradient_monitoring import CLIPPING, SELDOM, WEIGHT, monitor
from .stepping import QUIET, Foreign, Poison, batches_of, fit, logged, module_of, padded, warnings_of

pytestmark = [*QUIET, pytest.mark.slow]
BIAS = "layer.2.output.dense.bias"
PREFIX = "classifier.encoder.encoder."


def warning(step, name):
    return f"step {step}: non-finite gradient in {name}, the one nearest to the loss"


@pytest.mark.parametrize("family", ["ours", "foreign"])
@pytest.mark.parametrize(
    ("clipping", "value"),
    [
        ("none", float("nan")),
        ("norm", float("inf")),
        ("value", -float("inf")),
        ("norm, out of reach", float("nan")),
    ],
)
def test_the_first_step_and_its_uppermost_parameter_are_named(tmp_path, caplog, clipping, value, family):
    module, batches, prefix = module_of(), batches_of(5), PREFIX
    if family == "foreign":
        module, batches, prefix = Foreign(), [padded(batch) for batch in batches], "model.bert.encoder."
    poison = Poison([3], WEIGHT, BIAS, value=value)
    fit(tmp_path, module, [monitor(), poison], batches, **CLIPPING[clipping])
    assert warnings_of(caplog) == [warning(3, prefix + BIAS)]
    bad = [values["gradients/nonfinite_steps"] for values in logged(tmp_path, "gradients/").values()]
    assert bad[:3] == [0, 0, 1]


@pytest.mark.parametrize("clipping", ["none", "norm"])
def test_the_layer_where_they_start(tmp_path, caplog, clipping):
    """All layers below have them too."""
    module = module_of()
    middle = module.classifier.encoder.encoder.layer[1].output.dense
    middle.register_full_backward_hook(lambda *given: (torch.full_like(given[1][0], float("nan")),))
    fit(tmp_path, module, [monitor()], batches_of(2), **CLIPPING[clipping])
    assert warnings_of(caplog) == [warning(1, f"{PREFIX}layer.1.intermediate.dense.bias")]


@pytest.mark.parametrize(("step", "clipping"), [(2, "norm"), (3, "value"), (6, "norm")])
def test_in_a_step_that_isnt_looked_at(tmp_path, caplog, step, clipping):
    """Also after the last one that is."""
    settings = {"log_every_n_steps": SELDOM, **CLIPPING[clipping]}
    fit(tmp_path, module_of(), [monitor(every_n_steps=4), Poison([step], BIAS)], batches_of(6), **settings)
    assert warnings_of(caplog) == [warning(step, PREFIX + BIAS)]


def test_in_the_first_batch_of_a_window(tmp_path, caplog):
    class First(Poison):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.steps = [trainer.global_step + 1] if batch_idx == 2 else []

    settings = {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0}
    fit(tmp_path, module_of(), [monitor(), First([], WEIGHT)], **settings)
    assert warnings_of(caplog) == [warning(2, PREFIX + WEIGHT)]


def test_float16_finds_its_scale_by_them(tmp_path, caplog):
    """Steps that overflow are counted, without a warning."""
    poison = Poison([2], WEIGHT, value=float("inf"))
    settings = {"plugins": [ScaledOnly()], "gradient_clip_val": 1.0}
    fit(tmp_path, module_of(), [monitor(), poison], **settings)
    assert warnings_of(caplog) == []
    found = logged(tmp_path, "gradients/")
    assert [values["gradients/nonfinite_steps"] for values in found.values()] == [0, 1, 1, 1]
