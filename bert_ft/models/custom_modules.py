"""Parts of a model that come from outside of the package, by the name of their class."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.trust import IN_MODELS, TARGET, is_trusted, refusal


def build_part(key: str, description: Mapping[str, Any], trust: Sequence[str], **arguments: Any) -> nn.Module:
    """``description["_target_"]`` called with the other entries and ``arguments``.

    Args:
        key: the configuration key, as messages name it.
        description: a class by its full name under ``_target_``, and its settings, of plain types.
        trust: patterns of names, beside ``IN_MODELS``, that may be imported and called.
        arguments: what the model knows: ``hidden_size``, ``num_labels``.

    Raises:
        ConfigError: the name isn't trusted, isn't a module's class, or refuses its arguments.
    """
    settings = dict(description)
    target = str(settings.pop(TARGET, None))
    if not is_trusted(target, (*IN_MODELS, *trust)):
        raise ConfigError(refusal(f"{key}.{TARGET}", target))
    package, _, name = target.rpartition(".")
    try:
        part = getattr(importlib.import_module(package), name)
        # before it is called: a trusted package holds other names, too, such as what it imports
        if not (isinstance(part, type) and issubclass(part, nn.Module)):
            raise TypeError("isn't a class derived from torch.nn.Module")
        return part(**settings, **arguments)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}.{TARGET}={target}: {error}") from error
