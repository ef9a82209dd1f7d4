"""What OmegaConf has no public way for (as of 2.4)."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def detached(node: DictConfig) -> DictConfig:
    """Return a copy of a node, interpolations resolved, that keeps its place in the configuration and none of the rest.

    Whatever copies a node copies the whole configuration around it, as ``hydra.utils.instantiate`` does each time.

    The public way that is missing: a node doesn't say its key, which Hydra's errors name.
    """
    keys = []
    parent: Any = node
    while parent is not None and parent._key() is not None:
        keys.append(parent._key())
        parent = parent._get_parent()
    content: Any = OmegaConf.to_container(node, resolve=True)
    for key in keys:
        content = {key: content}
    found = OmegaConf.create(content, flags={"allow_objects": True})
    for key in reversed(keys):
        found = found[key]
    return found
