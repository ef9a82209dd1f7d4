"""``encoder.attn_implementation``: a name registered with transformers, or the dotted path of a user's function.

Such a function has the signature of transformers' attention functions. It gets padded batches and a mask to add to its
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


def prepare_attention(config: PretrainedConfig, name: str, trust: Sequence[str] = ()) -> None:
    """Import and register the function if ``name`` is a dotted path.

    Args:
        config: the encoder's, its dropout rates set.
        name: a registered name, or a dotted path.
        trust: patterns of paths, besides this package's, that may be imported.

    Raises:
        ConfigError: the name isn't registered, the path isn't trusted or has no such function, or the encoder can't run
            with it.
    """
    if "." in name:
        register_own(name, _imported(name, trust))
    elif name not in names_of_registered():
        raise ConfigError(
            f"{_KEY}={name}: must be one of {', '.join(names_of_registered())}, or the dotted path of your own function, "
            "e.g. my_package.attention.near"
        )
    if name == "flex_attention":
        _check_flex(config)
    if not is_own(name):
        return
    register_own(name)
    if not takes_any_attention(type_of_model(config)):
        raise ConfigError(
            f"{_KEY}={name}: transformers' {config.model_type} computes its attention itself, and would never call it; "
            "use another encoder, such as BERT, RoBERTa or ModernBERT, or set it to sdpa"
        )
    if has_packed_form(name) and not family_of(config).packed:
        raise ConfigError(
            f"{_KEY}={name}: takes packed tokens, but {config.model_type} runs on padded batches; write it "
            "for those, without takes_packed"
        )


def check_cache(config: PretrainedConfig, name: str) -> None:
    """Raise ``ConfigError`` if the encoder runs padded: the frozen part's output is cached for packed tokens only."""
    if not runs_packed(config, name):
        raise ConfigError(
            f"encoder.cache_frozen=true: needs packed tokens, and {_KEY}={name} takes padded batches; set it to false"
        )


def _imported(path: str, trust: Sequence[str]) -> Callable[..., Any]:
    patterns = ("bert_ft.*", *trust)  # less than trust.IN_MODELS: nothing in torch.nn has the signature
    if not is_trusted(path, patterns):
        raise ConfigError(refusal(_KEY, path))
    if "flash" in path:
        raise ConfigError(f"{_KEY}={path}: transformers reserves names with `flash`; rename yours")
    package, _, name = path.rpartition(".")
    try:
        function = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{_KEY}={path}: {error}") from error
    if not inspect.isfunction(function):
        raise ConfigError(f"{_KEY}={path}: isn't a function {_SIGNATURE}")
    # a trusted package has other names too, such as its imports
    home = f"{function.__module__}.{function.__name__}"
    if not is_trusted(home, patterns):
        raise ConfigError(
            f"{_KEY}={path}: is {home}, which isn't trusted; name a function that your own package defines"
        )
    try:
        inspect.signature(function).bind(*[None] * 5, scaling=1.0, dropout=0.0, cu_seqlens=None, others=None)
    except TypeError as error:
        raise ConfigError(f"{_KEY}={path}: must take {_SIGNATURE}: {error}") from error
    return function


def _check_flex(config: PretrainedConfig) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"{_KEY}=flex_attention: trains only on a GPU, and there is none; set it to sdpa")
    if any(getattr(config, key, None) for key in family_of(config).attention_dropout):
        raise ConfigError(f"{_KEY}=flex_attention: has no dropout; set encoder.attention_dropout=0")
