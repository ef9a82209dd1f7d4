"""Which layer a parameter belongs to, against the optimizer's groups; norms against numpy's."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from transformers import AutoModelForSequenceClassification

from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.encoding import num_encoder_layers
from bert_ft.models.frozen import freeze
from bert_ft.models.parameter_layers import Layers, encoder_of
from bert_ft.optim.groups import parameter_groups
from bert_ft.tasks.single_label import SingleLabel

from .families import FAMILIES, tiny_config


def module_of(family, kind="residual"):
    module = LightningModule()
    config = tiny_config(family, **SingleLabel(("a", "b")).config_entries())
    if kind == "linear":
        module.classifier = LinearClassifier(empty_sequence_classifier(config))
    else:
        module.classifier = ResidualClassifier(empty_encoder(config), pooling="attention", hidden_sizes=[16])
    return module


def group_names(classifier):
    """Id of each trainable parameter → its layer, as the optimizer's groups are named."""
    groups = parameter_groups(
        classifier.named_parameters(),
        num_layers=num_encoder_layers(classifier.encoder),
        lr=1e-3,
        layer_decay=0.5,
        weight_decay=0.1,
    )
    return {id(param): group["name"].split("/")[0] for group in groups for param in group["params"]}


@pytest.mark.parametrize(("family", "kind"), [*((name, "linear") for name in FAMILIES), ("bert", "residual")])
def test_layers_are_the_optimizers_groups(family, kind):
    module = module_of(family, kind)
    layers = Layers.of(module)
    members = layers.members(module.parameters())
    found = {id(param): name for name, params in members.items() for param in params}
    assert found == group_names(module.classifier)
    assert sum(map(len, members.values())) == len(list(module.parameters()))  # each in one only
    assert layers.names == list(dict.fromkeys(group_names(module.classifier).values()))
    assert set(layers.names) == members.keys()
    own = [(name, id(param)) for name, param in module.named_parameters()]
    assert [(name, id(param)) for param, name in layers.parameter_names.items()] == own


def test_frozen_parameters_are_members_like_others():
    """An optimizer has no group for them, but they have weights."""
    module = module_of("bert")
    whole = Layers.of(module).names
    freeze(module.classifier.encoder, 1)
    assert "layer.0" not in group_names(module.classifier).values()
    assert Layers.of(module).names == whole == ["embeddings", "layer.0", "layer.1", "layer.2", "head"]


def test_both_parts_of_a_split_embedding_are_embeddings():
    module = module_of("bert")
    encoder = module.classifier.encoder
    used = torch.arange(FAMILIES["bert"]["vocab_size"]) < 50
    encoder.set_input_embeddings(SplitEmbedding(encoder.get_input_embeddings(), used))
    members = Layers.of(module).members(encoder.get_input_embeddings().parameters())
    assert [len(params) for params in members.values()] == [2]
    assert list(members) == ["embeddings"]


@pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "deberta"])
def test_any_module_with_transformers_model(family):
    """Everything above transformers' encoder is the head, whatever its name."""
    module = LightningModule()
    config = tiny_config(family, **SingleLabel(("a", "b")).config_entries())
    module.anything = AutoModelForSequenceClassification.from_config(config)
    module.loss_scale = nn.Parameter(torch.ones(()))
    ours = module_of(family, "linear")
    base = module.anything.base_model
    assert encoder_of(module) is base
    layers, expected = Layers.of(module), Layers.of(ours)
    assert layers.names == expected.names
    found = {name: len(params) for name, params in layers.members(module.parameters()).items()}
    same = {name: len(params) for name, params in expected.members(ours.parameters()).items()}
    assert found == {**same, "head": same["head"] + 1}


def test_an_encoder_alone():
    module = LightningModule()
    module.model = module_of("modernbert").classifier.encoder
    assert encoder_of(module) is module.model
    assert Layers.of(module).names == ["embeddings", *(f"layer.{index}" for index in range(4)), "head"]


def test_a_module_without_an_encoder():
    with pytest.raises(TypeError, match="LightningModule holds no Hugging Face encoder"):
        Layers.of(LightningModule())


class TestNorms:
    def test_against_numpy(self):
        module = module_of("electra", "linear")
        layers = Layers.of(module)
        parameters = list(module.parameters())
        norms = layers.norms(parameters, torch.stack([param.detach().norm() for param in parameters]))
        assert norms.dtype == torch.float64
        for name, norm in zip(layers.names, norms.tolist(), strict=True):
            members = layers.members(parameters)[name]
            flat = np.concatenate([param.detach().double().numpy().ravel() for param in members])
            assert norm == pytest.approx(np.linalg.norm(flat), rel=1e-6)

    def test_of_some_parameters_in_any_order(self):
        module = module_of("bert")
        layers = Layers.of(module)
        members = layers.members(module.parameters())
        some = [members["head"][0], members["layer.1"][3], members["layer.1"][0]]
        assert layers.names == ["embeddings", "layer.0", "layer.1", "layer.2", "head"]
        assert layers.norms(some, torch.tensor([2.0, 3.0, 4.0])).tolist() == [0, 0, 5, 0, 2]

    def test_of_none_and_of_one_that_isnt_finite(self):
        module = module_of("bert")
        layers = Layers.of(module)
        assert layers.norms([], torch.zeros(0)).tolist() == [0] * 5
        some = [layers.members(module.parameters())[name][0] for name in ("layer.0", "head")]
        norms = layers.norms(some, torch.tensor([float("nan"), 1.0])).tolist()
        assert [np.isnan(norm) for norm in norms] == [False, True, False, False, False]
