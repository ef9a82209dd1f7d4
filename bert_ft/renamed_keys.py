"""Configuration keys that were renamed. The old names still work, on the command line and in files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

RENAMED: Mapping[str, str] = {
    "data.augmentation.span_masking": "data.augmentation.span_mask_ratio",
    "data.augmentation.token_dropout": "data.augmentation.token_deletion_prob",
    "data.augmentation.token_swap": "data.augmentation.token_swap_prob",
    "hydra.sweeper.keep_best": "hydra.sweeper.keep_top_k",
    "hydra.sweeper.only_with": "hydra.sweeper.conditions",
    "pretrain.masking.mask_share": "pretrain.masking.mask_replace_prob",
    "pretrain.masking.probability": "pretrain.masking.mlm_probability",
    "pretrain.masking.random_share": "pretrain.masking.random_replace_prob",
    "pretrain.trainer.at_least_steps": "pretrain.trainer.min_train_steps",
    "trainer.at_least_steps": "trainer.min_train_steps",
}

SWEEPER = "hydra.sweeper"
_OVERRIDE = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[\w.]+)(?P<value>=.*)?", re.DOTALL)


def override_key(override: str) -> str:
    """Return the key of an override, without the signs ``+``, ``++`` and ``~`` and without the value."""
    return override.split("=")[0].lstrip("+~")


def with_new_names(overrides: Iterable[str]) -> list[str]:
    """Return the overrides with each renamed key under its new name."""
    return [_with_new_name(override) for override in overrides]


def _with_new_name(override: str) -> str:
    match = _OVERRIDE.fullmatch(override)
    if match is None or match["key"] not in RENAMED:
        return override
    return f"{match['sign']}{RENAMED[match['key']]}{match['value'] or ''}"


def old_names(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """Return one line for each override that ``with_new_names`` changed."""
    changed = {}
    for old, new in zip(before, after, strict=True):
        if old != new:
            changed[override_key(old)] = override_key(new)
    return [_line(old, new) for old, new in changed.items()]


def _line(old: str, new: str) -> str:
    return f"{old} is now called {new}; the old name still works"


def move_renamed(config: DictConfig) -> list[str]:
    """Move the values that files set under old names to the new ones, in place; return the lines to show.

    A value under the old name replaces the one under the new name, which is then the shipped default.
    """
    moved = []
    for old, new in RENAMED.items():
        parent, _, name = old.rpartition(".")
        node: Any = OmegaConf.select(config, parent, throw_on_missing=False)
        if not isinstance(node, DictConfig) or name not in node:
            continue
        plain: Any = OmegaConf.to_container(node, resolve=False)
        with read_write(config), open_dict(node):
            del node[name]
            OmegaConf.update(config, new, plain[name], merge=False, force_add=True)
        moved.append(_line(old, new))
    return moved


def sweeper_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of ``hydra.sweeper`` with renamed keys under their new names, also inside ``params`` and ``conditions``."""
    found = dict(settings)
    for old, new in RENAMED.items():
        parent, _, name = old.rpartition(".")
        if parent == SWEEPER and name in found:
            found[new.rpartition(".")[2]] = found.pop(name)
    for name in ("params", "conditions"):
        if isinstance(found.get(name), Mapping):
            found[name] = {RENAMED.get(key, key): value for key, value in found[name].items()}
    return found
