"""All problems at once, by key and value."""

import pytest

from bert_ft.config.check import problems
from bert_ft.config.rules import RULES

from .test_conf import compose

KAPPA = "+metrics.kappa._target_=torchmetrics.classification.MulticlassCohenKappa"
CACHED = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc: must be an integer ≥ 1 or -1 or null"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: must be an integer ≥ 1 or -1 or null"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5: must be an integer ≥ 1 or -1 or null"),
        (["optimizer.lr=0"], "optimizer.lr=0: must be a number > 0 or null"),
        (["optimizer.lr=true"], "optimizer.lr=True: must be a number > 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan: must be a number > 0"),
        (
            ["pretrain=mlm", "pretrain.optimizer.lr=null"],
            "pretrain.optimizer.lr=null: must be a number > 0",
        ),
        (["optimizer.layer_decay=1.1"], "optimizer.layer_decay=1.1: must be a number > 0 and ≤ 1"),
        (["model.pooling=median"], "model.pooling=median: must be one of cls, mean, max, attention"),
        (["model.head.hidden_sizes=[384,0]"], "hidden_sizes=[384, 0]: must be a list of integers ≥ 1"),
        (["model.head.hidden_sizes=384"], "model.head.hidden_sizes=384: must be a list of integers ≥ 1"),
        (["model.head.dropout=1"], "model.head.dropout=1: must be a number ≥ 0 and < 1"),
        (["trainer.precision=8"], "trainer.precision=8: must be one of auto, 16, 32"),
        (["data=files"], "data.train_file: required; give a text"),
        (["data=files", "data.train_file=nowhere.csv"], "data.train_file=nowhere.csv: no such file"),
        (["encoder=any"], "encoder.name_or_path: required; give a text"),
        (["seed=-1"], "seed=-1: must be an integer ≥ 0"),
        (["output_dir=mine"], "output_dir=mine: follows hydra.run.dir; give hydra.run.dir=mine"),
        (
            ["objective.metric=val/loss"],
            "objective.mode=max: contradicts objective.metric=val/loss; set it to min",
        ),
        (["schedule.warmup_steps=5"], "schedule.warmup_steps=5: schedule.warmup_ratio=0.1 is also set"),
        (
            ["schedule.warmup_ratio=null", "schedule.warmup_steps=50", "trainer.max_steps=9"],
            "schedule.warmup_steps=50: exceeds trainer.max_steps=9",
        ),
        (
            ["data.validation_ratio=0.5", "data.test_ratio=0.5"],
            "data.validation_ratio=0.5: leaves no training rows together with data.test_ratio=0.5",
        ),
        (["trainer.max_epochs=-1"], "trainer.max_epochs=-1: a schedule needs an end"),
        (["encoder.freeze_layers=-1"], "encoder.freeze_layers=-1: must be an integer ≥ 0 or null"),
        (["encoder.cache_frozen=2"], "encoder.cache_frozen=2: must be a boolean"),
        (
            ["encoder.cache_frozen=true"],
            "encoder.cache_frozen=True: needs a number of frozen layers; set encoder.freeze_layers",
        ),
        (["data.max_tokens=100"], "data.max_tokens=100: less than data.max_length"),
        (["optimizer.lr={a:1}"], "optimizer.lr={'a': 1}: must be a number > 0"),
        (["optimizer.show_groups=1"], "optimizer.show_groups=1: must be a boolean"),
        # model parts
        (
            ["model.pooling={share:1}"],
            "model.pooling={'share': 1}: must be one of cls, mean, max, attention or a class of your own",
        ),
        (["model.pooling=null"], "model.pooling=null: must be one of cls"),
        # metrics and the objective
        (
            ["objective.metric=val/kappa"],
            "objective.metric=val/kappa: must be one of val/accuracy, val/f1_macro, val/loss",
        ),
        (
            ["objective.metric=val/kapa", KAPPA],
            "objective.metric=val/kapa: must be one of val/accuracy, val/f1_macro, val/loss, val/kappa",
        ),
        (["objective.metric=val/kappa", "+metrics.kappa=null"], "objective.metric=val/kappa: must be one of"),
        (
            ["monitor.gradients.noise_scale=true"],
            "monitor.gradients.noise_scale=True: compares gradients of several batches; set trainer.accumulate_grad_",
        ),
        (
            ["monitor.gradients.noise_scale=true", "trainer.accumulate_grad_batches=2", "pretrain=mlm"],
            "monitor.gradients.noise_scale=True: compares gradients of several batches; set pretrain.trainer.acc",
        ),
        (
            ["callbacks.best_checkpoint.monitor=val/loss"],
            "callbacks.best_checkpoint.monitor=val/loss: the best checkpoint is chosen by objective.metric=val/accuracy",
        ),
        # callbacks that look for what isn't logged, or for its worst value
        (
            ["callbacks.early_stopping.monitor=val_loss"],
            "callbacks.early_stopping.monitor=val_loss: nothing of that name is logged (did you mean val/loss?); choose "
            "one of val/accuracy, val/f1_macro, val/loss",
        ),
        (
            ["callbacks.early_stopping.mode=min"],
            "callbacks.early_stopping.mode=min: val/accuracy is better when higher; set it to max",
        ),
        (
            ["pretrain=mlm", "pretrain.callbacks.best_checkpoint.mode=max"],
            "pretrain.callbacks.best_checkpoint.mode=max: val/loss is better when lower; set it to min",
        ),
        (
            ["pretrain=mlm", "pretrain.callbacks.early_stopping.monitor=val/alignment"],
            "pretrain.callbacks.early_stopping.monitor=val/alignment: nothing of that name is logged; choose one of "
            "val/loss, val/loss_mlm, val/masked_accuracy, val/perplexity",
        ),
        (
            [
                "+callbacks.more={_target_:lightning.pytorch.callbacks.ModelCheckpoint,monitor:val/loss,mode:max}"
            ],
            "callbacks.more.mode=max: val/loss is better when lower",
        ),
        (
            ["callbacks.best_checkpoint.filename=last"],
            "callbacks.last_checkpoint.filename=last: callbacks.best_checkpoint writes to the same file",
        ),
        (
            ["trainer.limit_val_batches=0", "callbacks.early_stopping=null"],
            "callbacks.best_checkpoint.monitor=val/accuracy: nothing is validated with trainer.limit_val_batches=0",
        ),
        (["trainer.limit_train_batches=0"], "trainer.limit_train_batches=0: must be a number > 0"),
        (["objective.metric=kappa", KAPPA], "objective.metric=kappa: must be one of"),
        (["+metrics.x=5"], "metrics.x=5: must name a class; give metrics.x._target_, or null"),
        (["+metrics.x.top_k=5"], "metrics.x={'top_k': 5}: must name a class"),
        ([KAPPA.replace("kappa.", "loss.")], "metrics.loss: this name is built in; choose another"),
        ([KAPPA.replace("kappa.", "accuracy.")], "metrics.accuracy: this name is built in"),
        (["++metrics=3"], "metrics=3: must be a mapping"),
        # trust
        (
            ["model.pooling={_target_:my_package.parts.Pooling}"],
            "model.pooling._target_=my_package.parts.Pooling: isn't among the trusted classes; if it is your own, "
            "add trust=[my_package.parts.*]",
        ),
        (
            ["+callbacks.x._target_=os.system"],
            "callbacks.x._target_=os.system: isn't among the trusted classes",
        ),
        (
            [
                "+callbacks.x={_target_:bert_ft.callbacks.random_state.RandomState,parts:[{_target_:os.system}]}"
            ],
            "callbacks.x.parts.0._target_=os.system: isn't among the trusted classes",
        ),
        (
            ["+callbacks.x._target_=lightning.pytorch.LightningModule.load_from_checkpoint"],
            "callbacks.x._target_=lightning.pytorch.LightningModule.load_from_checkpoint: isn't among",
        ),
        (
            ["encoder.attn_implementation=my_package.attention.near"],
            "encoder.attn_implementation=my_package.attention.near: isn't among the trusted classes; if it is your own, "
            "add trust=[my_package.attention.*]",
        ),
        (
            ["data.source._target_=my_package.Source", "trust=[my_package_too.*,my_package]"],
            "data.source._target_=my_package.Source: isn't among the trusted classes",
        ),
        (["data.source._target_=bert_ftx.Source"], "data.source._target_=bert_ftx.Source: isn't among"),
        (
            ["trust=['*']"],
            "trust=[*]: must be a full name, or a package followed by .*, e.g. my_package.*",
        ),
        (["trust=[my_*.parts]"], "trust=[my_*.parts]: must be a full name"),
        (["trust=my_package.*"], "trust=my_package.*: must be a list of texts"),
        # the loss and its terms
        (
            ["loss.class_weights=[1,0]"],
            "loss.class_weights=[1, 0]: must be a list of numbers > 0 or balanced or",
        ),
        (
            ["loss.class_weights=even"],
            "loss.class_weights=even: must be a list of numbers > 0 or balanced or null",
        ),
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1: must be a number ≥ 0"),
        (["loss.contrastive_weight=-1"], "loss.contrastive_weight=-1: must be a number ≥ 0"),
        (["loss.contrastive_temperature=0"], "loss.contrastive_temperature=0: must be a number > 0"),
        (["loss.r_drop_weight=null"], "loss.r_drop_weight=null: must be a number ≥ 0"),
        (["loss.adversarial_epsilon=-0.5"], "loss.adversarial_epsilon=-0.5: must be a number ≥ 0"),
        (["loss.adversarial_weight=x"], "loss.adversarial_weight=x: must be a number ≥ 0"),
        # schedules
        (
            ["schedule=cosine", "schedule.min_lr_ratio=1.5"],
            "schedule.min_lr_ratio=1.5: must be a number ≥ 0 and ≤ 1",
        ),
        (
            ["schedule=inverse_sqrt", "schedule.timescale=0"],
            "schedule.timescale=0: must be an integer ≥ 1 or null",
        ),
        (
            ["schedule=warmup_stable_decay", "schedule.shape=sqrt"],
            "schedule.shape=sqrt: must be one of linear, cosine, 1-sqrt",
        ),
        (
            ["schedule=warmup_stable_decay", "schedule.decay_ratio=-1"],
            "schedule.decay_ratio=-1: must be a number ≥ 0 and ≤ 1",
        ),
        (
            ["weight_decay_schedule=cosine", "weight_decay_schedule.end_ratio=-1"],
            "weight_decay_schedule.end_ratio=-1: must be a number ≥ 0",
        ),
        # averaging and unfreezing
        (["averaging=ema", "averaging.decay=1"], "averaging.decay=1: must be a number ≥ 0 and < 1"),
        (
            ["averaging=ema", "averaging.start_ratio=2"],
            "averaging.start_ratio=2: must be a number ≥ 0 and ≤ 1",
        ),
        (["averaging=swa", "averaging.every_n_steps=0"], "averaging.every_n_steps=0: must be an integer ≥ 1"),
        (["averaging=swa", "averaging.lr_ratio=0"], "averaging.lr_ratio=0: must be a number > 0 or null"),
        (
            ["averaging=swa", "averaging.cycle_steps=1"],
            "averaging.cycle_steps=1: must be an integer ≥ 2 or null",
        ),
        (
            ["averaging=swa", "averaging.cycle_end_ratio=7"],
            "averaging.cycle_end_ratio=7: must be a number ≥ 0 and ≤ 1",
        ),
        (["averaging=swa", "averaging.follow_schedule=1"], "averaging.follow_schedule=1: must be a boolean"),
        (
            ["unfreezing=gradual", "unfreezing.epochs_per_layer=0"],
            "unfreezing.epochs_per_layer=0: must be an integer ≥ 1",
        ),
        (
            ["unfreezing=gradual", "unfreezing.layers_at_start=-1"],
            "unfreezing.layers_at_start=-1: must be an integer ≥ 0",
        ),
        # augmentation
        (
            ["data.augmentation.token_deletion_prob=1"],
            "data.augmentation.token_deletion_prob=1: must be a number ≥ 0 and < 1",
        ),
        (
            ["data.augmentation.mean_span_length=0"],
            "data.augmentation.mean_span_length=0: must be a number ≥ 1",
        ),
        # the cache of the frozen part against what changes its input
        *(
            (
                [*CACHED, f"data.augmentation.{name}=0.1"],
                f"data.augmentation.{name}=0.1: encoder.cache_frozen=true needs unchanged texts",
            )
            for name in ("token_deletion_prob", "token_swap_prob", "span_mask_ratio")
        ),
        (
            [*CACHED, "data.augmentation._target_=my_package.Noise", "trust=[my_package.*]"],
            "data.augmentation._target_=my_package.Noise: encoder.cache_frozen=true needs unchanged texts",
        ),
        (
            [*CACHED, "loss=adversarial"],
            "loss.adversarial_epsilon=1.0: perturbs word embeddings",
        ),
        (
            ["trainer.compile=true", "loss=adversarial"],
            "loss.adversarial_epsilon=1.0: trainer.compile=true would recompile the encoder",
        ),
    ],
)
def test_one_problem(overrides, expected):
    found = problems(compose(*overrides))
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_found_together():
    found = problems(compose("optimizer.lr=-1", "model.pooling=x", "data.batch_size=0"))
    assert [problem.split("=")[0] for problem in found] == [
        "model.pooling",
        "optimizer.lr",
        "data.batch_size",
    ]


