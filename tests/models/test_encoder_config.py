"""What configurations say of their families, against models of them."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from bert_ft.errors import ConfigError
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import max_positions, set_dropout, type_of_model
from bert_ft.models.encoding import encode

from .families import FAMILIES, MAX_LENGTH, random_batch, tiny_config


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_both_dropout_rates(family):
    config = tiny_config(family)
    set_dropout(config, 0.3, 0.4)
    assert 0.3 in vars(config).values() or 0.3 in config.to_dict().values()
    assert 0.4 in config.to_dict().values()


@pytest.mark.parametrize("model_type", ["mpnet", "data2vec-text", "roberta-prelayernorm"])
def test_max_positions_of_families_that_count_from_the_padding(model_type):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    config = AutoConfig.for_model(model_type, vocab_size=50, max_position_embeddings=20, **sizes)
    model, longest = AutoModel.from_config(config).eval(), max_positions(config)
    with torch.no_grad():
        model(input_ids=torch.full((1, longest), 7))
        with pytest.raises((IndexError, RuntimeError), match=r"out of bounds|out of range"):
            model(input_ids=torch.full((1, longest + 1), 7))


@pytest.mark.parametrize("family", FAMILIES)
def test_max_positions_is_the_longest_that_runs(family):
    config = tiny_config(family)
    assert max_positions(config) == MAX_LENGTH
    with torch.no_grad():
        encode(empty_encoder(config), random_batch([MAX_LENGTH]))


def test_a_model_type_without_encoder():
    config = AutoConfig.for_model("encodec")
    del_type = type("Unknown", (type(config),), {"model_type": "unknown"})
    with pytest.raises(ConfigError, match="unknown"):
        type_of_model(del_type())
