"""layer_of against the parameter names of real Hugging Face models of every family."""

import re

import pytest
from transformers import AutoConfig, AutoModel

from bert_ft.errors import ConfigError
from bert_ft.optim.layers import layer_of

NUM_LAYERS = 3
BERT_LIKE = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 12,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "embedding_size": 4}
SPECIAL_IDS = {f"{name}_token_id": index for index, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}
FAMILIES = {
    "bert": BERT_LIKE,
    "roberta": BERT_LIKE,
    "xlm-roberta": BERT_LIKE,
    "electra": BERT_LIKE | {"embedding_size": 4},
    "distilbert": {"vocab_size": 11, "dim": 8, "n_layers": NUM_LAYERS, "n_heads": 2, "hidden_dim": 8},
    "deberta": BERT_LIKE | RELATIVE,
    "deberta-v2": BERT_LIKE
    | RELATIVE
    | {"conv_kernel_size": 3, "norm_rel_ebd": "layer_norm", "position_buckets": 4},
    "modernbert": BERT_LIKE | SPECIAL_IDS,
    "albert": BERT_LIKE | {"embedding_size": 4},
    "mpnet": BERT_LIKE,
}


def encoder_names(family: str, **overrides: object) -> list[str]:
    config = AutoConfig.for_model(family, **FAMILIES[family] | overrides)
    return ["encoder." + name for name, _ in AutoModel.from_config(config).named_parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_a_real_model_has_a_depth(family):
    depths = {name: layer_of(name, NUM_LAYERS) for name in encoder_names(family)}

    for name, depth in depths.items():
        # an independent reading: the layer is the only number in the name of an unshared parameter
        number = re.search(r"\.(\d+)\.", name)
        if "albert" in name:
            assert depth == NUM_LAYERS, name
        elif number:
            assert depth == int(number[1]) + 1, name
        elif "pooler" in name or "final_norm" in name:
            assert depth == NUM_LAYERS + 1, name
        elif ".conv." in name:
            assert depth == 1, name
        else:
            assert depth == 0, name
    expected = {0, NUM_LAYERS} if family == "albert" else set(range(NUM_LAYERS + 1))
    assert expected <= set(depths.values()) <= expected | {NUM_LAYERS + 1}


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("encoder.embeddings.word_embeddings.weight", 0),
        ("encoder.embeddings_project.weight", 0),
        ("encoder.encoder.embedding_hidden_mapping_in.bias", 0),
        ("encoder.encoder.rel_embeddings.weight", 0),
        ("encoder.encoder.LayerNorm.weight", 0),
        ("encoder.encoder.relative_attention_bias.weight", 0),
        ("encoder.encoder.conv.LayerNorm.bias", 1),
        ("encoder.encoder.layer.0.output.LayerNorm.weight", 1),
        ("encoder.encoder.layer.11.output.dense.weight", 12),
        ("encoder.transformer.layer.2.ffn.lin1.weight", 3),
        ("encoder.layers.0.attn.Wqkv.weight", 1),
        ("encoder.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", 12),
        ("encoder.final_norm.weight", 13),
        ("encoder.pooler.dense.weight", 13),
        ("encoder.pooler.bias", 13),
        ("pooling.query.weight", 13),
        ("head.blocks.0.norm.weight", 13),
    ],
)
def test_depth(name, depth):
    assert layer_of(name, num_layers=12) == depth


@pytest.mark.parametrize(
    "name",
    [
        "encoder.decoder.block.0.weight",
        "encoder.encoder.block.0.weight",
        "encoder.classifier.weight",
        "encoder.encoder.layer.x.weight",
        "bert.encoder.layer.0.output.dense.weight",
        "headless.weight",
        "encoder.encoder.layer.3.output.dense.weight",  # one past the top
    ],
)
def test_an_unknown_name_raises_and_is_named(name):
    with pytest.raises(ConfigError, match=re.escape(name)):
        layer_of(name, num_layers=3)


def test_albert_with_several_groups_raises():
    (name, *_) = [name for name in encoder_names("albert", num_hidden_groups=2) if "groups.1." in name]
    with pytest.raises(ConfigError, match=rf"{re.escape(name)}.*ALBERT \(one layer group\)"):
        layer_of(name, NUM_LAYERS)
