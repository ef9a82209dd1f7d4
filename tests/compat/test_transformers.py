"""What is private in transformers and used: each test fails where transformers has changed it."""

import copy

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    FunnelModel,
    GPT2Config,
    PretrainedConfig,
    conversion_mapping,
)

from bert_ft.compat import transformers as compat

SIZES = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 4, "max_position_embeddings": 4}


def bert(**settings):
    return BertModel(BertConfig(**SIZES, num_hidden_layers=1, num_attention_heads=1, **settings)).eval()


def test_a_configuration_has_its_classes():
    for auto, expected in {AutoModel: BertModel, AutoModelForMaskedLM: BertForMaskedLM}.items():
        assert compat.class_of(auto, BertConfig()) is expected, "transformers changed _model_mapping"
    with pytest.raises(KeyError):
        compat.class_of(AutoModel, PretrainedConfig())
    assert compat.has_class(AutoModelForMaskedLM, BertConfig()), "transformers changed _model_mapping"
    assert not compat.has_class(AutoModelForMaskedLM, GPT2Config()), "transformers changed _model_mapping"


def test_weight_conversions_are_kept(monkeypatch):
    monkeypatch.setattr(conversion_mapping, "_checkpoint_conversion_mapping_cache", None)
    compat.keep_weight_conversions()
    kept = conversion_mapping._checkpoint_conversion_mapping_cache
    assert kept, "transformers changed get_checkpoint_conversion_mapping"
    compat.keep_weight_conversions()
    assert conversion_mapping._checkpoint_conversion_mapping_cache is kept


def test_which_attention_models_support():
    assert compat.knows_sdpa(BertModel), "transformers changed _supports_sdpa"
    assert not compat.knows_sdpa(FunnelModel), "transformers changed _supports_sdpa"
    assert compat.takes_any_attention(BertModel), "transformers changed _supports_attention_backend"
    assert not compat.takes_any_attention(FunnelModel), "transformers changed _supports_attention_backend"


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_a_configuration_names_the_attention(name):
    config = bert(attn_implementation=name).config
    assert compat.attention_of(config) == name, "transformers changed _attn_implementation"
    assert compat.attention_of(BertConfig()) is None, "transformers changed what is chosen at first"


def test_the_attention_is_set():
    model = bert(attn_implementation="sdpa")
    compat.set_attention(model.config, "eager")
    attentions = model(torch.tensor([[1, 2]]), output_attentions=True).attentions
    assert attentions[0].shape == (1, 1, 2, 2), "transformers changed how a model finds its attention"


def test_weights_marked_as_loaded_are_not_drawn(tmp_path):
    bert().save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    weight = model.encoder.layer[0].output.dense.weight
    before = weight.clone()
    compat.initialize(model, model.encoder.layer[0].output.dense)
    assert torch.equal(weight, before), "transformers changed its mark of loaded weights"
    compat.draw_as_new(weight)
    compat.initialize(model, model.encoder.layer[0].output.dense)
    assert not torch.equal(weight, before), "transformers changed its mark of loaded weights"


def test_one_module_is_drawn_as_the_family_does():
    model = bert(initializer_range=1e-3)
    drawn, other = model.encoder.layer[0].output.dense, model.encoder.layer[0].intermediate.dense
    for parameter in (*drawn.parameters(), other.weight):
        torch.nn.init.ones_(parameter)
        compat.draw_as_new(parameter)
    compat.initialize(model, drawn)
    assert drawn.weight.abs().max() < 1e-2, "transformers changed how a module is initialized"
    assert not drawn.bias.any(), "transformers changed how a module is initialized"
    assert (other.weight == 1).all(), "transformers changed what is initialized together"


def test_a_model_without_its_hooks_has_them_installed_again():
    model = bert(attn_implementation="eager")
    ids = torch.tensor([[1, 2]])
    first = model(ids, output_attentions=True).attentions
    twin = copy.deepcopy(model)
    for module in twin.modules():
        module._forward_hooks.clear()
    assert not twin(ids, output_attentions=True).attentions, "transformers changed how attentions are caught"
    for module in twin.modules():
        compat.forget_capturing(module)
    found = twin(ids, output_attentions=True).attentions
    assert found, "transformers changed its mark of installed hooks"
    assert torch.equal(found[0], first[0])
