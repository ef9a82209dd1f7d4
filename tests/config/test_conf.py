"""Every file under conf/: its keys have rules, its defaults keep them, and its targets take them."""

import inspect
import re
from pathlib import Path

import hydra
import pytest
from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from bert_ft.config.check import problems
from bert_ft.config.paths import conf_dir
from bert_ft.config.rules import RULES

GROUPS = {
    path.name: sorted(file.stem for file in path.glob("*.yaml") if not file.stem.startswith("_"))
    for path in conf_dir().iterdir()
    if path.is_dir()
}
CHOICES = [f"{group}={choice}" for group, choices in GROUPS.items() for choice in choices]
# what a user has to give with these choices
NEEDED = {
    "data=files": ["data.train_file=README.md"],
    "data=hub": ["data.dataset=glue"],
    "encoder=any": ["encoder.name_or_path=folder"],
}
# nodes whose own constructor judges them, and Hydra's part
UNRULED = re.compile(r"(^|\.)_(target|partial)_$|^(callbacks|logger|hydra)(\.|$)|^data\.source\.")
README = Path(__file__).parents[2] / "README.md"


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


@pytest.mark.parametrize("choice", CHOICES)
def test_every_key_has_a_rule_and_every_default_keeps_it(choice):
    config = compose(choice, *NEEDED.get(choice, []))
    unruled = [key for key, _ in leaves(config) if not UNRULED.search(key) and key not in RULES]
    assert not unruled
    assert problems(config) == []


def test_every_rule_belongs_to_a_key():
    known = {key for choice in CHOICES for key, _ in leaves(compose(choice))}
    known |= {key for name in ("predict", "export") for key, _ in leaves(compose(name=name))}
    assert set(RULES) <= known


def targets(node, path=""):
    """``(path, target, its arguments)`` of each node that constructs something."""
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield path, node["_target_"], {key for key in node if not key.startswith("_")}
    for key, value in node.items():
        yield from targets(value, f"{path}.{key}" if path else key)


OURS = {"trainer": {"compile"}}  # read in config/build.py, not handed on


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

    assert set(compose().optimizer) == inspect.signature(LayerwiseOptimizer).parameters.keys()


def test_targets_are_real_classes_of_the_libraries_named():
    trainer = get_class(compose().trainer._target_)
    assert trainer.__module__.startswith("lightning.pytorch")


def readme_commands() -> list[str]:
    text = README.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^python -m bert_ft\.(\w+ .*?)\s*(?:#.*)?$", text, flags=re.MULTILINE)


def test_readme_shows_commands():
    assert len(readme_commands()) >= 5


@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_composes(command):
    name, *arguments = command.split()
    overrides = [argument.strip("'") for argument in arguments if not argument.startswith("-")]
    if "--multirun" in arguments:  # a sweep's overrides hold several values; one of them is enough here
        overrides = [re.sub(r"=([^,(]+),.*", r"=\1", override) for override in overrides]
    config = compose(*overrides, name=name)
    assert all(": no such file" in problem for problem in problems(config))
