"""Which encoders are refused, by name and before any data is read."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from bert_ft.errors import ConfigError
from bert_ft.models import families
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.encoder_config import max_positions
from bert_ft.models.encoding import encode
from bert_ft.models.families import FAMILIES
from bert_ft.models.half_precision import mend_half_precision
from bert_ft.models.layer_names import check_layer_names, layer_names
from bert_ft.models.padding_check import check_padding, fault_in_half
from bert_ft.models.refused_families import REFUSED

from .families import random_batch, tiny_config
from .tiny_families import TRIED, random_encoder, tiny_family

SMALL = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}


def config_only(folder, model_type):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    return EncoderSpec(str(folder))


def test_a_refused_family_is_named_with_its_reason_and_what_to_do(tmp_path):
    for model_type in REFUSED:
        with pytest.raises(
            ConfigError, match=rf"encoder\.name_or_path=.*'{model_type}' .*; use another encoder"
        ):
            config_only(tmp_path, model_type).load_config()


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("llama", "left to right"),
        ("mistral4", "left to right"),
        ("t5", "with a decoder"),
        ("fnet", "the padding"),
    ],
)
def test_why_a_family_is_refused(model_type, reason):
    assert reason in REFUSED[model_type]


def test_what_transformers_lists_is_in_the_table_refused_or_tried():
    """A family that is new in transformers is tested at run time; this test asks for a look at it."""
    listed = set(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    assert listed <= FAMILIES.keys() | REFUSED.keys() | TRIED.keys()
    assert not REFUSED.keys() & (FAMILIES.keys() | TRIED.keys())


def test_a_configuration_without_layers(tmp_path):
    with pytest.raises(ConfigError, match=r"'clip' isn't a text encoder: its configuration has no num_hid"):
        config_only(tmp_path, "clip").load_config()


@pytest.fixture
def as_if_unknown(monkeypatch):
    """The families of the names aren't in the table."""

    def forget(*names):
        for name in names:
            monkeypatch.delitem(families.FAMILIES, name)

    return forget


def unknown_type(family, **sizes):
    """Of a family that is refused by its name: what the check would say if it weren't."""
    torch.manual_seed(0)
    common = SMALL | {"intermediate_size": 8, "max_position_embeddings": 32, "initializer_range": 0.3}
    return AutoModel.from_config(AutoConfig.for_model(family, **(common | sizes)))


@pytest.mark.parametrize("family", ["fnet", "yoso", "convbert"])
def test_padding_that_is_mixed_in_is_seen(family):
    sizes = {"embedding_size": 8} if family == "convbert" else {}
    encoder = unknown_type(family, **sizes)
    with pytest.raises(
        ConfigError, match=rf"=some: model type '{family}' gives a text different states when"
    ):
        check_padding(encoder, "some")


def test_left_to_right_is_seen():
    encoder = unknown_type("llama", num_key_value_heads=2, head_dim=4)
    with pytest.raises(ConfigError, match=r"'llama' reads from left to right"):
        check_padding(encoder, "some")


def test_token_types_of_zeros_that_change_a_text_are_seen(as_if_unknown):
    as_if_unknown("xlm")
    with pytest.raises(ConfigError, match=r"'xlm' gives a text different states with token types of zeros"):
        check_padding(random_encoder("xlm"), "some")


def test_what_raises_is_named():
    encoder = unknown_type("perceiver", d_model=8, d_latents=8, num_latents=4, num_blocks=1)
    with pytest.raises(
        ConfigError, match=r"'perceiver' can't be run on texts only \(.*\); use an encoder listed in docs"
    ):
        check_padding(encoder, "some")


