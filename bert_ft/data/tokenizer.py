"""``data.tokenizer``: the tokenizer of a run, if it differs from the encoder's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.errors import ConfigError

_KEY = "data.tokenizer"
# the first script that is written without spaces, and nearly all of the others come after it
_THAI = "\u0e00"
# of init_kwargs, what says where a tokenizer came from, or what is in tokenizer.json too
_OF_ITS_FILES = (
    "added_tokens_decoder",
    "backend",
    "do_lower_case",
    "name_or_path",
    "tokenizer_class",
    "tokenizer_file",
    "tokenizer_object",
    "vocab",
    "vocab_file",
)


@dataclass(frozen=True)
class TokenizerSpec:
    """Which tokenizer to load, and what to change in it; by default the encoder's own, unchanged.

    Attributes:
        name_or_path: hub name or folder of a different tokenizer.
        lowercase: whether texts are lower-cased first; ``None`` = as the tokenizer is configured.
        added_tokens: texts that become one token each; those already in the vocabulary are skipped.
    """

    name_or_path: str | None = None
    lowercase: bool | None = None
    added_tokens: Sequence[str] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is the encoder's own tokenizer, unchanged."""
        return self.name_or_path is None and self.lowercase is None and not self.added_tokens

    def load(
        self, encoder: Path | str, revision: str | None = None, truncation_side: str | None = None
    ) -> FastTokenizer:
        """Return the tokenizer for an encoder, given by hub name or folder; see ``load_tokenizer``.

        Raises:
            CheckpointError: it can't be loaded.
            ConfigError: a change isn't possible.
        """
        if self.name_or_path is None:
            tokenizer = load_tokenizer(encoder, revision, truncation_side)
        else:
            name = Path(self.name_or_path).expanduser()
            path = str(name) if name.exists() else self.name_or_path
            tokenizer = load_tokenizer(path, None, truncation_side, key=f"{_KEY}.name_or_path")
        if self.lowercase is not None:
            tokenizer = _with_lowercase(tokenizer, self.lowercase)
        if self.added_tokens:
            _add_tokens(tokenizer, self.added_tokens)
        return tokenizer


def lowercases(tokenizer: FastTokenizer) -> bool:
    """Return whether the tokenizer lower-cases texts."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and "A" not in normalizer.normalize_str("A")


def _with_lowercase(tokenizer: FastTokenizer, wanted: bool) -> FastTokenizer:
    """Return the tokenizer with its normalizer changed, if necessary.

    The result has transformers' general class: the classes of the families would restore their own normalizer when the
    saved folder is loaded.

    Raises:
        ConfigError: its lower-casing can't be turned off.
    """
    if lowercases(tokenizer) is wanted:
        return tokenizer
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["normalizer"] = _changed(content["normalizer"], wanted)
    if wanted and not _lowers(content["normalizer"]):
        before = [] if content["normalizer"] is None else [content["normalizer"]]
        content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *before]}
    settings = {key: value for key, value in tokenizer.init_kwargs.items() if key not in _OF_ITS_FILES}
    settings |= {"model_input_names": tokenizer.model_input_names}
    settings |= {"model_max_length": tokenizer.model_max_length, "truncation_side": tokenizer.truncation_side}
    changed = FastTokenizer(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        **{**settings, **tokenizer.special_tokens_map},
    )
    changed.name_or_path = tokenizer.name_or_path
    if lowercases(changed) is not wanted:
        raise ConfigError(
            f"{_KEY}.lowercase={str(wanted).lower()}: the tokenizer of {tokenizer.name_or_path} lower-cases in a way that "
            "can't be turned off; leave it null, or give another tokenizer"
        )
    return changed


def _changed(normalizer: Any, wanted: bool) -> Any:
    """Return a serialized normalizer with its lower-casing switched on or off."""
    if normalizer is None:
        return None
    if normalizer["type"] == "BertNormalizer":
        return {**normalizer, "lowercase": wanted}
    if normalizer["type"] == "Sequence":
        parts = [_changed(part, wanted) for part in normalizer["normalizers"]]
        return {**normalizer, "normalizers": [part for part in parts if part is not None]}
    return None if normalizer["type"] == "Lowercase" and not wanted else normalizer


def _lowers(normalizer: Any) -> bool:
    if normalizer is None:
        return False
    if normalizer["type"] == "Sequence":
        return any(map(_lowers, normalizer["normalizers"]))
    return normalizer["type"] == "Lowercase" or bool(normalizer.get("lowercase"))


def _add_tokens(tokenizer: FastTokenizer, texts: Sequence[str]) -> None:
    """Add a token for each text, in place; if texts are lower-cased, texts that differ by case share a token."""
    folds = lowercases(tokenizer)
    known = set(tokenizer.get_vocab())
    added: dict[str, str] = {}  # as it is looked for → as it was given
    for text in texts:
        looked_for = text.lower() if folds else text
        if not text.strip() or text != text.strip():
            raise ConfigError(
                f"{_KEY}.added_tokens: {text!r} is empty or begins or ends with a space; correct it"
            )
        if looked_for in added:
            raise ConfigError(
                f"{_KEY}.added_tokens: {text!r} is the same token as {added[looked_for]!r}; remove one"
            )
        added[looked_for] = text
    new = [text for looked_for, text in added.items() if looked_for not in known]
    tokenizer.add_tokens([_added_token(text) for text in new])


def _added_token(text: str) -> AddedToken:
    """Return a token that absorbs the space before it, like tokens of the vocabulary.

    A word is matched only as a whole word: otherwise ``art`` would also match in ``start``.
    """
    is_word = text[0].isalnum() and text[-1].isalnum() and max(text) < _THAI
    return AddedToken(text, lstrip=True, single_word=is_word)
