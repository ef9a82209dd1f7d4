"""Averages beside the mean of the weights as another callback saw them."""

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file

from bert_ft.callbacks import averaging
from bert_ft.config import build
from tests.training.running import train

EMBEDDINGS = "classifier.encoder.embeddings.word_embeddings.weight"


class Steps(Callback):
    """The state of the module after each optimizer step, and what is validated."""

    def __init__(self):
        self.states, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_validation_batch_start(self, trainer, pl_module, batch, index, *_):
        if index == 0:
            self.validated.append({name: value.clone() for name, value in pl_module.state_dict().items()})


@pytest.fixture
def run(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Runs the main job: its folder, ``metrics.json`` and ``Steps``."""

    def start(name, *overrides):
        steps = Steps()
        plain = build.build_trainer

        def with_steps(*arguments):
            trainer = plain(*arguments)
            trainer.callbacks.append(steps)
            return trainer

        with monkeypatch.context() as patch:
            patch.setattr(build, "build_trainer", with_steps)
            _, metrics = train(
                tmp_path / name,
                tiny_encoder,
                reviews,
                "trainer.max_epochs=2",
                "optimizer.weight_decay=0.1",
                "callbacks.early_stopping=null",
                *overrides,
            )
        return tmp_path / name, metrics, steps

    return start


def assert_equal_states(found, expected, tolerance=1e-6):
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value.double(), atol=tolerance, rtol=0)


def mean(states):
    return {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}


def saved(folder):
    state = load_file(folder / "model/model.safetensors")
    return {
        f"classifier.{'encoder.' + name.removeprefix('bert.') if name.startswith('bert.') else name}": value
        for name, value in state.items()
    }


def test_swa_is_the_mean_and_is_validated_kept_and_saved(run):
    folder, metrics, steps = run("swa", "averaging=swa", "averaging.start_ratio=0.25")
    assert len(steps.states) == 20
    means = [mean(steps.states[4:10]), mean(steps.states[4:20])]  # from step 5 on, at the ends of the epochs
    for found, expected in zip(steps.validated[:2], means, strict=True):
        assert_equal_states(found, expected)
    assert metrics["weights"] == "swa"
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    kept = means[0 if best["global_step"] == 10 else 1]
    assert best["weights"] == "swa"
    assert_equal_states(best["state_dict"], kept)
    model = saved(folder)
    assert model
    assert_equal_states(model, {name: kept[name] for name in model})
    # the negative control: the last weights are others
    assert not torch.allclose(kept[EMBEDDINGS].float(), steps.states[-1][EMBEDDINGS], atol=1e-6)


def test_ema_is_the_loop_that_its_text_describes(run):
    _, metrics, steps = run("ema", "averaging=ema", "averaging.decay=0.5", "averaging.start_ratio=0.1")
    expected = {name: value.double() for name, value in steps.states[1].items()}  # from step 2 on
    for number, state in enumerate(steps.states[2:10], start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = {
            name: decay * value + (1 - decay) * state[name].double() for name, value in expected.items()
        }
    assert_equal_states(steps.validated[0], expected)
    assert metrics["weights"] == "ema"


def test_training_itself_stays_the_same(run):
    _, _, plain = run("plain")
    _, _, averaged = run("ema", "averaging=ema")
    for ours, theirs in zip(averaged.states, plain.states, strict=True):
        assert_equal_states(ours, theirs, 1e-7)  # unused embedding rows are decayed in other portions


def test_an_average_that_never_starts_is_none(run):
    never = ["averaging=swa", "averaging.start_ratio=1.0", "averaging.follow_schedule=true"]
    folder, metrics, steps = run("never", *never, "trainer.limit_train_batches=10", "+trainer.min_epochs=1")
    first, second = steps.validated[:2]
    assert_equal_states(first, steps.states[9], 0)  # before the first update: the weights of training
    assert_equal_states(second, steps.states[19], 1e-7)  # of one step alone
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    assert metrics["weights"] == best["weights"] == ("raw" if best["global_step"] == 10 else "swa")


def test_the_layers_rates_keep_their_ratio(run):
    folder, _, _ = run("swa", "averaging=swa", "averaging.start_ratio=0.5", "optimizer.layer_decay=0.5")
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    rates = {group["name"]: group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]}
    assert rates["layer.0"] / rates["layer.1"] == pytest.approx(0.5)
    assert rates["head"] > 0  # the schedule alone would have come down to 0


def test_16_bit_weights_have_a_32_bit_average(run):
    _, _, steps = run("half", "averaging=swa", "averaging.start_ratio=0.1", "trainer.precision=bf16-true")
    expected = mean(steps.states[1:20])
    for name, value in expected.items():
        torch.testing.assert_close(
            steps.validated[1][name], value.to(steps.validated[1][name].dtype), atol=1e-2, rtol=1e-2
        )


def test_a_run_repeats_and_its_last_checkpoint_has_the_average(run):
    whole, _, _ = run("whole", "averaging=swa", "averaging.start_ratio=0.25")
    broken, _, _ = run("broken", "averaging=swa", "averaging.start_ratio=0.25")
    expected = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)
    assert "averaging_state" in expected
    assert_equal_states(
        torch.load(broken / "checkpoints/last.ckpt", weights_only=True)["state_dict"],
        expected["state_dict"],
        0,
    )


@pytest.mark.parametrize("kind", [averaging.StochasticAveraging, averaging.ExponentialAveraging])
def test_values_out_of_range(kind):
    with pytest.raises(ValueError, match=r"averaging\.start_ratio=1\.5"):
        kind(start_ratio=1.5)
    with pytest.raises(ValueError, match=r"averaging\.every_n_steps=0"):
        kind(every_n_steps=0)
