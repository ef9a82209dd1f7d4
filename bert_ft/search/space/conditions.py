"""Parameters that only some trials have.

A parameter is drawn if the trial's configuration has its key: ``pretrain=none`` has no ``pretrain.optimizer.lr``,
``loss=cross_entropy`` no ``loss.gamma``. A table names the keys without which a parameter has no effect:
``conditions={"loss.contrastive_temperature": "loss.contrastive_weight"}`` draws the temperature if the weight isn't 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution

from bert_ft.nested import walk
from bert_ft.search.spelling import parsed

KEY = "hydra.sweeper.conditions"


class Conditions:
    """Which parameters of a search space a trial has, given the values drawn so far.

    Args:
        compose: returns the configuration of a job, with Hydra's part, from its overrides; called once here, and
            later only as needed.
        fixed: overrides that all trials share.
        space: parameter → its range; one that chooses a group is categorical.
        typed: the parameters given on the command line. One that no trial has is a mistake here; in a file it
            may be meant for other choices.
        conditions: parameter → the keys that must be neither 0, false nor null in a trial that has it; its own key
            means the configured value.
    """

    def __init__(
        self,
        compose: Callable[[list[str]], DictConfig],
        fixed: Sequence[str],
        space: Mapping[str, BaseDistribution],
        *,
        typed: Collection[str] = (),
        conditions: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        self._compose = compose
        self._fixed = list(fixed)
        self._space = space
        self._typed = typed
        self._conditions = {
            name: [keys] if isinstance(keys, str) else list(keys) for name, keys in (conditions or {}).items()
        }
        config = compose(self._fixed)
        self._values: dict[tuple[str, ...], dict[str, Any]] = {(): _values_of(config)}
        self._known_groups = set(config.hydra.runtime.choices)
        self._groups = [name for name in space if name in self._known_groups]
        self._names = [name for name in space if name not in self._known_groups]

    def next(self, drawn: Mapping[str, Any]) -> list[str]:
        """Return the parameters to draw next, none if the trial is complete.

        Groups come first, and a parameter follows those in its conditions.
        """
        if groups := [name for name in self._groups if name not in drawn]:
            return groups
        values = self._values_under([f"{group}={drawn[group]}" for group in self._groups])
        return [name for name in self._names if self._state(name, drawn, values) == "next"]

    def left_out(self) -> list[str]:
        """Return the parameters that no trial has, but that exist under other choices of their group."""
        return [name for name in self._names if not self._somewhere(name) and self._elsewhere(name)]

    def problems(self) -> list[str]:
        """Return a message for each parameter that no trial can have, and each faulty condition."""
        found = [
            f"{name}: {name.lstrip('+')} already exists; drop the +, or write ++{name.lstrip('+')}"
            for name in self._space
            if self._is_there(name)
        ]
        for name in self._names:
            if self._somewhere(name):
                continue
            elsewhere = self._elsewhere(name)
            if not elsewhere:
                found.append(f"{name}: is in the search space, but {self._no_key(name)}")
            elif name in self._typed:
                found.append(
                    f"{name}: is in the search space, but exists only with {', '.join(elsewhere)}; add one of them"
                )
        for name, keys in self._conditions.items():
            found += [
                f"{KEY}.{name}={key}: {self._no_key(key)}"
                for key in keys
                if name in self._space and not self._somewhere(key) and not self._elsewhere(key)
            ]
        others = {name: set(keys) - {name} for name, keys in self._conditions.items()}
        try:
            TopologicalSorter(others).prepare()
        except CycleError as error:
            found.append(f"{KEY}: is circular: {' → '.join(error.args[1])}")
        return found

    def _is_there(self, name: str) -> bool:
        """Return whether ``+name`` would add a key that trials have without it, which Hydra refuses."""
        key = name.removeprefix("+")
        return key != name and not key.startswith("+") and (key in self._known_groups or self._somewhere(key))

    def _state(self, name: str, drawn: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        """Return ``drawn``, ``off`` (the trial doesn't have it), ``next`` (draw it now) or ``later``."""
        if name in drawn:
            return "drawn"
        if name not in self._space or not _is_key(name, values):
            return "off"
        needed = self._conditions.get(name, [])
        states = {self._state(other, drawn, values) for other in needed if other != name}
        if states & {"next", "later"}:
            return "later"
        are_on = all(parsed(drawn[other]) if other in drawn else values.get(other) for other in needed)
        return "next" if are_on else "off"

    def _values_under(self, overrides: Sequence[str]) -> dict[str, Any]:
        given = tuple(overrides)
        if given not in self._values:
            self._values[given] = _values_of(self._compose([*self._fixed, *given]))
        return self._values[given]

    def _somewhere(self, name: str) -> bool:
        """Return whether the key exists with any choice of the space, one at a time."""
        choices: list[list[str]] = [[]]
        for group in self._groups:
            distribution = self._space[group]
            assert isinstance(distribution, CategoricalDistribution), group
            choices += [[f"{group}={choice}"] for choice in distribution.choices]
        return any(_is_key(name, self._values_under(choice)) for choice in choices)

    def _elsewhere(self, name: str) -> list[str]:
        """Return the choices of the key's own group with which it exists."""
        group = name.split(".")[0]
        if group not in self._known_groups or group in self._groups:
            return []
        found = []
        for option in group_options(group):
            try:
                values = self._values_under([f"{group}={option}"])
            except (HydraException, ValueError):  # a choice that needs another one
                continue
            if _is_key(name, values):
                found.append(f"{group}={option}")
        return found

    def _no_key(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._values[()], n=1, cutoff=0.6)
        return f"there is no key {name}; " + (
            f"did you mean {close[0]}?" if close else "--cfg job lists the keys"
        )


def group_options(group: str) -> list[str]:
    """Return the choices of a group, as Hydra knows them."""
    names = GlobalHydra.instance().config_loader().get_group_options(group)
    return [name for name in names if not name.startswith("_")]


def _is_key(name: str, values: Collection[str]) -> bool:
    return name.startswith("+") or name in values  # + adds a key


def _values_of(config: DictConfig) -> dict[str, Any]:
    """Return key → value, including mappings and lists, without Hydra's part."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return dict(walk({name: node for name, node in plain.items() if name != "hydra"}))
