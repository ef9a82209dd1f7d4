"""What monitors read is declared, our own modules have it, and only one file asks for it."""

import ast
import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch import LightningModule, Trainer
from torch import nn

import bert_ft.callbacks
from bert_ft.callbacks import monitored
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.module import ClassificationModule
from bert_ft.training.pretraining_module import PretrainingModule

CALLBACKS = Path(bert_ft.callbacks.__file__).parent


TASK = SingleLabel(("no", "yes"))
SETTINGS = {"objective": None, "optimizer": None, "schedule": None, "max_tokens": 8}


def classification():
    return ClassificationModule(nn.Module(), task=TASK, **SETTINGS)


def pretraining():
    return PretrainingModule(nn.Module(), **SETTINGS)


def data():
    return TextDataModule(SimpleNamespace(splits={}), batch_size=1, eval_batch_size=1, max_tokens=8, seed=0)


def members(protocol) -> dict:
    return {name: value for name, value in vars(protocol).items() if not name.startswith("_")}


@pytest.mark.parametrize(
    ("make", "protocol"),
    [
        (classification, monitored.MonitoredModule),
        (classification, monitored.CachingModule),
        (classification, monitored.JudgedModule),
        (classification, monitored.AveragedModule),
        (pretraining, monitored.MonitoredModule),
        (data, monitored.MonitoredData),
    ],
)
def test_our_own_have_all_that_is_declared(make, protocol):
    owner = make()
    assert members(protocol)
    assert all("Without it: " in inspect.getdoc(declared) for declared in members(protocol).values())
    children = dict(owner.named_children()) if isinstance(owner, nn.Module) else {}
    for name, declared in members(protocol).items():
        # without asking: a share needs a trainer
        found = children[name] if name in children else inspect.getattr_static(owner, name)
        if inspect.isfunction(declared):
            assert list(inspect.signature(found).parameters) == list(inspect.signature(declared).parameters)


def test_what_is_assumed_of_a_foreign_module():
    module, trainer = LightningModule(), Trainer(accelerator="cpu", accumulate_grad_batches=4, logger=False)
    assert monitored.max_tokens(module) > 10**9
    assert monitored.batch_loss(module) is None
    assert not monitored.tells_clipping(module)
    assert monitored.clipped_gradients(module) is None
    assert monitored.accumulated_share(trainer, module, 3) == 0.75
    assert monitored.has_initial_weights(module)
    assert monitored.task_of(module, 2) == SingleLabel(("0", "1"))
    assert not monitored.caches_frozen_states(module)
    assert not monitored.waits_for_average(module)
    assert monitored.validation_split(trainer) is None
    assert monitored.tokenizer_of(trainer, module) is None
    assert monitored.validation_texts(trainer, np.zeros(1)) is None
    assert monitored.validation_sources(trainer, np.zeros(1)) is None


def test_nobody_else_asks_a_module_whether_it_has_something():
    found = set()
    for path in CALLBACKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr")):
                continue
            owner, name = ast.unparse(node.args[0]), ast.unparse(node.args[1])
            if owner in ("pl_module", "module") or owner.endswith(("datamodule", "_data_module(trainer)")):
                found.add((path.name, name))
    assert {file for file, _ in found} == {"monitored.py"}


def test_only_what_is_declared_is_asked_for():
    protocols = (
        monitored.MonitoredModule,
        monitored.CachingModule,
        monitored.AveragedModule,
        monitored.JudgedModule,
        monitored.PreparedSplits,
        monitored.MonitoredData,
    )
    declared = {name for protocol in protocols for name in members(protocol)}
    asked = {
        ast.literal_eval(node.args[1])
        for node in ast.walk(ast.parse(Path(monitored.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr")
    }
    assert asked == declared | {"config", "id2label"}  # of the classifier
