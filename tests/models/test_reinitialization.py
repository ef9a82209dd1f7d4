"""The reinitialized top of an encoder: as fresh as its family's new weights, and nothing below it touched."""

import copy

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from bert_ft.errors import ConfigError
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec, empty_encoder, empty_sequence_classifier
from bert_ft.models.reinitialization import reinitialize
from bert_ft.optim.layers import layer_of
from bert_ft.tasks.single_label import SingleLabel
from tests.training.running import train

from .families import FAMILIES, tiny_config

LABELS = ("a", "b", "c")
SHARED = "albert"  # its layers are one
REDRAWN = sorted(set(FAMILIES) - {SHARED})
# wide enough to tell a standard deviation by
WIDE = {"hidden_size": 128, "intermediate_size": 192}
WIDE_NAMES = {"distilbert": {"dim": 128, "hidden_dim": 192}}


def wide_config(family, **changes):
    return tiny_config(family, **(WIDE_NAMES.get(family, WIDE) | {"initializer_range": 0.05} | changes))


def trained(model):
    """``model`` far from where any initialization puts it: three times as wide, and off zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3).add_(0.5)
    return model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A function of a family that gives the folder of a trained encoder."""
    folders = {}

    def folder_of(family):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            torch.manual_seed(0)
            trained(AutoModel.from_config(wide_config(family))).save_pretrained(folders[family])
        return folders[family]

    return folder_of


def load(folder, num_layers, *, seed=1, **options):
    torch.manual_seed(seed)
    return EncoderSpec(str(folder), reinit_layers=num_layers, **options).load()


def depth_of(encoder, name: str) -> int:
    return layer_of(f"encoder.{name}", encoder.config.num_hidden_layers)


def is_redrawn(encoder, name: str, num_layers: int) -> bool:
    return num_layers > 0 and depth_of(encoder, name) > encoder.config.num_hidden_layers - num_layers


def assert_as_fresh(value, fresh, name):
    """Of one distribution, as far as their moments and ends tell; constants are equal."""
    if fresh.std() == 0:  # zeros or ones
        assert torch.equal(value, fresh), name
        return
    assert not torch.equal(value, fresh), name
    assert value.numel() >= 128**2
    assert value.mean().abs() < 0.1 * fresh.std(), name
    assert value.std().item() == pytest.approx(fresh.std().item(), rel=0.05), name
    # where a truncated distribution ends, and a normal one doesn't
    assert value.abs().max().item() == pytest.approx(fresh.abs().max().item(), rel=0.4), name


@pytest.mark.parametrize("family", REDRAWN)
def test_the_top_is_as_fresh_and_the_rest_is_the_checkpoint(checkpoint, family):
    untouched = AutoModel.from_pretrained(checkpoint(family))
    before = untouched.state_dict()
    torch.manual_seed(2)
    fresh = empty_encoder(wide_config(family)).state_dict()
    total = wide_config(family).num_hidden_layers
    for num_layers in range(total + 1):
        encoder = load(checkpoint(family), num_layers)
        depths = set()
        for name, value in encoder.named_parameters():
            if is_redrawn(encoder, name, num_layers):
                assert_as_fresh(value.detach(), fresh[name], name)
                depths.add(depth_of(encoder, name))
            else:
                assert torch.equal(value, before[name]), name
        above = {total + 1} if family == "modernbert" and num_layers else set()
        assert depths == {*range(total - num_layers + 1, total + 1)} | above
        for name, value in encoder.named_buffers():
            assert torch.equal(value, untouched.get_buffer(name)), name


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_it_follows_from_the_seed(checkpoint, family):
    first, same, other = (load(checkpoint(family), 1, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_0_draws_nothing_at_all(family):
    torch.manual_seed(0)
    encoder = empty_encoder(tiny_config(family))
    before = copy.deepcopy(encoder.state_dict())
    generator = torch.get_rng_state()
    reinitialize(encoder, 0)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_layers_are_trained_and_frozen_as_without_it(checkpoint):
    encoder = load(checkpoint("bert"), 1, freeze_layers=1)
    assert encoder.training
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == (depth_of(encoder, name) > 1), name


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_with_transformers_own_head(tmp_path, family):
    """A pooler in the encoder is redrawn with the layers below it; the head is fresh anyway."""
    torch.manual_seed(0)
    model = trained(empty_sequence_classifier(wide_config(family, **SingleLabel(LABELS).config_entries())))
    model.save_pretrained(tmp_path)
    before = AutoModelForSequenceClassification.from_pretrained(tmp_path).base_model.state_dict()
    torch.manual_seed(2)
    fresh = empty_sequence_classifier(wide_config(family)).base_model.state_dict()
    torch.manual_seed(1)
    encoder = build_linear(
        EncoderSpec(str(tmp_path), reinit_layers=1), SingleLabel(LABELS).config_entries(), dropout=None
    ).encoder
    untouched = build_linear(
        EncoderSpec(str(tmp_path)), SingleLabel(LABELS).config_entries(), dropout=None
    ).encoder
    assert all(torch.equal(value, before[name]) for name, value in untouched.state_dict().items())
    redrawn = [name for name in before if is_redrawn(encoder, name, 1)]
    assert any(name.startswith("pooler") for name in redrawn) == (family == "bert")
    for name, value in encoder.named_parameters():
        if name in redrawn:
            assert_as_fresh(value.detach(), fresh[name], name)
        else:
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("family", "num_layers", "message"),
    [
        ("bert", 4, r"encoder\.reinit_layers=4: this encoder has 3 layers; lower it"),
        ("distilbert", 4, r"encoder\.reinit_layers=4: this encoder has 3 layers"),
        ("albert", 1, r"encoder\.reinit_layers=1: the layers of an albert share their weights; give 0"),
    ],
)
def test_what_an_encoder_cannot_have(tmp_path, family, num_layers, message):
    tiny_config(family).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=message):
        EncoderSpec(str(tmp_path), reinit_layers=num_layers).load_config()


@pytest.mark.slow
def test_a_run_from_there_learns(tmp_path, tiny_encoder, reviews):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "encoder.reinit_layers=1", "trainer.max_epochs=4")
    assert metrics["test"]["accuracy"] >= 0.9
