"""Gradients that aren't finite: where they began is named, and all are counted."""

import pytest
import torch

from tests.training.test_clipping import ScaledOnly

from .gradient_monitoring import CLIPPING, SELDOM, WEIGHT, monitor
from .stepping import QUIET, Foreign, Poison, batches_of, fit, logged, module_of, padded, warnings_of

pytestmark = [*QUIET, pytest.mark.slow]
BIAS = "layer.2.output.dense.bias"
PREFIX = "classifier.encoder.encoder."


def warning(step, name):
    return f"step {step}: the gradient of {name} isn't finite, the first on the way back from the loss"


class TestNonfinite:
    @pytest.mark.parametrize(
        ("clipping", "value"),
        [
            *((clipping, float("nan")) for clipping in CLIPPING),
            ("norm", float("inf")),
            ("value", -float("inf")),
        ],
    )
    def test_the_first_step_and_its_uppermost_parameter_are_named(self, tmp_path, caplog, clipping, value):
        poison = Poison([3], WEIGHT, BIAS, value=value)
        fit(tmp_path, module_of(), [monitor(), poison], batches_of(6), **CLIPPING[clipping])
        assert warnings_of(caplog) == [warning(3, PREFIX + BIAS)]
        found = logged(tmp_path, "gradients/")
        bad = [values["gradients/nonfinite_steps"] for values in found.values()]
        assert bad[:3] == [0, 0, 1]

    @pytest.mark.parametrize("clipping", CLIPPING)
    def test_the_layer_where_they_began(self, tmp_path, caplog, clipping):
        """All that lies below has them, too."""
        module = module_of()
        middle = module.classifier.encoder.encoder.layer[1].output.dense
        middle.register_full_backward_hook(lambda *_: (torch.full_like(_[1][0], float("nan")),))
        fit(tmp_path, module, [monitor()], batches_of(2), **CLIPPING[clipping])
        assert warnings_of(caplog) == [warning(1, f"{PREFIX}layer.1.intermediate.dense.bias")]

    @pytest.mark.parametrize("clipping", ["norm", "value"])
    def test_in_a_step_that_isnt_looked_at(self, tmp_path, caplog, clipping):
        settings = {"log_every_n_steps": SELDOM, **CLIPPING[clipping]}
        poison = Poison([2], BIAS)
        fit(tmp_path, module_of(), [monitor(every_n_steps=4), poison], batches_of(5), **settings)
        assert warnings_of(caplog) == [warning(2, PREFIX + BIAS)]

    def test_after_the_last_step_that_is_looked_at(self, tmp_path, caplog):
        poison = Poison([6], BIAS)
        fit(tmp_path, module_of(), [monitor(every_n_steps=4), poison], batches_of(6), gradient_clip_val=1.0)
        assert warnings_of(caplog) == [warning(6, PREFIX + BIAS)]

    def test_in_a_window(self, tmp_path, caplog):
        """Of its first batch."""

        class First(Poison):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                self.steps = [trainer.global_step + 1] if batch_idx == 2 else []

        fit(
            tmp_path,
            module_of(),
            [monitor(), First([], WEIGHT)],
            accumulate_grad_batches=2,
            gradient_clip_val=1.0,
        )
        assert warnings_of(caplog) == [warning(2, PREFIX + WEIGHT)]

    @pytest.mark.parametrize("clipping", CLIPPING)
    def test_of_a_foreign_module(self, tmp_path, caplog, clipping):
        batches = [padded(batch) for batch in batches_of(3)]
        fit(tmp_path, Foreign(), [monitor(), Poison([2], WEIGHT)], batches, **CLIPPING[clipping])
        assert warnings_of(caplog) == [warning(2, f"model.bert.encoder.{WEIGHT}")]

    def test_float16_finds_its_scale_by_them(self, tmp_path, caplog):
        """Steps that overflow are counted, and not warned of."""
        poison = Poison([2], WEIGHT, value=float("inf"))
        settings = {"plugins": [ScaledOnly()], "gradient_clip_val": 1.0}
        fit(tmp_path, module_of(), [monitor(), poison], **settings)
        assert warnings_of(caplog) == []
        found = logged(tmp_path, "gradients/")
        assert [values["gradients/nonfinite_steps"] for values in found.values()] == [0, 1, 1, 1]

    @pytest.mark.parametrize("clipping", CLIPPING)
    def test_of_a_healthy_run_there_is_nothing_to_say(self, tmp_path, caplog, clipping):
        fit(tmp_path, module_of(dropout=0.1), [monitor()], batches_of(6), **CLIPPING[clipping])
        assert warnings_of(caplog) == []
