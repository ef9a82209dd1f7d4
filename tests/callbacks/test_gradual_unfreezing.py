"""Layers that join from the top: which move in which epoch, what waiting costs, and that a resume goes on."""

import copy
import re
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from transformers import AutoModel

from bert_ft.callbacks.gradual_unfreezing import GradualUnfreezing
from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.check import problems
from bert_ft.errors import ConfigError
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoding import encode
from bert_ft.models.frozen import freeze
from bert_ft.optim.layers import layer_of
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.module import ClassificationModule
from tests.autograd import kept_bytes
from tests.config.test_conf import compose
from tests.models.families import FAMILIES, random_batch, tiny_config
from tests.training.running import SMALL, compose_run, file_overrides, train, train_in_two
from tests.training.test_run import interrupted

NUM_LAYERS = 2  # of the tiny encoder
HEAD = NUM_LAYERS + 1
EPOCHS = 5
GRADUAL = [
    "unfreezing=gradual",
    f"trainer.max_epochs={EPOCHS}",
    "callbacks.early_stopping=null",
    "optimizer.weight_decay=0.1",
]


@pytest.fixture
def epochs(monkeypatch):
    """A list that fills, at each epoch's end, with the parameters, who was trained, and who has moments."""
    seen = []

    def note(module):
        named = dict(module.classifier.named_parameters())
        moments = module.trainer.optimizers[0].state
        seen.append(
            SimpleNamespace(
                values={name: value.detach().clone() for name, value in named.items()},
                trained={name for name, value in named.items() if value.requires_grad},
                moments={name for name, value in named.items() if value in moments},
            )
        )

    monkeypatch.setattr(ClassificationModule, "on_train_epoch_end", note)
    monkeypatch.setattr(ClassificationModule, "on_train_start", note)
    return seen


def depth(name: str) -> int:
    return layer_of(name, NUM_LAYERS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "lowest"),
    [
        ([], [HEAD, 2, 1, 0, 0]),
        (["unfreezing.layers_at_start=1"], [2, 1, 0, 0, 0]),
        (["unfreezing.layers_at_start=9"], [0] * 5),
        (["unfreezing.epochs_per_layer=2"], [HEAD, HEAD, 2, 2, 1]),
        (["encoder.freeze_layers=1"], [HEAD, 2, 2, 2, 2]),
        (["encoder.freeze_layers=1", "encoder.cache_frozen=true"], [HEAD, 2, 2, 2, 2]),
        (["model=bert_linear"], [HEAD, 2, 1, 0, 0]),
        (["encoder.gradient_checkpointing=true", "data.max_tokens=64"], [HEAD, 2, 1, 0, 0]),
        (["trainer.accumulate_grad_batches=3"], [HEAD, 2, 1, 0, 0]),
        (["loss=adversarial"], [HEAD, 2, 1, 0, 0]),
    ],
    ids=str,
)
def test_one_layer_after_the_other_moves(tmp_path, tiny_encoder, reviews, epochs, overrides, lowest):
    train(tmp_path, tiny_encoder, reviews, *GRADUAL, *overrides)
    assert len(epochs) == 1 + EPOCHS
    for before, after, limit in zip(epochs, epochs[1:], lowest, strict=False):
        moved = {name for name, value in after.values.items() if not torch.equal(value, before.values[name])}
        assert {depth(name) for name in moved} == set(range(limit, HEAD + 1))
        trained = {name for name in after.trained if not name.endswith(".unused")}
        assert trained == {
            name for name in after.values if depth(name) >= limit and not name.endswith(".unused")
        }
        assert after.moments == trained  # none for who waits
        # keys' biases have no gradient: softmax takes no notice of them
        assert trained - moved <= {name for name in trained if name.endswith("key.bias")}


@pytest.mark.slow
def test_with_every_layer_from_the_start_it_is_plain_training(tmp_path, tiny_encoder, reviews):
    weights = []
    for name, options in (
        ("plain", ["unfreezing=none"]),
        ("open", ["unfreezing.layers_at_start=9"]),
        ("gradual", []),
    ):
        train(tmp_path / name, tiny_encoder, reviews, *GRADUAL, "trainer.max_epochs=2", *options)
        weights.append(torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    plain, everything, gradual = weights
    assert all(torch.equal(plain[name], everything[name]) for name in plain)
    assert not all(torch.equal(plain[name], gradual[name]) for name in plain)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["trainer.max_epochs=1"],
            "after 1 epochs, and layer.1, and at last the embeddings, would join in epoch 4",
        ),
        (
            ["trainer.max_epochs=3"],
            "after 3 epochs, and the embeddings would join in epoch 4; train for longer, or raise",
        ),
        (["trainer.max_epochs=3", "unfreezing.epochs_per_layer=2"], "the embeddings, would join in epoch 7"),
        (["trainer.max_epochs=3", "unfreezing.layers_at_start=1"], None),
        (["trainer.max_epochs=2", "encoder.freeze_layers=1"], None),
    ],
)
@pytest.mark.slow
def test_layers_that_never_join_are_told(tmp_path, tiny_encoder, reviews, caplog, overrides, said):
    train(tmp_path, tiny_encoder, reviews, *GRADUAL, *overrides)
    found = [record.getMessage() for record in caplog.records if "unfreezing" in record.getMessage()]
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_after_the_run_all_may_be_trained_but_what_was_frozen(tmp_path, tiny_encoder, reviews):
    config = compose_run(
        tmp_path,
        *SMALL,
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path / 'cache'}",
        *GRADUAL,
        "encoder.freeze_layers=0",
        "trainer.max_epochs=1",
    )
    training = build_fine_tuning(config, tmp_path)
    before = {name: p.requires_grad for name, p in training.module.named_parameters()}
    assert len(set(before.values())) == 2
    training.run()
    assert before == {name: p.requires_grad for name, p in training.module.named_parameters()}