def test_the_check_changes_nothing():
    encoder = random_encoder("lilt").train()
    before = torch.get_rng_state()
    check_padding(encoder, "some")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in encoder.modules())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_mobilebert_is_taken_or_refused_by_its_padding_vector(tmp_path):
    encoder = random_encoder("mobilebert")
    for folder, vector in (("zero", 0.0), ("other", 0.5)):
        with torch.no_grad():
            encoder.get_input_embeddings().weight[0] = vector
        encoder.save_pretrained(tmp_path / folder)
    EncoderSpec(str(tmp_path / "zero")).load_config()
    with pytest.raises(
        ConfigError, match=r"'mobilebert' gives a text different states when its batch is padded"
    ):
        EncoderSpec(str(tmp_path / "other")).load_config()


class TestLayersThatAreNotKnown:
    def test_settings_that_need_them_are_refused(self, tmp_path):
        encoder = random_encoder("lilt")
        assert layer_names(encoder) is None
        encoder.save_pretrained(tmp_path)
        config = EncoderSpec(str(tmp_path)).load_config()
        with pytest.raises(
            ConfigError, match=r"optimizer\.layer_decay=0\.9: .* of lilt .*known; set it to 1"
        ):
            check_layer_names(config, "optimizer.layer_decay=0.9", "set it to 1")
        with pytest.raises(ConfigError, match=r"encoder\.freeze_layers=1: .* lilt .*; set it to null"):
            EncoderSpec(str(tmp_path), freeze_layers=1).load_config()
        with pytest.raises(ConfigError, match=r"encoder\.reinit_layers=1: .* lilt .*; set it to 0"):
            EncoderSpec(str(tmp_path), reinit_layers=1).load_config()

    def test_an_unknown_family_named_like_a_known_one_has_them(self, as_if_unknown):
        as_if_unknown("rembert", "bert")
        for family in ("rembert", "bert"):
            config = tiny_family(family)
            check_layer_names(config, "optimizer.layer_decay=0.9", "set it to 1")
            assert layer_names(empty_encoder(config)) is not None

    def test_albert_with_several_groups(self):
        config = tiny_config("albert", num_hidden_groups=3)
        with pytest.raises(ConfigError, match=r"optimizer\.layer_decay=0\.9: .* albert .*; set it to 1"):
            check_layer_names(config, "optimizer.layer_decay=0.9", "set it to 1")


def test_positions_of_an_unknown_family_that_counts_from_the_padding(as_if_unknown):
    encoder = random_encoder("lilt").eval()
    longest = max_positions(encoder.config)
    with torch.no_grad():
        encode(encoder, random_batch([longest]))
        with pytest.raises((IndexError, RuntimeError), match=r"out of bounds|out of range"):
            encode(encoder, random_batch([longest + 1]))


def test_deberta_trains_in_16_bits_and_is_as_it_was_in_32():
    encoder = random_encoder("deberta").eval()
    batch = random_batch([3, 9])
    with torch.no_grad():
        expected = encode(encoder, batch)[0]
    assert "BFloat16 without overflow" in fault_in_half(encoder)  # once transformers mends it, ours can go
    mend_half_precision(encoder)
    assert fault_in_half(encoder) is None
    with torch.no_grad():
        assert torch.equal(encode(encoder, batch)[0], expected)
        with torch.autocast("cpu", torch.bfloat16):
            halved = encode(encoder, batch)[0].float()
    # 8 bits of mantissa through three layers
    assert (halved - expected).abs().max() < 0.1 * expected.abs().max()


def test_another_fault_in_half_is_said(tmp_path, as_if_unknown):
    random_encoder("xmod").save_pretrained(tmp_path)
    as_if_unknown("xmod")
    spec = EncoderSpec(str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"transformers' xmod can't be trained in 16 bits \(Index put.*\); set it"
    ):
        spec.check_half_precision(spec.load_config(), "trainer.precision=16")


def test_a_family_of_the_table_is_not_tried(tmp_path):
    """It costs nothing: the configuration is enough."""
    BertConfig(**SMALL).save_pretrained(tmp_path)
    assert EncoderSpec(str(tmp_path)).load_config().model_type == "bert"
