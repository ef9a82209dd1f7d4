"""Outputs of the monitored sub-blocks against transformers' padded hidden states and each family's formula.

A layer is computed again from captured outputs: with an attention output of another place, or one after dropout, residual
or norm, it would give another hidden state.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from bert_ft.data.packing import unpad
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.encoding import encode, is_packed, num_encoder_layers
from bert_ft.models.sub_blocks import encoder_sub_blocks, head_sub_blocks
from bert_ft.tasks.single_label import SingleLabel

from .capturing import captured
from .families import FAMILIES, random_batch, tiny_config
from .references import LENGTHS, padded_reference, twins

pytestmark = pytest.mark.slow

KINDS = ("attention", "activation", "ffn", "hidden")


def layer_of(encoder, index):
    """The modules of a layer, found by another way than by their names."""
    if encoder.config.model_type == "albert":
        return encoder.encoder.albert_layer_groups[0].albert_layers[0]
    return next(part for part in encoder.modules() if isinstance(part, nn.ModuleList))[index]


def bert(layer, hidden, attention):
    joined = getattr(layer.attention, "output", layer.attention).LayerNorm(attention + hidden)
    activation = F.gelu(layer.intermediate.dense(joined))
    ffn = layer.output.dense(activation)
    return activation, ffn, layer.output.LayerNorm(ffn + joined)


def distilbert(layer, hidden, attention):
    joined = layer.sa_layer_norm(attention + hidden)
    activation = F.gelu(layer.ffn.lin1(joined))
    ffn = layer.ffn.lin2(activation)
    return activation, ffn, layer.output_layer_norm(ffn + joined)


def albert(layer, hidden, attention):
    joined = layer.attention.LayerNorm(attention + hidden)
    activation = F.gelu(layer.ffn(joined), approximate="tanh")
    ffn = layer.ffn_output(activation)
    return activation, ffn, layer.full_layer_layer_norm(ffn + joined)


def modernbert(layer, hidden, attention):
    joined = hidden + attention
    values, gate = layer.mlp.Wi(layer.mlp_norm(joined)).chunk(2, dim=-1)
    activation = F.gelu(values)
    ffn = layer.mlp.Wo(activation * gate)
    return activation, ffn, joined + ffn


FORMULAS = {"distilbert": distilbert, "albert": albert, "modernbert": modernbert}


class Setting:
    """An encoder's captured outputs on a batch, and transformers' hidden states, both of real tokens only."""

    def __init__(self, family):
        self.encoder, reference = twins(family)
        with torch.no_grad():  # norms that do nothing would hide on which side of them a block is
            for parameter in self.encoder.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.3 * torch.randn_like(parameter))
        reference.load_state_dict(self.encoder.state_dict())
        self.batch = batch = random_batch(LENGTHS, token_types=True)
        self.blocks = encoder_sub_blocks(self.encoder)
        with torch.no_grad():
            seen = captured(self.blocks, lambda: encode(self.encoder, batch))
        packed = is_packed(self.encoder)
        self.seen = {name: value[0] if packed else unpad(value, batch) for name, value in seen.items()}
        with torch.no_grad():
            states = padded_reference(reference, batch).hidden_states
        self.hidden = [unpad(state, batch) for state in states]
        self.num_layers = num_encoder_layers(self.encoder)


@pytest.fixture(scope="module", params=[*FAMILIES, "mpnet"])
def setting(request):
    with pytest.MonkeyPatch.context() as patch:  # MPNet has an attention output with a name of its own
        patch.setitem(FAMILIES, "mpnet", FAMILIES["roberta"])
        return Setting(request.param)


def assert_close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_each_layer_has_all_four_and_transformers_hidden_states(setting):
    names = [f"layer.{index}.{kind}" for index in range(setting.num_layers) for kind in KINDS]
    assert sorted(setting.seen) == sorted(names)
    assert sorted(name for block in setting.blocks for name in block.names) == sorted(names)
    for block in setting.blocks:
        assert {name.rsplit(".", 1)[1] for name in block.names} == {block.kind}
    for index in range(setting.num_layers):
        hidden = setting.seen[f"layer.{index}.hidden"]
        is_last = index == setting.num_layers - 1
        if is_last and setting.encoder.config.model_type == "modernbert":
            hidden = setting.encoder.final_norm(hidden)
        assert_close(hidden, setting.hidden[index + 1])


def test_a_layer_comes_out_of_what_was_captured(setting):
    formula = FORMULAS.get(setting.encoder.config.model_type, bert)
    for index in range(setting.num_layers):
        seen = {kind: setting.seen[f"layer.{index}.{kind}"] for kind in KINDS}
        with torch.no_grad():
            layer = layer_of(setting.encoder, index)
            activation, ffn, hidden = formula(layer, setting.hidden[index], seen["attention"])
            assert_close(seen["activation"], activation)
            assert_close(seen["ffn"], ffn)
            assert_close(seen["hidden"], hidden)
            # the negative control: it is the attention that makes the difference
            other = formula(layer, setting.hidden[index], 1.001 * seen["attention"])[2]
            assert (other - hidden).abs().max() > 1e-5


def test_a_single_layer_has_its_name():
    encoder = empty_encoder(tiny_config("bert", num_hidden_layers=1))
    assert {name for block in encoder_sub_blocks(encoder) for name in block.names} == {
        f"layer.0.{kind}" for kind in KINDS
    }


def config_of(family) -> PretrainedConfig:
    return tiny_config(family, **SingleLabel(("a", "b", "c")).config_entries())


def test_the_residual_head():
    model = ResidualClassifier(empty_encoder(config_of("bert")), hidden_sizes=[16, 16])
    names = ["blocks.0.expand", "blocks.0.activation", "blocks.0.project", "blocks.0.skip"]
    names += ["blocks.1.expand", "blocks.1.activation", "blocks.1.project", "classifier"]
    assert [(block.names, block.kind) for block in head_sub_blocks(model, model.encoder)] == [
        ((f"head.{name}",), "activation" if "activation" in name else "linear") for name in names
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_outside_of_the_layers_is_in_the_head_of_a_linear_classifier(family):
    """Including the pooler's, which for most families is the encoder's own."""
    model = LinearClassifier(empty_sequence_classifier(config_of(family)))
    blocks = head_sub_blocks(model, model.encoder)
    layers = [block.module for block in encoder_sub_blocks(model.encoder) if block.kind == "hidden"]
    within = {id(part) for layer in layers for part in layer.modules()}
    below = {id(part) for name, part in model.encoder.named_modules() if "embedding" in name}
    expected = {
        id(part)
        for part in model.modules()
        if isinstance(part, (nn.Linear, nn.Tanh)) and id(part) not in within | below
    }
    assert {id(block.module) for block in blocks if block.kind in ("linear", "tanh")} == expected
    names = [name for block in blocks for name in block.names]
    assert len(set(names)) == len(names)
    assert "head.classifier" in names or "head.classifier.out_proj" in names


@pytest.mark.parametrize("family", ["bert", "ernie", "albert"])
def test_the_poolers_tanh_is_known_as_such(family):
    model = LinearClassifier(empty_sequence_classifier(config_of(family)))
    batch = random_batch([3, 5, 9])
    seen = captured(head_sub_blocks(model.eval(), model.encoder), lambda: model(batch))
    tanh = [block for block in head_sub_blocks(model, model.encoder) if block.kind == "tanh"]
    assert len(tanh) == 1
    dense = next(value for name, value in seen.items() if "pooler" in name and name not in tanh[0].names)
    assert_close(seen[tanh[0].names[0]], dense.tanh())


def test_transformers_own_classifier_in_another_module():
    model = nn.Module()
    model.model = AutoModelForSequenceClassification.from_config(config_of("bert"))
    assert [block.names for block in head_sub_blocks(model, model.model.base_model)] == [
        ("head.model.bert.pooler.dense",),
        ("head.model.bert.pooler.activation",),
        ("head.model.classifier",),
    ]


def test_a_family_that_names_its_modules_otherwise_has_the_hidden_states_at_least():
    encoder = empty_encoder(tiny_config("bert"))
    for layer in encoder.encoder.layer:
        layer.attention.output.projection = layer.attention.output._modules.pop("dense")
    assert {block.kind for block in encoder_sub_blocks(encoder)} == {"activation", "ffn", "hidden"}
