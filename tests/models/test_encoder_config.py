"""Facts from configurations, against models of them."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import max_positions, type_of_model

from .families import FAMILIES, MAX_LENGTH, tiny_config


def test_max_positions():
    """That all these positions work is in test_encoding, whose longest text has them."""
    assert {max_positions(tiny_config(family)) for family in FAMILIES} == {MAX_LENGTH}


@pytest.mark.parametrize("model_type", ["mpnet", "data2vec-text", "roberta-prelayernorm"])
def test_max_positions_of_families_that_count_from_the_padding(model_type):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    config = AutoConfig.for_model(model_type, vocab_size=50, max_position_embeddings=20, **sizes)
    model, longest = AutoModel.from_config(config).eval(), max_positions(config)
    with torch.no_grad():
        model(input_ids=torch.full((1, longest), 7))
        with pytest.raises((IndexError, RuntimeError), match=r"out of bounds|out of range"):
            model(input_ids=torch.full((1, longest + 1), 7))


def test_a_model_type_without_encoder():
    config = AutoConfig.for_model("encodec")
    unknown = type("Unknown", (type(config),), {"model_type": "unknown"})
    with pytest.raises(ConfigError, match="'unknown' has no encoder in transformers"):
        type_of_model(unknown())
