"""What would fail only after an epoch is refused before the first step, and trying it changes nothing."""

import csv

import pytest

from bert_ft.config.build.pretraining import build_pretraining
from bert_ft.errors import ConfigError

from .own_classes import TRUST
from .running import SMALL_STAGE, compose_run, file_overrides, train

SAVED = "lightning.pytorch.callbacks.ModelCheckpoint"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["callbacks.early_stopping.monitor=train/lss"],
            "callbacks.early_stopping.monitor=train/lss: nothing of that name is logged (did you mean train/loss?); "
            "choose one of train/grad_norm, train/grad_norm_clipped, train/loss, train/loss_plain, val/accuracy",
        ),
        (
            ["callbacks.last_checkpoint.filename='{epoch}-{val/f1:.2f}'"],
            "callbacks.last_checkpoint.filename={epoch}-{val/f1:.2f}: val/f1: nothing of that name is logged",
        ),
        (
            ["callbacks.last_checkpoint.filename='{val/loss:.2q}'"],
            "callbacks.last_checkpoint.filename={val/loss:.2q}: can't be turned into a file name",
        ),
        (
            ["callbacks.last_checkpoint.dirpath=/dev/null/nowhere"],
            "callbacks.last_checkpoint.dirpath=/dev/null/nowhere: /dev/null can't be written to",
        ),
        (
            [
                "+metrics.error={_target_:torchmetrics.classification.MulticlassHammingDistance}",
                f"+callbacks.more={{_target_:{SAVED},monitor:val/error,mode:max}}",
            ],
            "callbacks.more.mode=max: val/error is better when lower; set it to min",
        ),
        (
            ["loss=plain", "loss._target_=torch.nn.CrossEntropyLoss"],
            "loss.class_weights=None: CrossEntropyLoss has no such argument; remove it by ~loss.class_weights",
        ),
        (
            ["+trainer.max_epoch=3"],
            "trainer.max_epoch=3: Trainer has no such argument; did you mean max_epochs?",
        ),
        (["trainer.limit_val_batches=0.01"], "trainer: "),
        # before, when things are built
        (
            ["trainer.limit_train_batches=0.01"],
            "trainer.limit_train_batches=0.01: leaves no training batch in an epoch",
        ),
        (
            ["+callbacks.early_stopping.patient=3"],
            "callbacks.early_stopping.patient=3: EarlyStopping has no such argument; did you mean patience?",
        ),
        (
            ["+callbacks.best_checkpoint.every_n_epoch=3"],
            "callbacks.best_checkpoint.every_n_epoch=3: BestCheckpoint has no such argument; did you mean every_n_epochs?",
        ),
        (
            ["+callbacks.early_stopping.verbose=5"],
            "callbacks.early_stopping.verbose=5: must be a boolean",
        ),
        (["callbacks.best_checkpoint.save_top_k=-2"], "callbacks.best_checkpoint: "),
        (["+logger.csv.names=x"], "logger.csv.names=x: CSVLogger has no such argument"),
        (
            ["+metrics.f1._target_=torchmetrics.classification.BinaryF1Score"],
            "metrics.f1._target_=torchmetrics.classification.BinaryF1Score: BinaryF1Score doesn't fit the single_label task",
        ),
        (
            ["+metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,average:none}"],
            "returns 2 numbers instead of one",
        ),
        (
            ["+metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:5}"],
            "metrics.f1._target_=torchmetrics.classification.MulticlassF1Score: MulticlassF1Score doesn't fit",
        ),
        (
            [
                "+metrics.error={_target_:torchmetrics.classification.MulticlassHammingDistance}",
                "objective.metric=val/error",
            ],
            "objective.mode=max: val/error is better when lower; set it to min",
        ),
        (
            ["loss=plain", "loss._target_=torch.nn.BCELoss", "~loss.class_weights"],
            "loss._target_=torch.nn.BCELoss: can't be computed from logits",
        ),
        (
            [
                "loss=plain",
                "loss._target_=torch.nn.CrossEntropyLoss",
                "~loss.class_weights",
                "+loss.reduction=none",
            ],
            "loss._target_=torch.nn.CrossEntropyLoss: returns ",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(
    tmp_path, tiny_encoder, reviews, overrides, expected
):
    with pytest.raises(ConfigError) as error:
        train(tmp_path, tiny_encoder, reviews, *overrides)
    assert expected in str(error.value)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_pretraining_is_tried_too(tmp_path, tiny_encoder, reviews):
    settings = [
        "data=files",
        "encoder=any",
        f"encoder.name_or_path={tiny_encoder}",
        "monitor=none",
        "report=false",
        "data.max_length=32",
    ]
    settings += [*file_overrides(reviews), "trainer.accelerator=cpu", "pretrain.num_cached=0"]
    wrong = "pretrain.callbacks.last_checkpoint.filename='{val/accuracy}'"
    config = compose_run(tmp_path, *settings, wrong, job="pretrain")
    with pytest.raises(ConfigError, match=r"filename=\{val/accuracy\}: val/accuracy: nothing of that name"):
        build_pretraining(config, tmp_path).run()


def test_a_callback_of_ones_own_may_log_what_the_dry_run_does_not_see(
    tmp_path, tiny_encoder, reviews, package
):
    with (package / "my_package/parts.py").open("a") as file:
        file.write(
            "\nfrom lightning.pytorch import Callback\n"
            "class Logs(Callback):\n"
            "    def on_train_batch_end(self, trainer, module, *_):\n"
            "        module.log('own', 1.0)\n"
        )
    own = ["+callbacks.own._target_=my_package.parts.Logs", "callbacks.early_stopping.monitor=own", TRUST]
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1", *own)
    assert metrics["stopped"] == "all steps done"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["encoder.freeze_layers=1", "encoder.cache_frozen=true", "data.num_workers=1"],
        ["loss=adversarial", "averaging=ema", "trainer.accumulate_grad_batches=3"],
        ["pretrain=mlm_contrastive", "pretrain.num_cached=0", *SMALL_STAGE, "pretrain.trainer.max_epochs=1"],
    ],
    ids=["plain", "frozen", "adversarial", "pretraining"],
)
def test_it_leaves_weights_and_logs_as_they_were(tmp_path, tiny_encoder, reviews, overrides):
    """To the last bit; dropout, the order of the data and what is logged don't depend on it."""
    found = []
    for steps in (0, 1):
        folder = tmp_path / str(steps)
        tried = f"trainer.num_sanity_val_steps={steps}"
        stage = [f"pretrain.{tried}"] if "pretrain.num_cached=0" in overrides else []
        train(folder, tiny_encoder, reviews, "trainer.max_epochs=2", tried, *stage, *overrides)
        logged = [
            {name: value for name, value in row.items() if "second" not in name}
            for path in sorted(folder.rglob("metrics.csv"))
            for row in csv.DictReader(path.read_text().splitlines())
        ]
        found.append(((folder / "model/model.safetensors").read_bytes(), logged))
    assert found[0][1] == found[1][1]
    assert found[0][0] == found[1][0]
