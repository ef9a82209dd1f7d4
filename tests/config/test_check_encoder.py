"""What an encoder's family can't do is refused before any data is read."""

import shutil

import pytest
from transformers import AutoConfig

from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.build.pretraining import build_pretraining
from bert_ft.errors import ConfigError
from tests.models.tiny_families import random_encoder
from tests.training.running import SMALL_STAGE, compose_run, small_run

NO_DATA = {"train": "nowhere.csv"}  # were it read, the message would be about it


def encoder_folder(folder, family, tokenizer_of):
    """A random encoder of the family, with the tokenizer of another folder."""
    random_encoder(family).save_pretrained(folder)
    for path in tokenizer_of.glob("*token*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def refused(tmp_path, tiny_encoder):
    """Run with overrides on a random encoder of a family, and return what it says."""

    def run(family, *overrides):
        folder = encoder_folder(tmp_path / family, family, tiny_encoder)
        with pytest.raises(ConfigError) as caught:
            build_fine_tuning(small_run(tmp_path / "run", folder, NO_DATA, *overrides), tmp_path / "run")
        return str(caught.value)

    return run


def test_a_family_that_is_refused(tmp_path):
    AutoConfig.for_model("gpt2").save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match=r"encoder\.name_or_path=.*'gpt2' reads from left to right"):
        build_fine_tuning(small_run(tmp_path / "run", tmp_path / "gpt2", NO_DATA), tmp_path / "run")


@pytest.mark.parametrize(
    ("family", "override", "message"),
    [
        ("lilt", "optimizer.layer_decay=0.9", "optimizer.layer_decay=0.9: which layer"),
        ("lilt", "unfreezing=gradual", "unfreezing=gradual: which layer"),
        ("xlnet", "model=bert_linear", "model=bert_linear: no head is known for model type 'xlnet'"),
        ("xmod", "trainer.precision=16", "trainer.precision=16: transformers' xmod can't be trained in 16 bits"),
        ("xlnet", "encoder.gradient_checkpointing=true", "encoder.gradient_checkpointing=true: transformers' xlnet"),
        ("xlnet", "encoder.attention_dropout=0.1", "encoder.attention_dropout=0.1: xlnet has no such rate"),
    ],
)  # fmt: skip
def test_a_setting_that_a_family_cannot_have(refused, family, override, message):
    decay = [] if "layer_decay" in override else ["optimizer.layer_decay=1"]
    assert refused(family, *decay, override).startswith(message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "override", "message"),
    [
        ("xlnet", "pretrain.mlm_weight=1", "pretrain.mlm_weight: no masked language model is known"),
        ("lilt", "pretrain.optimizer.layer_decay=0.9", "pretrain.optimizer.layer_decay=0.9: which layer"),
        ("xmod", "pretrain.trainer.precision=bf16", "pretrain.trainer.precision=bf16: transformers' xmod"),
    ],
)
def test_a_stage_that_a_family_cannot_have(refused, tmp_path, tiny_encoder, family, override, message):
    overrides = ["optimizer.layer_decay=1", "pretrain=contrastive", *SMALL_STAGE]
    overrides += ["pretrain.optimizer.layer_decay=1"] * ("layer_decay" not in override)
    assert refused(family, *overrides, override).startswith(message)
    config = compose_run(
        tmp_path / "stage",
        "pretrain=contrastive",
        "data=files",
        "data.train_file=nowhere.csv",
        "data.max_length=32",
        "encoder=any",
        f"encoder.name_or_path={tmp_path / family}",
        *overrides[3:],
        override,
        job="pretrain",
    )
    with pytest.raises(ConfigError) as caught:
        build_pretraining(config, tmp_path / "stage")
    assert str(caught.value).startswith(message)


def test_full_attention_of_big_bird_is_said(tmp_path, tiny_encoder, caplog):
    folder = encoder_folder(tmp_path / "big_bird", "big_bird", tiny_encoder)
    with pytest.raises(Exception, match=r"nowhere\.csv"):
        build_fine_tuning(small_run(tmp_path / "run", folder, NO_DATA), tmp_path / "run")
    assert "big_bird attends from every token to every other" in caplog.text
