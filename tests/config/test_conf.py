"""Every file under conf/: its keys have rules, its defaults keep them, and its targets take them."""

import inspect
import re
from dataclasses import fields, replace
from functools import cache
from importlib import import_module

import hydra
import numpy as np
import pytest
import torch
from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from bert_ft.config.build.optimizer import build_optimizer
from bert_ft.config.build.task import build_loss, build_task, build_terms
from bert_ft.config.build.trainer import OWN_TRAINER_KEYS
from bert_ft.config.check import problems, sections
from bert_ft.config.instantiate import build
from bert_ft.config.paths import conf_dir
from bert_ft.config.rules import RULES, rules_for
from bert_ft.errors import ConfigError
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.objective import LossTerms
from bert_ft.verbs import VERBS
from tests.pages import PAGES, shown_commands

GROUPS = {
    path.name: sorted(file.stem for file in path.glob("*.yaml") if not file.stem.startswith("_"))
    for path in conf_dir().iterdir()
    if path.is_dir() and path.name not in ("hydra", "search")  # of a sweep: tests/search
}
COMMANDS = tuple(  # with keys of their own
    verb for verb in VERBS if verb not in ("train", "pretrain") and (conf_dir() / f"{verb}.yaml").is_file()
)
CHOICES = [f"{group}={choice}" for group, choices in GROUPS.items() for choice in choices]
# groups inside of another, chosen by its place
CHOICES += [f"schedule@pretrain.schedule={choice}" for choice in GROUPS["schedule"]]
# what a user has to give with these choices
NEEDED = {
    "data=files": ["data.train_file=README.md"],
    "data=hub": ["data.dataset=glue"],
    "encoder=any": ["encoder.name_or_path=folder"],
    **{f"schedule@pretrain.schedule={choice}": ["pretrain=mlm"] for choice in GROUPS["schedule"]},
}
# nodes whose own constructor judges them, what is switched off as a whole, and what is Hydra's
UNRULED = re.compile(
    r"(^|\.)_(target|partial|recursive)_$|(^|\.)callbacks(\.|$)|^(logger|hydra)(\.|$)|^output_dir$|^data\.source\.|^monitor\.\w+\.folder$|^(averaging|unfreezing|monitor|pretrain)$"
)


@cache  # a composition takes a fifth of a second
def compose(*overrides: str, name: str = "train") -> DictConfig:
    with hydra.initialize_config_dir(config_dir=str(conf_dir())):
        return hydra.compose(name, list(overrides))


def leaves(node, prefix: str = ""):
    """Every key that holds no mapping, with its unresolved value."""
    for key, value in OmegaConf.to_container(node, resolve=False).items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(OmegaConf.create(value), f"{path}.")
        else:
            yield path, value


def unruled(config, keys=None):
    rules = rules_for(sections(config), keys)
    return [key for key, _ in leaves(config) if not UNRULED.search(key) and key not in rules]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_key_has_a_rule_and_every_default_keeps_it(choice):
    config = compose(choice, *NEEDED.get(choice, []))
    assert unruled(config) == []
    assert problems(config) == []


@pytest.mark.slow
def test_every_rule_belongs_to_a_key():
    known = {key for choice in CHOICES for key, _ in leaves(compose(choice, *NEEDED.get(choice, [])))}
    known |= {key for key, _ in leaves(compose(name="pretrain"))}
    assert set(RULES) <= known


def targets(node, path=""):
    """``(path, target, its arguments)`` of each node that constructs something."""
    if not isinstance(node, dict):
        return
    if node.get("_target_") is not None:
        yield path, node["_target_"], {key for key in node if not key.startswith("_")}
    for key, value in node.items():
        yield from targets(value, f"{path}.{key}" if path else key)