def at_epoch(callback, model, epoch):
    callback.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), SimpleNamespace(classifier=model))


def classifier(family):
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(("a", "b", "c")).config_entries())
    return ResidualClassifier(empty_encoder(config), pooling="attention", dropout=0.0).train()


def backward(model, batch):
    model.zero_grad()
    nn.functional.cross_entropy(model(batch), batch.labels).backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_layers(family):
    model, batch = classifier(family), random_batch([1, 4, 4, 9])
    total = model.config.num_hidden_layers
    callback = GradualUnfreezing()
    for epoch in range(total + 2):
        at_epoch(callback, model, epoch)
        backward(model, batch)
        for name, parameter in model.named_parameters():
            is_trained = layer_of(name, total) > total - epoch
            assert parameter.requires_grad == (parameter.grad is not None) == is_trained, name
    assert all(parameter.grad is not None for parameter in model.parameters())


def saved_bytes(model, batch) -> int:
    """What autograd keeps of the encoder's forward pass, parameters left out."""
    return kept_bytes(lambda: encode(model.encoder, batch))


@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta"])
def test_what_is_kept_is_as_with_frozen_layers(family):
    model, batch = classifier(family), random_batch([1, 4, 4, 9])
    total = model.config.num_hidden_layers
    callback = GradualUnfreezing()
    kept = []
    for epoch in range(total + 2):
        at_epoch(callback, model, epoch)
        frozen = copy.deepcopy(model)
        for parameter in frozen.parameters():
            parameter.requires_grad_(True)
        if epoch <= total:
            freeze(frozen.encoder, total - epoch)
        kept.append(saved_bytes(model, batch))
        assert kept[-1] == saved_bytes(frozen, batch)
    assert kept[0] == 0
    assert kept == sorted(set(kept))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "condition", "overrides"),
    [
        ("on_train_epoch_start", lambda module: module.current_epoch == 1, []),
        ("on_train_epoch_start", lambda module: module.current_epoch == 2, []),
        # the last validation was in the middle of the second epoch, or of the third
        ("on_train_batch_start", lambda m: m.global_step == 17, ["trainer.val_check_interval=0.5"]),
        ("on_train_batch_start", lambda m: m.global_step == 27, ["trainer.val_check_interval=0.5"]),
    ],
    ids=["after the first epoch", "after the second", "in the second", "in the third"],
)
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path, tiny_encoder, reviews, monkeypatch, hook, condition, overrides
):
    lowest = []
    arguments = (tiny_encoder, reviews, *GRADUAL, "trainer.max_epochs=4", *overrides)
    train(tmp_path / "whole", *arguments)
    last = interrupted(monkeypatch, hook, condition, tmp_path / "broken", *arguments)

    def note(module, *_):
        trained = [depth(name) for name, p in module.classifier.named_parameters() if p.requires_grad]
        lowest.append((module.current_epoch, min(trained)))

    monkeypatch.setattr(ClassificationModule, "on_train_batch_start", note)
    train(tmp_path / "broken", *arguments, f"resume_from={last}")
    assert len(lowest) < 40
    assert {limit for epoch, limit in lowest if epoch == 3} == {0}
    assert all(limit == HEAD - epoch for epoch, limit in lowest)
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs_per_layer": 0}, r"unfreezing\.epochs_per_layer=0: must be an integer ≥ 1"),
        ({"layers_at_start": -1}, r"unfreezing\.layers_at_start=-1: must be an integer ≥ 0"),
    ],
)
def test_out_of_range(setting, message):
    with pytest.raises(ConfigError, match=message):
        GradualUnfreezing(**setting)
    ((key, value),) = setting.items()
    (found,) = problems(compose("unfreezing=gradual", f"unfreezing.{key}={value}"))
    assert found.startswith(f"unfreezing.{key}={value}: must be an integer ≥ ")


def several(strategy):
    return SimpleNamespace(world_size=2, strategy=strategy)


class TestSeveralProcesses:
    @pytest.mark.parametrize("strategy", [DDPStrategy(), SimpleNamespace()], ids=["ddp", "another"])
    def test_without_a_look_for_unused_parameters_they_would_wait_for_ever(self, strategy):
        with pytest.raises(ConfigError, match=r"unfreezing=gradual: .*=ddp_find_unused_parameters_true"):
            GradualUnfreezing().setup(several(strategy), SimpleNamespace(), "fit")

    def test_with_it_they_go(self):
        strategy = StrategyRegistry.get("ddp_find_unused_parameters_true")
        GradualUnfreezing().setup(several(strategy), SimpleNamespace(), "fit")

    def test_who_tests_or_is_alone_needs_none(self):
        GradualUnfreezing().setup(several(DDPStrategy()), SimpleNamespace(), "test")
        alone = SimpleNamespace(world_size=1, strategy=SimpleNamespace())
        GradualUnfreezing().setup(alone, SimpleNamespace(), "fit")

    @pytest.mark.slow
    def test_two_train_the_same_layers(self, tmp_path, tiny_encoder, reviews):
        train_in_two(
            tmp_path,
            tiny_encoder,
            reviews,
            "trainer.strategy=ddp_find_unused_parameters_true",
            *GRADUAL,
            "trainer.max_epochs=3",
        )
        state = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        start = AutoModel.from_pretrained(tiny_encoder, add_pooling_layer=False).state_dict()
        prefix = "classifier.encoder."
        for name, value in state.items():
            if name.startswith(prefix):
                is_trained = depth(name.removeprefix("classifier.")) >= 1
                if not name.endswith("key.bias"):
                    assert torch.equal(value, start[name.removeprefix(prefix)]) != is_trained, name
