"""The gradient noise scale of a training against that of gradients by autograd."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from bert_ft.errors import ConfigError
from tests.training.test_clipping import ScaledOnly

from .gradient_monitoring import CLIPPING, WEIGHT, monitor
from .stepping import QUIET, Foreign, Poison, batches_of, fit, logged, module_of, padded

pytestmark = [*QUIET, pytest.mark.slow]


class TestNoiseScale:
    """Against the formulas of McCandlish et al., on gradients by autograd in float64."""

    DECAY = 0.95

    def expected(self, windows):
        """Of ``[(norm² of the first batch's mean gradient, that of the window's, rows, rows)]``, after each."""
        noise = signal = 0.0
        for small_2, big_2, small, big in windows:
            if small_2 is not None:
                noise = self.DECAY * noise + 0.05 * (small_2 - big_2) / (1 / small - 1 / big)
                signal = self.DECAY * signal + 0.05 * (big * big_2 - small * small_2) / (big - small)
            yield noise / signal if signal > 0 else None

    def norm_2(self, module, step, batches):
        """Of the mean over all rows."""
        model = deepcopy(module).double().eval()
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(step.before[name])
        losses = [self.losses_of(model, batch) for batch in batches]
        loss = torch.cat(losses).mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return sum(value.square().sum().item() for value in gradients if value is not None)

    def losses_of(self, model, batch):
        if isinstance(model, Foreign):
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            return F.cross_entropy(model.model(**inputs).logits, batch["labels"], reduction="none")
        return F.cross_entropy(model.classifier(batch), batch.as_given(batch.labels), reduction="none")

    def windows(self, module, steps):
        for step in steps:
            if len(step.batches) < 2:
                yield None, None, 0, 0
                continue
            sizes = [len(batch["labels"] if isinstance(batch, dict) else batch) for batch in step.batches]
            first, whole = (self.norm_2(module, step, step.batches[:count]) for count in (1, None))
            yield first, whole, sizes[0], sum(sizes)

    @pytest.mark.parametrize(
        ("is_foreign", "num_batches", "clipping"),
        [(True, 9, "norm"), (False, 9, "none"), (False, 9, "norm"), (False, 8, "none"), (True, 7, "none")],
        ids=["foreign, clipped", "ours", "ours, clipped", "one short", "foreign, a last window of one"],
    )
    def test_over_windows_of_three(self, tmp_path, is_foreign, num_batches, clipping):
        module = Foreign() if is_foreign else module_of()
        # so that the gradient of fresh weights has a mean at all
        batches = batches_of(num_batches, [3, 5, 9, 4, 17, 6, 6, 7])
        for batch in batches:
            batch.labels = torch.zeros_like(batch.labels)
            batch.labels[0] = 1
        if is_foreign:
            batches = [padded(batch) for batch in batches]
        settings = {"accumulate_grad_batches": 3, **CLIPPING[clipping]}
        start = deepcopy(module)
        steps = fit(tmp_path, module, [monitor(noise_scale=True)], batches, **settings)
        found = [values.get("gradients/noise_scale") for values in logged(tmp_path, "gradients/").values()]
        expected = list(self.expected(self.windows(start, steps)))
        assert len(found) == 3
        assert any(value is not None for value in expected)
        assert found == [None if value is None else pytest.approx(value, rel=1e-3) for value in expected]

    def test_of_uneven_batches(self, tmp_path):
        module = module_of()
        batches = [*batches_of(1, [3, 5]), *batches_of(1, [4, 6, 7, 9, 20]), *batches_of(1, [8], seed=3)]
        for batch in batches:
            batch.labels = torch.zeros_like(batch.labels)
        start = deepcopy(module)
        steps = fit(tmp_path, module, [monitor(noise_scale=True)], batches, accumulate_grad_batches=3)
        (expected,) = self.expected(self.windows(start, steps))
        assert logged(tmp_path, "gradients/")[1]["gradients/noise_scale"] == pytest.approx(expected, rel=1e-3)

    def test_a_step_that_isnt_finite_is_left_out(self, tmp_path):
        module = module_of()
        batches = batches_of(9)
        for batch in batches:
            batch.labels = torch.zeros_like(batch.labels)
        # such a step would spoil the weights, were it taken: so as float16 would, which leaves it out
        settings = {"plugins": [ScaledOnly()], "accumulate_grad_batches": 3}
        poison = Poison([2], WEIGHT, value=float("inf"))
        fit(tmp_path, module, [poison, monitor(noise_scale=True)], batches, **settings)
        found = [values["gradients/noise_scale"] for values in logged(tmp_path, "gradients/").values()]
        assert found[1] == found[0]
        assert found[2] != found[1]

    def test_needs_accumulation(self, tmp_path):
        with pytest.raises(
            ConfigError, match=r"monitor\.gradients\.noise_scale=true.*accumulate_grad_batches.*it is 1"
        ):
            fit(tmp_path, module_of(), [monitor(noise_scale=True)])
