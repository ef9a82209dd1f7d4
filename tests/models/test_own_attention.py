"""Attention functions of users: which are imported or refused, and what reaches them."""

import sys

import pytest
import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig

from bert_ft.data.packing import pack
from bert_ft.errors import ConfigError
from bert_ft.models.attention import STOCK, names_of_registered, takes_packed
from bert_ft.models.attention_maps import attention_maps, eager_twin
from bert_ft.models.compilation import compile_encoder
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.encoding import encode, encode_first_tokens, is_packed
from bert_ft.models.first_token import computes_first_tokens, prepare_first_tokens
from bert_ft.models.own_attention import check_cache, prepare_attention

from .families import FAMILIES, random_batch, tiny_config
from .references import LENGTHS

MODULE = """
import torch
from subprocess import run
from torch.nn import functional as F

from bert_ft.models.attention import takes_packed

imported = True


def padded(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    scores = query @ key.transpose(2, 3) * scaling + attention_mask
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@takes_packed
def packed(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    assert attention_mask is None
    sizes = kwargs["cu_seqlens"].diff().tolist()
    assert [size for size in sizes if size] == kwargs["layout"].lengths
    texts = zip(*(state.split(sizes, dim=2) for state in (query, key, value)))
    outputs = [F.scaled_dot_product_attention(*text, scale=scaling, dropout_p=dropout) for text in texts]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def near_flash(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    return query, None


def few(module, query):
    return query, None


@takes_packed
def shifted(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    return value.transpose(1, 2), None


class Function:
    pass
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "outside_attention.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for interface in (AttentionInterface, AttentionMaskInterface):
        monkeypatch.setattr(interface, "_global_mapping", dict(interface._global_mapping))
    yield
    sys.modules.pop("outside_attention", None)


def own_config(family: str):
    if family in FAMILIES:
        return tiny_config(family)
    return AutoConfig.for_model(family, **FAMILIES["roberta"])


def own_and_sdpa(name: str, family: str = "bert"):
    """Two encoders in evaluation mode with the same weights."""
    config = own_config(family)
    prepare_attention(config, f"outside_attention.{name}", ["outside_attention.*"])
    own = empty_encoder(config, f"outside_attention.{name}").eval()
    sdpa = empty_encoder(own_config(family)).eval()
    sdpa.load_state_dict(own.state_dict())
    return own, sdpa


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
@pytest.mark.parametrize("name", ["padded", "packed"])
def test_a_function_that_is_plain_attention_gives_its_states(name, family):
    own, sdpa = own_and_sdpa(name, family)
    assert is_packed(own) == (name == "packed")
    # ModernBERT's local layers pass their window to the function, and `packed` here ignores it
    lengths = [1, 2, 5, 5, 3] if (name, family) == ("packed", "modernbert") else LENGTHS
    batch = random_batch(lengths)
    with torch.no_grad():
        for state, expected in zip(encode(own, batch, 2), encode(sdpa, batch, 2), strict=True):
            torch.testing.assert_close(state, expected, rtol=0, atol=1e-5)


def test_empty_texts_reach_a_packed_function_whose_frozen_states_can_be_cached():
    own, sdpa = own_and_sdpa("packed")
    check_cache(own.config, "outside_attention.packed")
    batch = pack([[5, 6, 7], [], [8]], [0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(encode(own, batch)[0], encode(sdpa, batch)[0], rtol=0, atol=1e-5)


def test_a_padded_encoder_of_the_interface_takes_a_padded_function_alone():
    own, sdpa = own_and_sdpa("padded", "roberta-prelayernorm")
    batch = random_batch(LENGTHS)
    with torch.no_grad():
        torch.testing.assert_close(encode(own, batch)[0], encode(sdpa, batch)[0], rtol=0, atol=1e-5)
    with pytest.raises(
        ConfigError, match=r"outside_attention\.packed: takes packed tokens, but roberta-prelayernorm runs"
    ):
        own_and_sdpa("packed", "roberta-prelayernorm")


@pytest.mark.parametrize("family", ["deberta", "deberta-v2"])
def test_an_encoder_that_would_never_call_it_is_refused(family):
    with pytest.raises(
        ConfigError, match=rf"{family} computes its attention itself, and would never call it"
    ):
        own_and_sdpa("padded", family)


@pytest.mark.parametrize("name", ["padded", "packed", "shifted"])
def test_first_tokens_come_from_the_own_function(name):
    """The kernel for first tokens is plain attention, which is another thing."""
    own, sdpa = own_and_sdpa(name)
    prepare_first_tokens(own)
    assert not computes_first_tokens(own)
    batch = random_batch([3, 9, 4])
    with torch.no_grad():
        first = encode_first_tokens(own, batch)
        assert torch.equal(first, encode(own, batch)[0][batch.cu_seqlens[:-1].long()])
        plain = encode_first_tokens(sdpa, batch)
    assert torch.allclose(first, plain, atol=1e-5) == (name != "shifted")


@pytest.mark.parametrize(("name", "shown"), [("padded", True), ("packed", False)])
def test_its_own_weights_are_shown_or_none(name, shown):
    own, sdpa = own_and_sdpa(name)
    text = random_batch([9])
    maps = attention_maps(eager_twin(own), text)
    assert (maps is not None) == shown
    if shown:
        torch.testing.assert_close(maps, attention_maps(eager_twin(sdpa), text), rtol=0, atol=1e-5)


def test_a_packed_function_stays_outside_of_compiled_graphs(monkeypatch):
    own, _ = own_and_sdpa("packed")
    monkeypatch.setattr(own, "compile", lambda **_: None)
    before = AttentionInterface._global_mapping["outside_attention.packed"]
    compile_encoder(own)
    after = AttentionInterface._global_mapping["outside_attention.packed"]
    assert after is not before
    assert after.takes_packed
    assert is_packed(own)


def test_a_name_that_is_registered():
    def double(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        scores = query @ key.transpose(2, 3) * scaling
        return (2 * (scores + attention_mask).softmax(-1) @ value).transpose(1, 2), None

    AttentionInterface.register("double", double)
    config = tiny_config("bert")
    prepare_attention(config, "double")
    own = empty_encoder(config, "double").eval()
    assert not is_packed(own)
    together = random_batch([3, 9, 4])
    with torch.no_grad():  # it gets a mask, though none was registered
        alone = torch.cat([encode(own, text)[0] for text in together.split(1)])
        states = encode(own, together)[0]
    torch.testing.assert_close(states, alone, rtol=0, atol=1e-5)


def test_a_registered_name_keeps_its_mask_and_may_be_packed():
    @takes_packed
    def registered(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2), None

    AttentionInterface.register("registered", registered)
    mask = AttentionMaskInterface._global_mapping["sdpa"]
    AttentionMaskInterface.register("registered", mask)
    config = tiny_config("bert")
    prepare_attention(config, "registered")
    assert AttentionMaskInterface._global_mapping["registered"] is mask
    assert is_packed(empty_encoder(config, "registered"))


def test_an_unknown_name_is_refused_with_those_that_are_known():
    assert set(STOCK) <= set(names_of_registered())
    with pytest.raises(ConfigError) as error:
        prepare_attention(tiny_config("bert"), "spda")
    (line,) = str(error.value).splitlines()
    assert line.startswith("encoder.attn_implementation=spda: must be one of eager, ")
    assert "sdpa" in line
    assert "bert_ft" not in line
    assert "dotted path" in line


@pytest.mark.parametrize(
    ("path", "trust", "message"),
    [
        (
            "outside_attention.padded",
            (),
            r"isn't among the trusted classes.*add trust=\[outside_attention\.\*\]",
        ),
        ("outside_attention.run", ("outside_attention.*",), r"is subprocess\.run, which isn't trusted"),
        ("outside_attention.missing", ("outside_attention.*",), "has no attribute 'missing'"),
        ("no_such_package.near", ("no_such_package.*",), "No module named 'no_such_package'"),
        ("outside_attention.Function", ("outside_attention.*",), r"isn't a function \(module, query"),
        ("outside_attention.few", ("outside_attention.*",), r"must take \(module, query, key.*: too many"),
        ("outside_attention.near_flash", ("outside_attention.*",), "names with `flash`"),
    ],
)
def test_paths_that_are_refused(path, trust, message):
    with pytest.raises(ConfigError, match=rf"^encoder\.attn_implementation={'.*'}{message}"):
        prepare_attention(tiny_config("bert"), path, trust)
    is_imported = bool(trust) and path.startswith("outside") and "flash" not in path
    assert ("outside_attention" in sys.modules) == is_imported
    if not trust:  # nor is trust remembered
        own_and_sdpa("padded")
        with pytest.raises(ConfigError, match="isn't among the trusted"):
            prepare_attention(tiny_config("bert"), path)


def test_the_spec_refuses_before_weights_are_read(tmp_path):
    tiny_config("bert").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="attn_implementation=spda: must be one of"):
        EncoderSpec(str(tmp_path), attn_implementation="spda").load_config()
    own = {"attn_implementation": "outside_attention.padded", "trust": ["outside_attention.*"]}
    spec = EncoderSpec(str(tmp_path), **own, freeze_layers=1, cache_frozen=True)
    with pytest.raises(
        ConfigError, match=r"cache_frozen=true: needs packed tokens, and .*padded takes padded"
    ):
        spec.load_config()


def test_flex_attention_is_refused_where_it_cannot_train(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="flex_attention: trains only on a GPU"):
        prepare_attention(tiny_config("bert"), "flex_attention")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = tiny_config("bert", attention_probs_dropout_prob=0.1)
    with pytest.raises(ConfigError, match=r"has no dropout; set encoder\.attention_dropout=0"):
        prepare_attention(config, "flex_attention")
    config = tiny_config("bert", attention_probs_dropout_prob=0.0)
    prepare_attention(config, "flex_attention")
    encoder = empty_encoder(config, "flex_attention")
    assert not is_packed(encoder)
    prepare_first_tokens(encoder)
    assert not computes_first_tokens(encoder)
