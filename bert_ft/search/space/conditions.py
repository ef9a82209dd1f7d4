"""Parameters that only some trials have.

A parameter is drawn where the trial's configuration has its key: ``pretrain=none`` has no ``pretrain.optimizer.lr``,
``loss=cross_entropy`` no ``loss.gamma``. Where a key is there but means nothing, a table says what it goes with:
``conditions={"loss.contrastive_temperature": "loss.contrastive_weight"}`` draws the temperature where the weight isn't 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution

from bert_ft.nested import walk
from bert_ft.search.space.space import parsed

Compose = Callable[[list[str]], DictConfig]
KEY = "hydra.sweeper.conditions"


class Conditions:
    """Which parameters of a search space a trial has, by what is drawn in it."""

    def __init__(
        self,
        compose: Compose,
        fixed: Sequence[str],
        space: Mapping[str, BaseDistribution],
        *,
        typed: Collection[str] = (),
        conditions: Mapping[str, str | Sequence[str]] | None = None,
        options: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Compose the configuration once, and further ones only as they are needed.

        Args:
            compose: gives the configuration of a job by its overrides, Hydra's part included.
            fixed: overrides that all trials have.
            space: parameter → its range; what chooses a group is categorical.
            typed: the parameters that were given on the command line, where one that no trial has is a mistake; in a
                file it may be meant for other choices.
            conditions: parameter → the keys that must be neither 0, false nor null in a trial that has it; its own key
                stands for the value that is configured.
            options: the choices that a group has; ``None``: as Hydra knows them.
        """
        self._compose = compose
        self._fixed = list(fixed)
        self._space = space
        self._typed = typed
        self._options = options or _options
        self._conditions = {
            name: [keys] if isinstance(keys, str) else list(keys) for name, keys in (conditions or {}).items()
        }
        config = compose(self._fixed)
        self._values: dict[tuple[str, ...], dict[str, Any]] = {(): _values_of(config)}
        self._known_groups = set(config.hydra.runtime.choices)
        self._groups = [name for name in space if name in self._known_groups]
        self._names = [name for name in space if name not in self._known_groups]

    def next(self, drawn: Mapping[str, Any]) -> list[str]:
        """The parameters to draw after those that are ``drawn`` in a trial; none where it is complete.

        Those that choose a group come first, and what goes with another parameter after that one.
        """
        if groups := [name for name in self._groups if name not in drawn]:
            return groups
        values = self._values_under([f"{group}={drawn[group]}" for group in self._groups])
        return [name for name in self._names if self._state(name, drawn, values) == "next"]

    def left_out(self) -> list[str]:
        """The parameters that no trial has, though other choices of their group would have them."""
        return [name for name in self._names if not self._somewhere(name) and self._elsewhere(name)]

    def problems(self) -> list[str]:
        """A sentence for each parameter that no trial can have."""
        found = []
        for name in self._names:
            if self._somewhere(name):
                continue
            elsewhere = self._elsewhere(name)
            if not elsewhere:
                found.append(f"{name}: to be searched, but {self._no_key(name)}")
            elif name in self._typed:
                found.append(
                    f"{name}: to be searched, but no trial has it; it belongs to {', '.join(elsewhere)}; add one of them"
                )
        for name, keys in self._conditions.items():
            found += [
                f"{KEY}.{name}={key}: {self._no_key(key)}"
                for key in keys
                if name in self._space and not self._somewhere(key) and not self._elsewhere(key)
            ]
            if self._goes_with_itself(name):
                found.append(f"{KEY}.{name}={','.join(keys)}: goes round in a circle")
        return found

    def _state(self, name: str, drawn: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        """``drawn``, ``off`` (the trial hasn't it), ``next`` (to be drawn now) or ``later``."""
        if name in drawn:
            return "drawn"
        if name not in self._space or not _is_key(name, values):
            return "off"
        needed = self._conditions.get(name, [])
        others = [other for other in needed if other != name]
        states = [self._state(other, drawn, values) for other in others]
        if any(state in ("next", "later") for state in states):
            return "later"
        are_on = all(_as_value(drawn[other]) if other in drawn else values.get(other) for other in needed)
        return "next" if are_on else "off"

    def _goes_with_itself(self, name: str) -> bool:
        seen: set[str] = set()
        todo = [other for other in self._conditions.get(name, []) if other != name]
        while todo:
            other = todo.pop()
            if other == name:
                return True
            if other not in seen:
                seen.add(other)
                todo += self._conditions.get(other, [])
        return False

    def _values_under(self, overrides: Sequence[str]) -> dict[str, Any]:
        given = tuple(overrides)
        if given not in self._values:
            self._values[given] = _values_of(self._compose([*self._fixed, *given]))
        return self._values[given]

    def _somewhere(self, name: str) -> bool:
        """Whether a choice that the space has, one at a time, has the key."""
        if _is_key(name, self._values[()]):
            return True
        return any(_is_key(name, values) for values in self._by_choice())

    def _by_choice(self) -> Iterator[dict[str, Any]]:
        for group in self._groups:
            distribution = self._space[group]
            assert isinstance(distribution, CategoricalDistribution), group
            for choice in distribution.choices:
                yield self._values_under([f"{group}={choice}"])

    def _elsewhere(self, name: str) -> list[str]:
        """The choices of the key's own group under which it exists."""
        group = name.split(".")[0]
        if group not in self._known_groups or group in self._groups:
            return []
        found = []
        for option in self._options(group):
            try:
                values = self._values_under([f"{group}={option}"])
            except (HydraException, ValueError):  # a choice that needs more than itself
                continue
            if _is_key(name, values):
                found.append(f"{group}={option}")
        return found

    def _no_key(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._values[()], n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else "; --cfg job lists the keys"
        return f"there is no key {name}{hint}"


def _options(group: str) -> list[str]:
    names = GlobalHydra.instance().config_loader().get_group_options(group)
    return [name for name in names if not name.startswith("_")]


def _as_value(drawn: Any) -> Any:
    """``null`` and others are drawn as they are written."""
    return parsed(drawn) if isinstance(drawn, str) else drawn


def _is_key(name: str, values: Collection[str]) -> bool:
    return name.startswith("+") or name in values  # what is added needn't be there


def _values_of(config: DictConfig) -> dict[str, Any]:
    """Key → value, of mappings and lists too, Hydra's part left out."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return dict(walk({name: node for name, node in plain.items() if name != "hydra"}))
