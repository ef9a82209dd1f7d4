"""Parts of a model whose class is from outside of the package, given by its full name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.trust import IN_MODELS, TARGET, is_trusted, refusal


def build_part(key: str, description: Mapping[str, Any], trust: Sequence[str], **arguments: Any) -> nn.Module:
    """Call the class ``description["_target_"]`` with the other entries and ``arguments``, which the model provides.

    Args:
        key: the configuration key, for messages.
        description: a class by its full name under ``_target_``, and its settings, of plain types.
        trust: patterns of names that may be imported and called, besides ``IN_MODELS``.

    Raises:
        ConfigError: the name isn't trusted, isn't the name of a module class, or the class rejects its
            arguments.
    """
    settings = dict(description)
    target = str(settings.pop(TARGET, None))
    if not is_trusted(target, (*IN_MODELS, *trust)):
        raise ConfigError(refusal(f"{key}.{TARGET}", target))
    package, _, name = target.rpartition(".")
    try:
        part = getattr(importlib.import_module(package), name)
        # before it is called: a trusted package has other names too, such as its imports
        if not (isinstance(part, type) and issubclass(part, nn.Module)):
            raise TypeError("isn't a class derived from torch.nn.Module")
        return part(**settings, **arguments)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}.{TARGET}={target}: {error}") from error
