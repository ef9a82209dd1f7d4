"""Parameters that only some trials have: a key is searched where the trial's configuration has it.

``pretrain=none`` has no ``pretrain.optimizer.lr``, ``loss=cross_entropy`` no ``loss.gamma``. Nothing else has to be said
for such a parameter to be conditional.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution

Compose = Callable[[list[str]], DictConfig]


class Conditions:
    """Which parameters of a search space belong to which choices of configuration groups."""

    def __init__(
        self,
        compose: Compose,
        fixed: Sequence[str],
        space: Mapping[str, BaseDistribution],
        *,
        typed: Collection[str] = (),
        options: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Compose the configuration once, and further ones only as they are needed.

        Args:
            compose: gives the configuration of a job by its overrides, Hydra's part included.
            fixed: overrides that all trials have.
            space: parameter → its range; what chooses a group is categorical.
            typed: the parameters that were given on the command line, where one that no trial has is a mistake; in a
                file it may be meant for other choices.
            options: the choices that a group has; ``None``: as Hydra knows them.
        """
        self._compose = compose
        self._fixed = list(fixed)
        self._space = space
        self._typed = typed
        self._options = options or _options
        self._keys: dict[tuple[str, ...], set[str]] = {}
        config = compose(self._fixed)
        self._keys[()] = _keys_of(config)
        self._known_groups = set(config.hydra.runtime.choices)
        self.groups = [name for name in space if name in self._known_groups]
        self._names = [name for name in space if name not in self._known_groups]

    def applicable(self, chosen: Mapping[str, Any]) -> list[str]:
        """The parameters to draw in a trial with these groups ``chosen``, in the order of the space; groups left out."""
        overrides = [f"{group}={choice}" for group, choice in chosen.items()]
        keys = self._keys_under(overrides)
        return [name for name in self._names if _is_key(name, keys)]

    def left_out(self) -> list[str]:
        """The parameters that no trial has, though other choices of their group would have them."""
        return [name for name in self._names if not self._somewhere(name) and self._elsewhere(name)]

    def problems(self) -> list[str]:
        """A sentence for each parameter that no trial has and that isn't merely meant for other choices."""
        found = []
        for name in self._names:
            if self._somewhere(name):
                continue
            elsewhere = self._elsewhere(name)
            if not elsewhere:
                close = difflib.get_close_matches(name, self._keys[()], n=1, cutoff=0.6)
                hint = f"; did you mean {close[0]}?" if close else "; --cfg job lists the keys"
                found.append(f"{name}: to be searched, but there is no key {name}{hint}")
            elif name in self._typed:
                found.append(
                    f"{name}: to be searched, but no trial has it; it belongs to {', '.join(elsewhere)}; add one of them"
                )
        return found

    def _keys_under(self, overrides: Sequence[str]) -> set[str]:
        given = tuple(overrides)
        if given not in self._keys:
            self._keys[given] = _keys_of(self._compose([*self._fixed, *given]))
        return self._keys[given]

    def _somewhere(self, name: str) -> bool:
        """Whether a choice that the space has, one at a time, has the key."""
        if _is_key(name, self._keys[()]):
            return True
        return any(_is_key(name, keys) for keys in self._keys_by_choice())

    def _keys_by_choice(self) -> Iterator[set[str]]:
        for group in self.groups:
            distribution = self._space[group]
            assert isinstance(distribution, CategoricalDistribution), group
            for choice in distribution.choices:
                yield self._keys_under([f"{group}={choice}"])

    def _elsewhere(self, name: str) -> list[str]:
        """The choices of the key's own group under which it exists."""
        group = name.split(".")[0]
        if group not in self._known_groups or group in self.groups:
            return []
        found = []
        for option in self._options(group):
            try:
                keys = self._keys_under([f"{group}={option}"])
            except (HydraException, ValueError):  # a choice that needs more than itself
                continue
            if _is_key(name, keys):
                found.append(f"{group}={option}")
        return found


def _options(group: str) -> list[str]:
    names = GlobalHydra.instance().config_loader().get_group_options(group)
    return [name for name in names if not name.startswith("_")]


def _is_key(name: str, keys: Collection[str]) -> bool:
    return name.startswith("+") or name in keys  # what is added needn't be there


def _keys_of(config: DictConfig) -> set[str]:
    plain = OmegaConf.to_container(config, resolve=False)
    return set(
        _walk(
            {name: node for name, node in plain.items() if name != "hydra"} if isinstance(plain, dict) else {}
        )
    )


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield f"{prefix}{name}"
        yield from _walk(child, f"{prefix}{name}.")
