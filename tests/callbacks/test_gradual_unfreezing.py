"""Layers that join from the top: which move in which epoch, what waiting costs, and a resumed run."""

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
from bert_ft.errors import ConfigError
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoding import encode
from bert_ft.models.frozen import freeze
from bert_ft.optim.layers import layer_of
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.module import ClassificationModule
from tests.autograd import kept_bytes
from tests.models.families import FAMILIES, random_batch, tiny_config
from tests.training.running import interrupted, small_run, train, train_in_two

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
    """A list that fills, at the start and after each epoch, with parameters, trained ones and those with moments."""
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
        (["unfreezing.layers_at_start=1", "unfreezing.epochs_per_layer=2"], [2, 2, 1, 1, 0]),
        (["unfreezing.layers_at_start=9"], [0] * 5),
        (["encoder.freeze_layers=1", "encoder.cache_frozen=true"], [HEAD, 2, 2, 2, 2]),
        (["model=bert_linear", "trainer.accumulate_grad_batches=3"], [HEAD, 2, 1, 0, 0]),
        (["encoder.gradient_checkpointing=true", "data.max_tokens=64"], [HEAD, 2, 1, 0, 0]),
        (["loss=adversarial", "encoder.freeze_layers=1"], [HEAD, 2, 2, 2, 2]),
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
        names = {name for name in after.values if not name.endswith(".unused")}
        assert trained == {name for name in names if depth(name) >= limit}
        assert after.moments == trained  # a waiting layer has none
        # keys' biases have no gradient: softmax ignores them
        assert trained - moved <= {name for name in trained if name.endswith("key.bias")}


@pytest.mark.slow
def test_with_every_layer_from_the_start_it_is_plain_training(tmp_path, tiny_encoder, reviews):
    states = []
    for options in (["unfreezing=none"], ["unfreezing.layers_at_start=9"]):
        folder = tmp_path / str(len(states))
        train(folder, tiny_encoder, reviews, *GRADUAL, "trainer.max_epochs=2", *options)
        states.append(torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    plain, everything = states
    assert all(torch.equal(plain[name], everything[name]) for name in plain)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["trainer.max_epochs=1"],
            r"after 1 epoch without training layer\.1, layer\.0, the embeddings \(the last would join in epoch 4\)",
        ),
        (
            ["trainer.max_epochs=3", "unfreezing.epochs_per_layer=2"],
            r"layer\.0, the embeddings .* in epoch 7\)",
        ),
        (["trainer.max_epochs=2", "encoder.freeze_layers=1"], None),
    ],
)
@pytest.mark.slow
def test_layers_that_never_join_are_warned_of(tmp_path, tiny_encoder, reviews, caplog, overrides, said):
    train(tmp_path, tiny_encoder, reviews, *GRADUAL, *overrides)
    found = [record.getMessage() for record in caplog.records if "unfreezing" in record.getMessage()]
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_after_the_run_only_frozen_layers_stay_frozen(tmp_path, tiny_encoder, reviews):
    settings = [*GRADUAL, "encoder.freeze_layers=0", "trainer.max_epochs=1"]
    training = build_fine_tuning(small_run(tmp_path, tiny_encoder, reviews, *settings), tmp_path)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_layers(family):
    model, batch = classifier(family), random_batch([1, 4, 4, 9])
    total = model.config.num_hidden_layers
    callback = GradualUnfreezing()
    for epoch in range(total + 2):
        at_epoch(callback, model, epoch)
        model.zero_grad()
        nn.functional.cross_entropy(model(batch), batch.labels).backward()
        for name, parameter in model.named_parameters():
            is_trained = layer_of(name, total) > total - epoch
            assert parameter.requires_grad == (parameter.grad is not None) == is_trained, name
    assert all(parameter.grad is not None for parameter in model.parameters())


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
        ours, others = (kept_bytes(lambda one=one: encode(one.encoder, batch)) for one in (model, frozen))
        assert ours == others
        kept.append(ours)
    assert kept[0] == 0
    assert kept == sorted(set(kept))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "condition", "overrides"),
    [
        ("on_train_epoch_start", lambda module: module.current_epoch == 1, []),
        # the last validation was in the middle of the third epoch
        ("on_train_batch_start", lambda m: m.global_step == 27, ["trainer.val_check_interval=0.5"]),
    ],
    ids=["after the first epoch", "in the third"],
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
    "setting", [{"epochs_per_layer": 0}, {"layers_at_start": -1}], ids=["epochs_per_layer", "layers_at_start"]
)
def test_out_of_range(setting):
    ((key, value),) = setting.items()
    with pytest.raises(ConfigError, match=rf"unfreezing\.{key}={value}: must be an integer ≥ {value + 1}"):
        GradualUnfreezing(**setting)


def several(strategy):
    return SimpleNamespace(world_size=2, strategy=strategy)


class TestSeveralProcesses:
    @pytest.mark.parametrize("strategy", [DDPStrategy(), SimpleNamespace()], ids=["ddp", "another"])
    def test_need_to_find_unused_parameters(self, strategy):
        trainer = several(strategy)
        with pytest.raises(ConfigError, match=r"unfreezing=gradual: .*=ddp_find_unused_parameters_true"):
            GradualUnfreezing().setup(trainer, SimpleNamespace(), "fit")
        GradualUnfreezing().setup(trainer, SimpleNamespace(), "test")

    @pytest.mark.parametrize(
        "trainer",
        [
            several(StrategyRegistry.get("ddp_find_unused_parameters_true")),
            SimpleNamespace(world_size=1, strategy=SimpleNamespace()),
        ],
        ids=["that find them", "a single one"],
    )
    def test_are_accepted(self, trainer):
        GradualUnfreezing().setup(trainer, SimpleNamespace(), "fit")

    @pytest.mark.slow
    def test_two_train_the_same_layers(self, tmp_path, tiny_encoder, reviews):
        settings = ["trainer.strategy=ddp_find_unused_parameters_true", *GRADUAL, "trainer.max_epochs=3"]
        train_in_two(tmp_path, tiny_encoder, reviews, *settings)
        state = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        start = AutoModel.from_pretrained(tiny_encoder, add_pooling_layer=False).state_dict()
        prefix = "classifier.encoder."
        for name, value in state.items():
            if name.startswith(prefix):
                is_trained = depth(name.removeprefix("classifier.")) >= 1
                if not name.endswith("key.bias"):
                    assert torch.equal(value, start[name.removeprefix(prefix)]) != is_trained, name