def test_a_sound_configuration_has_none():
    assert problems(compose("trainer.max_epochs=-1", "trainer.max_steps=10", "model=bert_linear")) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.pooling={_target_:my_package.parts.Pooling,share:2}", "trust=[my_package.*]"],
        ["model.pooling={_target_:my_package.parts.Pooling}", "trust=[my_package.parts.Pooling]"],
        ["encoder.attn_implementation=my_package.attention.near", "trust=[my_package.attention.near]"],
        ["model.pooling={_target_:bert_ft.nn.pooling.AttentionPooling}"],
        ["objective.metric=val/kappa", KAPPA],
        ["objective.metric=val/kappa", "objective.mode=min", KAPPA],
        ["+metrics.kappa=null"],
        ["loss.class_weights=balanced"],
        ["loss.class_weights=[1,0.5]"],
        [*CACHED, "data.augmentation=null"],
        [*CACHED, "loss=r_drop"],
        ["encoder.freeze_layers=1", "data.augmentation.token_deletion_prob=0.1", "loss=adversarial"],
        ["schedule=warmup_stable_decay", "schedule.decay_ratio=0.2", "schedule.shape=cosine"],
        ["averaging=swa", "averaging.cycle_steps=5", "averaging.lr_ratio=1.5"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_what_is_left_to_constructors_or_sound_has_no_problem(overrides):
    assert problems(compose(*overrides)) == []


def test_an_interpolated_target_is_left_to_hydra():
    assert problems(compose("+callbacks.x._target_=${loss._target_}")) == []


@pytest.mark.parametrize("key", sorted(RULES))
def test_no_rule_takes_anything(key):
    """Each rule refuses something, else it says nothing."""
    rule = RULES[key]
    if rule.kind != "any" or rule.choices:
        assert not all(rule.accepts(value) for value in (None, -1, "?", 1e9, True, []))
