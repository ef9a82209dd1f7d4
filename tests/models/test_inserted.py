"""Modules of one's own within the layers: where they sit, that they train, and what saves, copies and exports them."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from bert_ft.data.packing import pack
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode, encode_first_tokens
from bert_ft.models.families import family_of
from bert_ft.models.first_token import prepare_first_tokens
from bert_ft.models.inserted import insert_parts, inserted_in, is_inserted
from bert_ft.models.weight_transfer import hand_over
from bert_ft.tasks.single_label import SingleLabel

from .tiny_families import TABLE, random_encoder, tiny_family

HERE = "tests.models.test_inserted.*"
LABELS = ("a", "b")


class Shift(nn.Module):
    """Adds a trained vector to each token."""

    def __init__(self, hidden_size, start=0.0):
        super().__init__()
        # not the same everywhere, which a norm would take out
        self.shift = nn.Parameter(torch.linspace(-start, start, hidden_size))

    def forward(self, hidden):
        return hidden + self.shift


def shifted(start, *places):
    return {place: {"_target_": f"{HERE[:-2]}.Shift", "start": start} for place in places}


def batch(*rows):
    return pack([np.array(row) for row in rows], range(len(rows)))


def spec(folder, start=0.5, **settings):
    return EncoderSpec(str(folder), insert=shifted(start, "ffn", "attention"), trust=[HERE], **settings)


ROWS = ([5, 6, 7, 98], [8, 9])


@pytest.mark.parametrize("family", sorted(TABLE))
@pytest.mark.parametrize("place", ["attention", "ffn"])
def test_it_is_added_to_what_the_last_projection_gives(family, place):
    if not getattr(family_of(tiny_family(family)).sub_blocks, place) or family == "ibert":
        pytest.skip("it can't have it")
    plain, same, other, biased = (random_encoder(family).eval() for _ in range(4))
    insert_parts(same, shifted(0.0, place), [HERE])
    insert_parts(other, shifted(0.5, place), [HERE])
    before = encode(plain, batch(*ROWS))[0]
    assert torch.equal(encode(same, batch(*ROWS))[0], before)
    changed = encode(other, batch(*ROWS))[0]
    assert (changed - before).abs().max() > 1e-3
    projections = {name.split(".inserted")[0] for name, _ in other.named_parameters() if is_inserted(name)}
    projections = [biased.get_submodule(name) for name in projections]
    if all(isinstance(each, nn.Linear) and each.bias is not None for each in projections):
        for each in projections:  # the same, written as the projection's bias
            each.bias.data += torch.linspace(-0.5, 0.5, len(each.bias))
        assert torch.allclose(encode(biased, batch(*ROWS))[0], changed, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_first_tokens_alone_are_the_same(family):
    encoder = random_encoder(family).eval()
    insert_parts(encoder, shifted(0.5, "ffn", "attention"), [HERE])
    texts = batch(*ROWS)
    expected = encode(encoder, texts)[0][texts.cu_seqlens[:-1]]
    prepare_first_tokens(encoder)
    assert torch.allclose(encode_first_tokens(encoder, texts), expected, atol=1e-5)


@pytest.mark.parametrize("kernels", ["fast", "plain"])
def test_it_trains_in_frozen_layers_too(tiny_encoder, kernels):
    encoder = spec(tiny_encoder, freeze_layers=2, kernels=kernels).load()
    encode(encoder, batch(*[[5, 6], [7]]))[0].square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(is_inserted(name) for name in trained)
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) is is_inserted(name)


def test_recomputed_layers_give_the_same_gradients(tiny_encoder):
    found = []
    for recompute in (False, True):
        still = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
        encoder = spec(tiny_encoder, gradient_checkpointing=recompute, **still).load()
        encode(encoder, batch(*[[5, 6], [7]]))[0].square().sum().backward()
        found.append([each.grad for name, each in encoder.named_parameters() if is_inserted(name)])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_a_copy_has_its_own(tiny_encoder):
    encoder = spec(tiny_encoder, 0.0).load().eval()
    twin = copy.deepcopy(encoder)
    before = encode(encoder, batch([5, 6]))[0]
    for name, parameter in twin.named_parameters():
        if is_inserted(name):
            parameter.data += torch.linspace(-0.5, 0.5, len(parameter))
    assert torch.equal(encode(encoder, batch([5, 6]))[0], before)
    assert not torch.allclose(encode(twin, batch([5, 6]))[0], before, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("linear", [True, False])
def test_saved_loaded_and_exported(tiny_encoder, tmp_path, linear):
    entries = SingleLabel(LABELS).config_entries()
    chosen = spec(tiny_encoder)
    config = chosen.load_config(**entries)
    if linear:
        classifier = LinearClassifier(chosen.load_sequence_classifier(config)[0])
    else:
        classifier = ResidualClassifier(chosen.load(config), pooling="cls")
    tokenizer = load_tokenizer(tiny_encoder)
    save_bundle(tmp_path / "model", classifier.eval(), SingleLabel(LABELS), tokenizer, max_length=32)
    with pytest.raises(ConfigError, match=r"encoder\.insert\.ffn\._target_=.*isn't among the trusted"):
        load_bundle(tmp_path / "model")
    bundle = load_bundle(tmp_path / "model", trust=[HERE])
    assert inserted_in(bundle.classifier.encoder) == shifted(0.5, "ffn", "attention")
    expected = classifier(batch([8, 9], [5, 6, 7, 10]))
    assert torch.allclose(bundle.classifier(batch([8, 9], [5, 6, 7, 10])), expected, atol=1e-6)
    session = onnxruntime.InferenceSession(export_onnx(bundle, tmp_path / "model.onnx"))
    arrays = {
        "input_ids": np.array([[8, 9, 0, 0], [5, 6, 7, 10]]),
        "attention_mask": np.array([[1, 1, 0, 0], [1] * 4]),
    }
    arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
    names = {entry.name for entry in session.get_inputs()}
    logits = session.run(["logits"], {name: arrays[name] for name in names})[0]
    assert np.allclose(logits, expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("reinit_layers", [0, 1])
def test_a_stage_hands_its_encoder_over(tiny_encoder, tmp_path, reinit_layers):
    stage = EncoderSpec(str(tiny_encoder)).load()
    for parameter in stage.parameters():
        parameter.data += 0.01
    stage.save_pretrained(tmp_path)
    encoder = spec(tiny_encoder, reinit_layers=reinit_layers).load()
    hand_over(tmp_path, encoder, reinit_layers=reinit_layers)
    expected = stage.state_dict()
    for name, value in encoder.state_dict().items():
        if is_inserted(name):
            assert torch.equal(value, torch.linspace(-0.5, 0.5, 32))
        elif not (reinit_layers and "layer.1." in name):
            assert torch.equal(value, expected[name])
    redrawn = encoder.encoder.layer[1].output.dense.weight
    assert torch.equal(redrawn, stage.encoder.layer[1].output.dense.weight) is (reinit_layers == 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"insert": {"head": {}}}, r"encoder\.insert\.head: must be one of attention, ffn"),
        (
            {"insert": {"ffn": {"_target_": "os.system"}}},
            r"encoder\.insert\.ffn\._target_=os\.system: isn't among the trusted",
        ),
        (
            {"insert": shifted(0.5, "ffn"), "freeze_layers": 1, "cache_frozen": True},
            r"encoder\.insert: inserted modules are trained, .*cache_frozen=false",
        ),
    ],
)
def test_what_is_refused(tiny_encoder, settings, message):
    with pytest.raises(ConfigError, match=message):
        EncoderSpec(str(tiny_encoder), trust=[HERE], **settings).load()


@pytest.mark.parametrize("family", ["ibert", "xlnet"])
def test_a_family_that_cannot_have_it(family):
    encoder = random_encoder(family)
    with pytest.raises(ConfigError, match=rf"encoder\.insert\.ffn: no layer of {family} has such a part"):
        insert_parts(encoder, shifted(0.5, "ffn"), [HERE])
