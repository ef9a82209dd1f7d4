"""Parameter groups: each parameter once, with the lr of its layer and the decay of its kind."""

import pytest
import torch
from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.optim.groups import GroupRow, group_table, parameter_groups
from bert_ft.optim.layers import layer_of
from bert_ft.optim.schedules import Linear

NUM_LAYERS = 2
SETTINGS = {"num_layers": NUM_LAYERS, "lr": 1e-3, "layer_decay": 0.5, "weight_decay": 0.1}


class TinyEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(7, 4), "LayerNorm": nn.LayerNorm(4)})
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(nn.Linear(4, 4) for _ in range(NUM_LAYERS))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(4, 4)})


class TinyClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = TinyEncoder()
        self.head = nn.ModuleDict({"classifier": nn.Linear(4, 3)})


def groups_of(model, **overrides):
    return parameter_groups(model.named_parameters(), **SETTINGS | overrides)


def by_name(groups):
    return {group["name"]: group for group in groups}


def test_each_trainable_parameter_is_in_exactly_one_group():
    model = TinyClassifier()
    model.encoder.embeddings.requires_grad_(False)
    grouped = [id(param) for group in groups_of(model) for param in group["params"]]
    assert sorted(grouped) == sorted(id(param) for param in model.parameters() if param.requires_grad)
    assert not any(group["name"].startswith("embeddings") for group in groups_of(model))


def test_a_tied_parameter_counts_once_under_its_first_name():
    model = TinyClassifier()
    tied = [
        *model.named_parameters(),
        ("head.decoder.weight", model.encoder.embeddings["word_embeddings"].weight),
    ]
    assert group_table(parameter_groups(tied, **SETTINGS)) == group_table(groups_of(model))


def test_head_lr_is_the_heads_alone():
    plain, groups = by_name(groups_of(TinyClassifier())), by_name(groups_of(TinyClassifier(), head_lr=0.02))
    for name, group in groups.items():
        assert group["lr"] == (0.02 if name.startswith("head") else plain[name]["lr"]), name


def test_what_comes_trained_in_the_head_learns_at_lr():
    model = TinyClassifier()
    model.encoder.final_norm = nn.LayerNorm(4)
    model.head["mlm"] = nn.Linear(4, 4)
    groups = by_name(groups_of(model, head_lr=0.02, trained=["head.mlm."]))
    names = {id(param): name for name, param in model.named_parameters()}
    found = {
        name: [names[id(param)] for param in groups[name]["params"]]
        for name in ("head/trained", "head/trained/no_decay")
    }
    assert found == {
        "head/trained": ["head.mlm.weight"],
        "head/trained/no_decay": ["encoder.final_norm.weight", "encoder.final_norm.bias", "head.mlm.bias"],
    }
    assert groups["head/trained"]["lr"] == groups["head/trained/no_decay"]["lr"] == 1e-3
    assert groups["head"]["lr"] == groups["head/no_decay"]["lr"] == 0.02


def test_table():
    assert group_table(groups_of(TinyClassifier())) == [
        GroupRow("embeddings", 28, 1e-3 / 8, 0.1),
        GroupRow("embeddings/no_decay", 8, 1e-3 / 8, 0.0),
        GroupRow("layer.0", 16, 1e-3 / 4, 0.1),
        GroupRow("layer.0/no_decay", 4, 1e-3 / 4, 0.0),
        GroupRow("layer.1", 16, 1e-3 / 2, 0.1),
        GroupRow("layer.1/no_decay", 4, 1e-3 / 2, 0.0),
        GroupRow("head", 28, 1e-3, 0.1),
        GroupRow("head/no_decay", 7, 1e-3, 0.0),
    ]


def test_lr_of_each_layer_follows_the_schedule():
    """The trap of an ``lr_scale`` key: LambdaLR would then move all groups alike."""
    optimizer = torch.optim.AdamW(groups_of(TinyClassifier()))
    initial = [group["lr"] for group in optimizer.param_groups]
    multiplier = Linear(warmup_steps=2).multiplier(10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier)
    for step in range(1, 11):
        optimizer.step()
        scheduler.step()
        assert [group["lr"] for group in optimizer.param_groups] == [lr * multiplier(step) for lr in initial]


def test_an_update_moves_each_layer_by_its_own_lr():
    """Adam's first step is lr * sign(gradient): the group's lr is what the weights feel."""
    model = TinyClassifier()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer = torch.optim.AdamW(groups_of(model, weight_decay=0.0))
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    for name, param in model.named_parameters():
        lr = 1e-3 * 0.5 ** (NUM_LAYERS + 1 - layer_of(name, NUM_LAYERS))
        # the weights themselves are up to 3 in float32: 3 * 2 ** -24 of rounding
        torch.testing.assert_close(
            before[name] - param.detach(), torch.full_like(param, lr), rtol=1e-4, atol=4e-7
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer_decay", 1.1),
        ("lr", 0.0),
        ("weight_decay", -0.1),
        ("head_lr", 0.0),
    ],
)
def test_out_of_range(key, value):
    with pytest.raises(ConfigError, match=f"optimizer.{key}={value}: must be"):
        groups_of(TinyClassifier(), **{key: value})


def test_an_unknown_parameter_raises():
    model = TinyClassifier()
    model.encoder.adapter = nn.Linear(4, 4)
    with pytest.raises(ConfigError, match=r"encoder\.adapter\.weight"):
        groups_of(model)
