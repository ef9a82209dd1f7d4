"""Uses of OmegaConf (2.4) that have no public API."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf


def detached(node: DictConfig) -> DictConfig:
    """Return a resolved copy of a node, with its key in the configuration but without the rest of it.

    Other copies, such as each of ``hydra.utils.instantiate``, copy the whole configuration around the node.
    """
    # no public API: a node doesn't say its key, which Hydra's errors name
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
