"""Settings of the pre-training stage that contradict each other, all told at once."""

import sys

import hydra
import pytest

from bert_ft.config.check import problems
from bert_ft.config.check_pretraining import unread
from bert_ft.config.paths import conf_dir
from bert_ft.pretrain import main

SUPERVISED = ["pretrain=contrastive", "pretrain.supervised=true"]


def found(*overrides, name="train"):
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        return problems(hydra.compose(name, list(overrides)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["pretrain=mlm", "pretrain.mlm_weight=0"],
            "pretrain.mlm_weight=0: pretrain.contrastive_weight is also 0",
        ),
        (
            ["pretrain=mlm", "pretrain.masking.mask_replace_prob=0.95"],
            "pretrain.masking.mask_replace_prob=0.95: exceeds 1 together with pretrain.masking.random_replace_prob=0.1",
        ),
        (
            ["pretrain=contrastive", "pretrain.batch_size=1"],
            "pretrain.batch_size=1: pretrain.contrastive_weight=1.0",
        ),
        (
            ["pretrain=contrastive", "encoder.hidden_dropout=0", "encoder.attention_dropout=0"],
            "encoder.hidden_dropout=0: pretrain.contrastive_weight=1.0 compares two views",
        ),
        (
            ["pretrain=mlm", "pretrain.supervised=true"],
            "pretrain.supervised=True: pretrain.contrastive_weight=0",
        ),
        (
            [*SUPERVISED, "data.unlabeled_file=README.md"],
            "pretrain.supervised=True: data.unlabeled_file=README.md has no",
        ),
        (
            [*SUPERVISED, "pretrain.include_evaluation_texts=true"],
            "pretrain.supervised=True: pretrain.include_evaluation_texts=true",
        ),
        (
            ["pretrain=mlm", "pretrain.schedule.warmup_steps=5"],
            "pretrain.schedule.warmup_steps=5: pretrain.schedule.warmup_ratio=0.1 is also set",
        ),
        (
            [
                "pretrain=mlm",
                "pretrain.schedule.warmup_steps=5",
                "pretrain.schedule.warmup_ratio=null",
                "pretrain.trainer.max_steps=3",
            ],
            "pretrain.schedule.warmup_steps=5: exceeds pretrain.trainer.max_steps=3",
        ),
        (
            ["pretrain=mlm", "pretrain.trainer.max_epochs=-1"],
            "pretrain.trainer.max_epochs=-1: a schedule needs an end",
        ),
        (
            ["data.unlabeled_file=README.md"],
            "data.unlabeled_file=README.md: pretrain=none reads no unlabeled texts",
        ),
        (["pretrain=mlm", "data.unlabeled_file=none.txt"], "data.unlabeled_file=none.txt: no such file"),
        (
            ["data=files", "data.train_file=README.md", "data.label_column=null"],
            "data.label_column=null: fine-tuning needs labels",
        ),
        (
            ["pretrain=mlm", "pretrain.pooling=attention"],
            "pretrain.pooling=attention: must be one of cls, mean, max",
        ),
        (["pretrain=mlm", "pretrain.optimizer.lr=0"], "pretrain.optimizer.lr=0: must be a number > 0"),
    ],
)
def test_what_contradicts(overrides, message):
    (problem,) = found(*overrides)
    assert problem.startswith(message)


def test_what_is_allowed():
    assert found(*SUPERVISED, "encoder.hidden_dropout=0", "encoder.attention_dropout=0") == []
    assert found("data=files", "data.train_file=README.md", "data.label_column=null", name="pretrain") == []
    assert found("pretrain=mlm", "data.unlabeled_file=README.md") == []


def test_the_stage_alone_needs_one():
    assert found("pretrain=none", name="pretrain") == [
        "pretrain=none: leaves nothing to do; choose mlm, contrastive or mlm_contrastive"
    ]


def test_what_the_stage_alone_would_not_read():
    overrides = [
        "optimizer.lr=3",
        "+data.augmentation.x=1",
        "data.batch_size=4",
        "encoder.freeze_layers=1",
        "encoder.hidden_dropout=0.2",
        "pretrain.optimizer.lr=1",
        "monitor.attention.num_texts=1",
        "monitor.curves.smoothing=0.5",
        "seed=1",
    ]
    assert [problem.split(":")[0] for problem in unread("pretrain", overrides)] == [
        "optimizer.lr",
        "data.augmentation.x",
        "data.batch_size",
        "encoder.freeze_layers",
        "monitor.attention.num_texts",
    ]
    assert unread("train", overrides) == []


def test_everything_is_told_at_once(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    wrong = ["optimizer.lr=3", "trainer.max_steps=3", "pretrain.temperature=0", "pretrain.mlm_weight=0"]
    monkeypatch.setattr(sys, "argv", ["pretrain", *wrong])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.splitlines() == [
        "4 problems in the configuration:",
        "  optimizer.lr: applies only to fine-tuning; use pretrain.optimizer",
        "  trainer.max_steps=3: there is no key trainer.max_steps; did you mean pretrain.trainer.max_steps?",
        "  pretrain.temperature=0: must be a number > 0",
        "  pretrain.mlm_weight=0: pretrain.contrastive_weight is also 0, so nothing is trained; raise one of them",
    ]
