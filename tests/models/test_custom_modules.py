"""Parts of a model from outside of the package: which are imported, called and refused."""

import sys

import pytest
import torch
from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.custom_modules import build_part
from bert_ft.models.encoder import empty_encoder
from bert_ft.nn.pooling import AttentionPooling, ClsPooling
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch, tiny_config

PARTS = """
import os
from torch import nn

imported = True

class Head(nn.Linear):
    def __init__(self, hidden_size, num_labels, scale=1.0):
        if scale < 0:
            raise ValueError("scale must be positive")
        super().__init__(hidden_size, num_labels)
        self.scale = scale

def make_head(hidden_size, num_labels):
    return Head(hidden_size, num_labels)

class Plain:
    def __init__(self, hidden_size, num_labels):
        raise AssertionError("was called")
"""
SIZES = {"hidden_size": 4, "num_labels": 3}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The name of a module that can be imported and isn't yet."""
    (tmp_path / "outside_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "outside_parts"
    sys.modules.pop("outside_parts", None)


@pytest.mark.parametrize("trust", [["outside_parts.*"], ["other", "outside_parts.Head"]])
def test_a_trusted_class_gets_its_settings_and_what_the_model_knows(package, trust):
    description = {"_target_": f"{package}.Head", "scale": 2.0}
    head = build_part("model.head", description, trust, **SIZES)
    assert type(head).__name__ == "Head"
    assert (head.in_features, head.out_features, head.scale) == (4, 3, 2.0)
    assert description == {"_target_": f"{package}.Head", "scale": 2.0}


def test_a_description_without_a_name():
    with pytest.raises(ConfigError, match=r"model\.head\._target_=None"):
        build_part("model.head", {"width": 3}, ["outside_parts.*"], **SIZES)


@pytest.mark.parametrize("trust", [[], ["outside.*"], ["outside_parts"], ["outside_parts.Plain"], ["*"]])
def test_a_class_that_is_not_trusted_is_not_even_imported(package, trust):
    message = (
        r"model\.head\._target_=outside_parts\.Head: isn't among the trusted classes; if it is your own, add "
        r"trust=\[outside_parts\.\*\]"
    )
    with pytest.raises(ConfigError, match=message):
        build_part("model.head", {"_target_": f"{package}.Head"}, trust, **SIZES)
    assert package not in sys.modules


def test_the_packages_own_are_trusted():
    description = {"_target_": "bert_ft.nn.pooling.AttentionPooling"}
    assert isinstance(build_part("model.pooling", description, [], hidden_size=4), AttentionPooling)


@pytest.mark.parametrize(
    ("target", "settings", "reason"),
    [
        ("outside_parts.Nothing", {}, "has no attribute 'Nothing'"),
        ("outside_parts.sub.Nothing", {}, "No module named"),
        ("outside_parts.Head", {"scale": -1}, "scale must be positive"),
        ("outside_parts.Head", {"width": 1}, "unexpected keyword argument 'width'"),
        # names in a trusted module that aren't parts of a model: not called
        ("outside_parts.os.system", {}, "No module named"),
        ("outside_parts.make_head", {}, "isn't a class derived from torch.nn.Module"),
        ("outside_parts.Plain", {}, "isn't a class derived from torch.nn.Module"),
        ("outside_parts.imported", {}, "isn't a class derived from torch.nn.Module"),
        ("bert_ft.optim.layerwise.partial", {}, "isn't a class derived from torch.nn.Module"),
    ],
)
def test_what_cannot_be_built(package, target, settings, reason):
    with pytest.raises(ConfigError, match=rf"model\.head\._target_={target}: .*{reason}"):
        build_part("model.head", {"_target_": target, **settings}, ["outside_parts.*"], **SIZES)


def test_a_class_derived_from_cls_pooling_pools_in_its_own_way():
    """It must not be treated as ``ClsPooling``, for which the last layer computes only first tokens."""

    class LastToken(ClsPooling):
        def forward(self, hidden, cu_seqlens):
            return hidden[cu_seqlens[1:].long() - 1]

    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(("a", "b")).config_entries())
    model = ResidualClassifier(empty_encoder(config), pooling="mean").eval()
    batch = random_batch([3, 7, 9])
    last = batch.cu_seqlens[1:].long() - 1
    model.pooling = nn.Module()
    model.pooling.forward = lambda hidden, cu_seqlens: hidden[last]
    with torch.no_grad():
        expected = model.features(batch)
        model.pooling = LastToken()
        assert torch.equal(model.features(batch), expected)
