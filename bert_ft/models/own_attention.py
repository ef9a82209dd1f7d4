"""``encoder.attn_implementation``: what transformers has registered, or a function of the user's by its dotted path.

A function has the signature of transformers' attention functions. It is given padded batches, and a mask to add to its
scores, or, with ``bert_ft.models.attention.takes_packed``, packed tokens.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PretrainedConfig

from bert_ft.compat.transformers import takes_any_attention
from bert_ft.errors import ConfigError
from bert_ft.models.attention import has_packed_form, is_own, names_of_registered, register_own
from bert_ft.models.encoder_config import runs_packed, type_of_model
from bert_ft.models.families import family_of
from bert_ft.trust import is_trusted, refusal

_KEY = "encoder.attn_implementation"
_SIGNATURE = "(module, query, key, value, attention_mask, scaling, dropout, **kwargs)"
_IN_ATTENTION = ("bert_ft.*",)  # a part of trust.IN_MODELS: nothing in torch.nn has the signature


def prepare_attention(config: PretrainedConfig, name: str, trust: Sequence[str] = ()) -> None:
    """Import and register the function that ``name`` is the path of; refuse what this encoder can't have.

    Args:
        config: the encoder's, its dropout rates set.
        name: a registered name, or a dotted path.
        trust: patterns of paths, beside this package's, that may be imported.

    Raises:
        ConfigError: nothing of this name is registered; the path isn't trusted or leads to no such function; or the
            encoder can't run with it.
    """
    if "." in name:
        register_own(name, _imported(name, trust))
    elif name not in names_of_registered():
        raise ConfigError(
            f"{_KEY}={name}: must be one of {', '.join(names_of_registered())}, or the dotted path of a function of your "
            "own, e.g. my_package.attention.near"
        )
    elif is_own(name):
        register_own(name)
    if name == "flex_attention":
        _check_flex(config)
    if not is_own(name):
        return
    if not takes_any_attention(type_of_model(config)):
        raise ConfigError(
            f"{_KEY}={name}: transformers' {config.model_type} computes its attention itself, and would never call it; "
            "use another encoder, such as BERT, RoBERTa or ModernBERT, or set it to sdpa"
        )
    if has_packed_form(name) and not family_of(config).packed:
        raise ConfigError(
            f"{_KEY}={name}: takes packed tokens, and {config.model_type} runs on padded batches; write it for these, "
            "without takes_packed"
        )


def check_cache(config: PretrainedConfig, name: str) -> None:
    """Refuse to keep the frozen part's output where the encoder runs padded: layers are run apart on packed tokens.

    Raises:
        ConfigError: it does.
    """
    if not runs_packed(config, name):
        raise ConfigError(
            f"encoder.cache_frozen=true: needs packed tokens, and {_KEY}={name} takes padded batches; set it to false"
        )


def _imported(path: str, trust: Sequence[str]) -> Callable[..., Any]:
    patterns = (*_IN_ATTENTION, *trust)
    if not is_trusted(path, patterns):
        raise ConfigError(refusal(_KEY, path))
    if "flash" in path:
        raise ConfigError(f"{_KEY}={path}: transformers takes names with `flash` for its own; rename yours")
    package, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{_KEY}={path}: {error}") from error
    if not inspect.isfunction(function):
        raise ConfigError(f"{_KEY}={path}: isn't a function {_SIGNATURE}")
    # a trusted package holds other names, too, such as what it imports
    home = f"{function.__module__}.{function.__name__}"
    if not is_trusted(home, patterns):
        raise ConfigError(
            f"{_KEY}={path}: is {home}, which isn't trusted; name a function that your own package defines"
        )
    try:
        inspect.signature(function).bind(
            *[None] * 5, scaling=1.0, dropout=0.0, cu_seqlens=None, what_else_comes=None
        )
    except TypeError as error:
        raise ConfigError(f"{_KEY}={path}: must take {_SIGNATURE}: {error}") from error
    return function


def _check_flex(config: PretrainedConfig) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"{_KEY}=flex_attention: trains on a GPU alone, and there is none; set it to sdpa")
    if any(getattr(config, key, None) for key in family_of(config).attention_dropout):
        raise ConfigError(f"{_KEY}=flex_attention: has no dropout; set encoder.attention_dropout=0")
