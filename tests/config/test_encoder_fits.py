"""Weights, config.json and tokenizer that don't fit together are named before any data is read."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from bert_ft.config.build.data import text_inputs
from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.errors import UserError
from bert_ft.models import encoder as encoders
from tests.training.running import small_run

NO_DATA = {"train": "nowhere.csv"}  # were it read, the message would be about it
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345678\n"


@pytest.fixture
def folder(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr(encoders, "read", {})
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    return tmp_path / "encoder"


def change_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_bin(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder / "pytorch_model.bin"


def in_shards(folder):
    AutoModel.from_pretrained(folder).save_pretrained(folder / "sharded", max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    for path in (folder / "sharded").glob("model*"):
        path.rename(folder / path.name)
    return sorted(folder.glob("model-*"))


def without_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "layer.1." not in key}, folder / "model.safetensors"
    )


def tokenizer_without(folder, *roles, template=True):
    own = AutoTokenizer.from_pretrained(folder)
    content = json.loads(own.backend_tokenizer.to_str())
    if not template:
        content["post_processor"] = None
    tokens = {role: token for role, token in own.special_tokens_map.items() if role not in roles}
    for role in roles:
        gone = own.special_tokens_map[role]
        content["model"]["vocab"].pop(gone)
        content["added_tokens"] = [each for each in content["added_tokens"] if each["content"] != gone]
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    PreTrainedTokenizerFast(tokenizer_file=str(path), **tokens).save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "the folder has no weights; model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_text(POINTER), "model.safetensors is a pointer of git-LFS"),
        (lambda f: in_bin(f).write_text(POINTER), "pytorch_model.bin is a pointer of git-LFS"),
        (lambda f: (f / "config.json").write_text(POINTER), "config.json is a pointer of git-LFS"),
        (lambda f: (f / "tokenizer.json").write_text(POINTER), "tokenizer.json is a pointer of git-LFS"),
        (lambda f: cut(f / "model.safetensors"), "model.safetensors is damaged or cut short"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99), "model.safetensors is damaged or cut short"),
        (lambda f: cut(in_bin(f)), "pytorch_model.bin is cut short"),
        (lambda f: in_bin(f).write_bytes(b""), "pytorch_model.bin is empty"),
        (lambda f: in_bin(f).write_bytes(b"\x80\x02nothing"), "the folder holds no encoder that transformers can read"),
        (lambda f: in_shards(f)[1].unlink(), r"1 of the \d+ files of the weights are missing: model-00002-of-"),
        (lambda f: cut(in_shards(f)[2]), r"model-00003-of-\d+\.safetensors is damaged or cut short"),
        (lambda f: (in_shards(f), (f / "model.safetensors.index.json").write_text("{")), "index.json is damaged"),
        (lambda f: change_json(f / "config.json", vocab_size=99), "config.json and the weights differ in size"),
        (lambda f: change_json(f / "config.json", hidden_size=64), "config.json and the weights differ in size"),
        (lambda f: change_json(f / "config.json", num_hidden_layers=3), "the checkpoint lacks 16 weights"),
        (without_a_layer, "the checkpoint lacks 16 weights"),
        (lambda f: change_json(f / "config.json", hidden_size="32"), "'hidden_size': TypeError: .* expected int"),
        (lambda f: change_json(f / "config.json", pad_token_id=5000), "transformers can read .*[Pp]adding_idx"),
        (lambda f: [path.unlink() for path in f.glob("*token*")] + [(f / "vocab.txt").unlink()], "no vocabulary"),
        (lambda f: tokenizer_without(f, "unk_token"), r"can't read unknown words .*\[UNK\]"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_missing_is_named(folder, tmp_path, damage, message):
    damage(folder)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=message) as caught:
        build_fine_tuning(small_run(run, folder, NO_DATA), run)
    assert str(caught.value).startswith(f"encoder.name_or_path={folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain=mlm"], "pretrain.mlm_weight: the encoder's tokenizer has no [MASK]"),
        (
            ["data.augmentation.span_mask_ratio=0.1"],
            "data.augmentation.span_mask_ratio=0.1: the tokenizer of",
        ),
        (
            ["data.max_length=65"],
            "data.max_length=65: encoder.name_or_path={folder} has positions for 64 tokens",
        ),
    ],
)
def test_settings_that_the_tokenizer_or_the_encoder_cannot_have(folder, tmp_path, overrides, message):
    tokenizer_without(folder, "mask_token")
    run = tmp_path / "run"
    with pytest.raises(UserError, match=re.escape(message.format(folder=folder))):
        build_fine_tuning(small_run(run, folder, NO_DATA, *overrides), run)


def inputs(folder, tmp_path):
    return text_inputs(small_run(tmp_path / "run", folder, NO_DATA))


def test_layers_that_config_json_leaves_out_are_said(folder, tmp_path):
    change_json(folder / "config.json", num_hidden_layers=1)
    (warning,) = inputs(folder, tmp_path).warnings
    assert "the weights have 2 layers, and num_hidden_layers=1 in config.json leaves out" in warning


def test_a_tokenizer_without_special_tokens_around_a_text_is_warned_of(folder, tmp_path):
    tokenizer_without(folder, template=False)
    (warning,) = inputs(folder, tmp_path).warnings
    assert "its tokenizer puts no special tokens around a text" in warning


def test_the_encoder_within_a_folder_of_sentence_transformers(folder, tmp_path):
    outer = tmp_path / "sentences"
    outer.mkdir()
    folder.rename(outer / "0_Transformer")
    (outer / "config.json").write_text('{"__version__": {}}')
    kind = "sentence_transformers.models.Transformer"
    (outer / "modules.json").write_text(json.dumps([{"idx": 0, "path": "0_Transformer", "type": kind}]))
    found = inputs(outer, tmp_path)
    assert found.notes == (f"encoder.name_or_path={outer}: the encoder is in its subfolder 0_Transformer",)
    assert found.encoder.resolve() == str(outer / "0_Transformer")


def test_another_subfolder_is_named(folder, tmp_path):
    outer = tmp_path / "runs"
    outer.mkdir()
    folder.rename(outer / "checkpoint-500")
    with pytest.raises(UserError, match=r"subfolders do \(checkpoint-500\); give .*runs/checkpoint-500$"):
        inputs(outer, tmp_path)