# read in config/build, not handed on
OURS = {
    "trainer": set(OWN_TRAINER_KEYS),
    "pretrain.trainer": set(OWN_TRAINER_KEYS),
    "loss": {field.name for field in fields(LossTerms)},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_target_takes_its_keys(choice):
    """One key is one argument of the constructor (missing ones come from the code that builds)."""
    node = OmegaConf.to_container(compose(choice, *NEEDED.get(choice, [])), resolve=False)
    found = list(targets(node))
    assert found
    for path, target, keys in found:
        constructor = get_object(target)
        parameters = inspect.signature(constructor).parameters
        unknown = keys - parameters.keys() - OURS.get(path, set())
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        assert not unknown or (takes_any and inspect.isclass(constructor)), (path, target, unknown)


def test_the_model_head_takes_its_keys():
    """``model.head`` is handed on as the residual classifier's own arguments."""
    from bert_ft.models.classifier import ResidualClassifier

    head = compose("model=bert_residual").model.head
    assert set(head) <= inspect.signature(ResidualClassifier.__init__).parameters.keys()


def test_the_optimizer_takes_its_keys():
    from bert_ft.optim.layerwise import LayerwiseOptimizer

    config = compose("pretrain=mlm")
    for node in (config.optimizer, config.pretrain.optimizer):
        assert set(node) - {"show_groups"} == inspect.signature(LayerwiseOptimizer).parameters.keys()


def test_the_pretraining_objective_takes_its_keys():
    from bert_ft.training.pretraining_objective import PretrainingObjective

    assert {field.name for field in fields(PretrainingObjective)} <= set(compose("pretrain=mlm").pretrain)


def test_the_stage_alone_is_configured_without_a_problem():
    config = compose(name="pretrain")
    assert unruled(config) == []
    assert problems(config) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_key_of_a_command_has_a_rule(name):
    keys = import_module(f"bert_ft.{name}").Keys
    config = compose(name=name)
    assert unruled(config, keys) == []
    required = {key for key, value in leaves(config) if value == "???"}
    assert {
        problem.split(":")[0] for problem in problems(config, keys) if ": required; give a " in problem
    } == required


def test_the_help_of_the_stage_alone_has_its_groups():
    """Not those of fine-tuning."""
    from bert_ft.config.sections import sections as sections_of_help

    listed = {section.title.partition("=")[0] for section in sections_of_help("pretrain")}
    assert listed == {
        *("", "data", "encoder", "logger", "monitor", "pretrain", "search", "hydra/sweeper", "task"),
        *("optimizer@pretrain.optimizer", "schedule@pretrain.schedule"),
    }


BUILT = ("averaging", "loss", "schedule", "unfreezing", "weight_decay_schedule")


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice.split("=")[0] in BUILT])
def test_every_technique_is_built_with_its_defaults(choice):
    group = choice.split("=")[0]
    tasks = {"huber": "task=regression", "smoothed_grades": "task=ordinal"} | dict.fromkeys(
        ("bce", "binary_focal", "asymmetric"), "task=multi_label"
    )
    config = compose(*filter(None, [tasks.get(choice.removeprefix("loss="))]), choice)
    if config[group]:
        built = build_loss(config, build_task(config)) if group == "loss" else build(config[group])
        target = config[group]._target_ or "PlainLoss"
        assert type(built).__name__ == target.rpartition(".")[2]


def test_the_optimizer_is_built_with_its_defaults():
    algorithm = build_optimizer(compose().optimizer).algorithm_type
    assert algorithm is torch.optim.AdamW


@pytest.mark.parametrize("group", ["averaging", "unfreezing", "pretrain"])
def test_none_is_there_and_is_nothing(group):
    config = compose(f"{group}=none")
    assert group in config
    assert not config[group]


@pytest.mark.parametrize(
    ("choice", "terms"),
    [
        ("cross_entropy", LossTerms()),
        ("focal", LossTerms()),
        ("supervised_contrastive", LossTerms(contrastive_weight=0.5)),
        ("r_drop", LossTerms(r_drop_weight=1.0)),
        ("adversarial", LossTerms(adversarial_epsilon=1.0)),
    ],
)
def test_loss_terms_are_read(choice, terms):
    assert build_terms(compose(f"loss={choice}")) == terms
    changed = compose(f"loss={choice}", "loss.adversarial_weight=0.5", "loss.contrastive_temperature=0.2")
    assert build_terms(changed) == replace(terms, adversarial_weight=0.5, contrastive_temperature=0.2)


def test_a_large_encoder_recomputes_its_layers():
    assert compose("encoder=bert_large").encoder.gradient_checkpointing
    assert not compose("encoder=bert_base").encoder.gradient_checkpointing


def test_an_interpolation_into_another_group_is_resolved():
    config = compose("loss.label_smoothing=${model.head.dropout}", "model.head.dropout=0.25")
    assert build_loss(config, build_task(config)).label_smoothing == 0.25


def test_class_weights():
    task = SingleLabel(("a", "b"))
    labels = np.array([0, 0, 0, 1])
    assert build_loss(compose(), task, labels).class_weights is None
    balanced = build_loss(compose("loss.class_weights=balanced"), task, labels)
    assert balanced.class_weights.tolist() == pytest.approx([4 / 6, 4 / 2])
    given = build_loss(compose("loss.class_weights=[1,3.5]"), task, labels)
    assert given.class_weights.tolist() == [1, 3.5]
    message = (
        r"loss\.class_weights=\[1, 2, 3\]: 3 weights for the 2 labels a, b; give one for each, in this order"
    )
    with pytest.raises(ConfigError, match=message):
        build_loss(compose("loss.class_weights=[1,2,3]"), task, labels)
    with pytest.raises(ConfigError, match=r"loss\.class_weights=balanced: label 1 has 0 training rows"):
        build_loss(compose("loss.class_weights=balanced"), task, labels[:3])


def test_targets_are_real_classes_of_the_libraries_named():
    trainer = get_class(compose().trainer._target_)
    assert trainer.__module__.startswith("lightning.pytorch")


# those with files beside ours are run in tests.training.test_own_classes_page
SHOWN = [
    pytest.param(command, id=f"{page.stem}: {command[:60]}")
    for page in PAGES
    for command in dict.fromkeys(shown_commands(page))
    if "--config-dir" not in command
]


def test_pages_show_commands():
    assert len(SHOWN) >= 40


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_of_the_pages_composes(command):
    name, *arguments = command.split()
    overrides = [argument.strip("'") for argument in arguments if not argument.startswith("-")]
    if "--multirun" in arguments:  # a sweep's overrides hold several values; one of them is enough here
        overrides = [re.sub(r"=([^,(]+),.*", r"=\1", override) for override in overrides]
        overrides = [
            re.sub(r"=choice\(([^,)]+),.*", r"=\1", each) for each in overrides if "interval(" not in each
        ]
    config = compose(*overrides, name=name)
    assert all(": no such file" in problem for problem in problems(config))
