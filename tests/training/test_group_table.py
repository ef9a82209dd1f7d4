"""``optimizer.show_groups=true`` prints what the optimizer really has."""

import re

import pytest

from bert_ft.optim.groups import GroupRow, group_table, parameter_groups
from bert_ft.training.module import ClassificationModule
from bert_ft.training.summary import print_groups

from .running import train

SETTINGS = {"lr": 2e-3, "layer_decay": 0.5, "weight_decay": 0.1, "head_lr": 5e-3}


def printed_rows(text: str) -> list[GroupRow]:
    """The lines of the table, read back."""
    if "Parameter groups" not in text:
        return []
    table = text[text.index("Parameter groups") :]
    pattern = r"│ +(\S+) +│ +([\d,]+) +│ +(\S+) +│ +(\S+) +│"
    return [
        GroupRow(name, int(count.replace(",", "")), float(lr), float(decay))
        for name, count, lr, decay in re.findall(pattern, table)
    ]


@pytest.fixture
def used(monkeypatch):
    """The groups that the optimizer of a run starts with, by its own account, and the module's parameters."""
    seen = {}

    def look(module):
        optimizer = module.optimizers().optimizer
        seen["groups"] = [
            (
                group["name"],
                sum(p.numel() for p in group["params"]),
                group["initial_lr"],
                group["weight_decay"],
            )
            for group in optimizer.param_groups
        ]
        names = [(name, p) for name, p in module.classifier.named_parameters() if p.requires_grad]
        seen["table"] = group_table(parameter_groups(names, num_layers=2, **SETTINGS))

    monkeypatch.setattr(ClassificationModule, "on_train_start", look)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], ["encoder.freeze_layers=1"]], ids=["all", "frozen"])
def test_the_table_is_that_of_the_optimizer(tmp_path, tiny_encoder, reviews, capsys, used, overrides):
    settings = [f"optimizer.{key}={value}" for key, value in SETTINGS.items()]
    train(tmp_path, tiny_encoder, reviews, "debug=fast", "optimizer.show_groups=true", *settings, *overrides)
    rows = printed_rows(capsys.readouterr().out)
    assert rows == used["table"]
    assert [(row.layer, row.num_parameters, row.lr, row.weight_decay) for row in rows] == used["groups"]
    frozen = bool(overrides)
    names = [] if frozen else ["embeddings", "layer.0"]
    assert [row.layer for row in rows if "/" not in row.layer] == [*names, "layer.1", "head"]
    by_name = {row.layer: row for row in rows}
    # in closed form: two layers below the head
    assert by_name["layer.1"].lr == pytest.approx(2e-3 * 0.5)
    assert by_name["head"].lr == 5e-3
    if not frozen:
        assert by_name["embeddings/no_decay"] == GroupRow("embeddings/no_decay", 64, 2e-3 * 0.5**3, 0.0)


def test_by_default_nothing_is_printed(tmp_path, tiny_encoder, reviews, capsys):
    train(tmp_path, tiny_encoder, reviews, "debug=fast")
    assert printed_rows(capsys.readouterr().out) == []


def test_numbers_are_rounded_to_three_digits(capsys):
    print_groups([GroupRow("layer.0", 1_234_567, 1 / 3 * 1e-4, 0.01)])
    (row,) = printed_rows(capsys.readouterr().out)
    assert row == GroupRow("layer.0", 1_234_567, 3.33e-5, 0.01)
