"""BERT-like encoders from transformers: loaded by name or folder, made ready to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from bert_ft.data.git_lfs import refuse_pointers
from bert_ft.data.model_config import read_config
from bert_ft.errors import ConfigError
from bert_ft.kernels.linear import replace_linear
from bert_ft.kernels.switch import Kernels, choose_kernels, is_fast
from bert_ft.limits import BelowOne, CountOrZero, check_limits
from bert_ft.models.checkpoint_faults import (
    check_complete,
    check_sizes,
    layers_left_out,
    mismatched_sizes,
)
from bert_ft.models.encoder_config import attention_name, set_dropout, type_of_model, without_pooler
from bert_ft.models.encoder_name import resolve_name
from bert_ft.models.families import FAMILIES, family_of
from bert_ft.models.frozen import check_freezing, freeze
from bert_ft.models.grown_embedding import grow_embedding
from bert_ft.models.half_precision import mend_half_precision
from bert_ft.models.inserted import check_inserted, insert_parts
from bert_ft.models.loading import loading
from bert_ft.models.own_attention import check_cache, prepare_attention
from bert_ft.models.padding_check import check_padding, fault_in_half
from bert_ft.models.refused_families import check_family
from bert_ft.models.reinitialization import check_reinitialization, reinitialize
from bert_ft.models.weight_files import check_weight_files


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder to load, and how it runs.

    Attributes:
        name_or_path: a hub name, a folder, or ``embedded/all-MiniLM-L6-v2`` (extra ``demo``).
        revision: the branch, tag or commit on the hub.
        attn_implementation: a registered name, or the path of a function (see ``bert_ft.models.own_attention``).
        hidden_dropout: replaces the checkpoint's rate on hidden states; ``None`` keeps it.
        attention_dropout: replaces the checkpoint's rate on attention weights; ``None`` keeps it.
        gradient_checkpointing: recompute each layer in the backward pass instead of keeping it.
        reinit_layers: this many of the highest layers start from random weights (see ``reinitialization``).
        freeze_layers: train neither the embeddings nor this many layers above them; ``None`` trains all.
        cache_frozen: compute the frozen part's output once for each row, without dropout, and cache it (see
            ``bert_ft.training.frozen_cache``).
        kernels: ``fast`` or ``plain`` (see ``bert_ft.kernels.switch``).
        insert: the user's own modules within each layer (see ``bert_ft.models.inserted``).
        num_embeddings: rows that the token embedding grows to if it has fewer; ``None`` = it doesn't grow.
        trust: patterns of names that ``attn_implementation`` and ``insert`` may have, besides this package's.
    """

    name_or_path: str
    revision: str | None = None
    attn_implementation: str = "sdpa"
    hidden_dropout: BelowOne | None = None
    attention_dropout: BelowOne | None = None
    gradient_checkpointing: bool = False
    reinit_layers: CountOrZero = 0
    freeze_layers: CountOrZero | None = None
    cache_frozen: bool = False
    kernels: Kernels = "fast"
    insert: Mapping[str, Any] = field(default_factory=dict)
    num_embeddings: int | None = None
    trust: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_limits("encoder", self)

    def resolve(self) -> str:
        """Return the hub name or folder for transformers."""
        return resolve_name(self.name_or_path)

    def load_config(self, **overrides: Any) -> PretrainedConfig:
        """Return the encoder's configuration with this spec's dropout rates.

        Raises:
            CheckpointError: it isn't in the folder, the hub's cache or on the hub.
            ConfigError: its family is refused, padding changes its result, or it doesn't support a setting of
                this spec.
        """
        if Path(self.resolve()).is_dir():
            refuse_pointers(f"encoder.name_or_path={self.name_or_path}", Path(self.resolve()))
        with loading(self.name_or_path):
            config = read_config(self.resolve(), self.revision, **overrides)
        check_family(config, self.name_or_path)
        for key, value in family_of(config).fixed:
            setattr(config, key, value)
        if config.model_type not in FAMILIES or family_of(config).is_checked:
            _try(self.name_or_path, self.revision)
        if self.gradient_checkpointing and not type_of_model(config).supports_gradient_checkpointing:
            raise ConfigError(
                f"encoder.gradient_checkpointing=true: transformers' {config.model_type} can't recompute its "
                "layers; set it to false"
            )
        check_reinitialization(config, self.reinit_layers)
        check_freezing(config, self.freeze_layers, cache=self.cache_frozen, reinit_layers=self.reinit_layers)
        check_inserted(config, self.insert, cache_frozen=self.cache_frozen)
        set_dropout(config, self.hidden_dropout, self.attention_dropout)
        prepare_attention(config, self.attn_implementation, self.trust)
        if self.cache_frozen and self.freeze_layers is not None:
            check_cache(config, self.attn_implementation)
        return config

    def check_half_precision(self, config: PretrainedConfig, setting: str) -> None:
        """Raise ``ConfigError`` if the encoder can't be trained in 16 bits; ``setting`` is the key and value for that."""
        fault = None if config.model_type in FAMILIES else _try(self.name_or_path, self.revision)
        if fault is not None or not family_of(config).trains_in_half:
            raise ConfigError(
                f"{setting}: transformers' {config.model_type} can't be trained in 16 bits"
                f"{f' ({fault})' if fault else ''}; set it to 32"
            )

    def load(self, config: PretrainedConfig | None = None) -> PreTrainedModel:
        """Return the bare encoder, in float32 and in training mode.

        Raises:
            CheckpointError: it can't be found, or its weights don't fill the encoder.
        """
        encoder, _ = self._loaded(config or self.load_config())
        with loading(self.name_or_path):
            grow_embedding(encoder, self.num_embeddings)
        return self._ready(encoder)

    def check_weights(self, config: PretrainedConfig) -> str | None:
        """Check that the weights can be read, and return remarks for the user; once in a process and its forks.

        Raises:
            CheckpointError: as for ``load``, or a file is missing or damaged.
        """
        key = (self.name_or_path, self.revision)
        if key not in read:
            if Path(self.resolve()).is_dir():
                check_weight_files(self.name_or_path, Path(self.resolve()))
            read[key] = layers_left_out(config, self._loaded(config)[1])
        notice = read[key]
        return notice and f"encoder.name_or_path={self.name_or_path}: {notice}"

    def _loaded(self, config: PretrainedConfig) -> tuple[PreTrainedModel, dict[str, Any]]:
        """Return the bare encoder as it is in the checkpoint, and what transformers says about the weights."""
        with loading(self.name_or_path):
            encoder, info = AutoModel.from_pretrained(
                self.resolve(), **self._options(config), **without_pooler(config)
            )
        check_sizes(self.name_or_path, info)
        check_complete(self.name_or_path, info["missing_keys"])
        return encoder, info

    def load_sequence_classifier(
        self, config: PretrainedConfig, *, keep_head: bool = False
    ) -> tuple[PreTrainedModel, bool]:
        """Return the encoder's ``...ForSequenceClassification``, and whether the checkpoint has a head.

        The head is new, unless ``keep_head`` takes the checkpoint's.

        Raises:
            CheckpointError: as for ``load``.
        """
        with loading(self.name_or_path):
            model, info = AutoModelForSequenceClassification.from_pretrained(
                self.resolve(), **self._options(config)
            )
            grow_embedding(model, self.num_embeddings)
        prefix = f"{model.base_model_prefix}."
        check_sizes(self.name_or_path, info, "" if keep_head else prefix)
        fresh = (prefix + "pooler.", prefix + "head.")  # a checkpoint may come without its pooler
        missing = [
            key for key in info["missing_keys"] if key.startswith(prefix) and not key.startswith(fresh)
        ]
        check_complete(self.name_or_path, missing)
        absent = set(info["missing_keys"]) - mismatched_sizes(info).keys()
        has_head = any(key.startswith("classifier.") and key not in absent for key in model.state_dict())
        if has_head and not keep_head:
            new = empty_sequence_classifier(config, self.attn_implementation)
            for name, child in new.named_children():
                if child is not new.base_model:
                    setattr(model, name, child)
        self._ready(model.base_model)
        return model.train(), has_head

    def load_masked_lm(self, config: PretrainedConfig) -> tuple[PreTrainedModel, bool]:
        """Return the encoder's ``...ForMaskedLM``, and whether its head is new because the checkpoint has none.

        A new head shares its projection with the token embeddings if the family's configuration ties the two.

        Raises:
            CheckpointError: as for ``load``.
        """
        with loading(self.name_or_path):
            model, info = AutoModelForMaskedLM.from_pretrained(self.resolve(), **self._options(config))
            grow_embedding(model, self.num_embeddings)
        prefix = f"{model.base_model_prefix}."
        check_sizes(self.name_or_path, info, prefix)
        of_encoder = {key for key in info["missing_keys"] if key.startswith(prefix)}
        # nothing here reads the pooler, which a checkpoint may come without
        check_complete(
            self.name_or_path, [key for key in of_encoder if not key.startswith(f"{prefix}pooler.")]
        )
        self._ready(model.base_model)
        if is_fast(model.base_model):
            replace_linear(model)
        return model.train(), bool(set(info["missing_keys"]) - of_encoder)

    def _options(self, config: PretrainedConfig) -> dict[str, Any]:
        return {
            "config": config,
            "revision": self.revision,
            "dtype": torch.float32,
            "attn_implementation": attention_name(config, self.attn_implementation),
            "output_loading_info": True,
            "ignore_mismatched_sizes": True,  # checked here, since a head's don't matter
        }

    def _ready(self, encoder: PreTrainedModel) -> PreTrainedModel:
        reinitialize(encoder, self.reinit_layers)
        mend_half_precision(encoder)
        choose_kernels(encoder, self.kernels)
        if self.gradient_checkpointing:
            encoder.activation_checkpointing_enable({"use_reentrant": False})
            # only reentrant checkpoints need that, and a model whose embedding is replaced couldn't be copied
            encoder.disable_input_require_grads()
        if self.freeze_layers is not None:
            freeze(encoder, self.freeze_layers)
        insert_parts(encoder, self.insert, self.trust)  # trained in frozen layers, too
        # from_pretrained returns eval mode, and Lightning keeps each module's mode: without this
        # the encoder would train without dropout
        return encoder.train()


# (name or path, revision) of an encoder that has been tested → its error in 16 bits; a search's trials inherit it
tried: dict[tuple[str, str | None], str | None] = {}
# (name or path, revision) of an encoder whose weights have been read → what a user should know of them
read: dict[tuple[str, str | None], str | None] = {}


def _try(name_or_path: str, revision: str | None) -> str | None:
    """Refuse an encoder that can't run padded, and return its error in 16 bits; once, since that loads the encoder."""
    if (name_or_path, revision) not in tried:
        tried[name_or_path, revision] = _tried(name_or_path, revision)
    return tried[name_or_path, revision]


def _tried(name_or_path: str, revision: str | None) -> str | None:
    spec = EncoderSpec(name_or_path, revision)
    with loading(name_or_path):
        config = read_config(spec.resolve(), revision)
    type_of_model(config)  # or there is none
    encoder = spec.load(config)
    check_padding(encoder, name_or_path)
    return fault_in_half(encoder)


def empty_encoder(config: PretrainedConfig, attention: str = "sdpa") -> PreTrainedModel:
    """Return the bare encoder with random weights, in training mode.

    ``attention`` is an ``attn_implementation`` that ``prepare_attention`` has accepted.
    """
    return AutoModel.from_config(
        config, attn_implementation=attention_name(config, attention), **without_pooler(config)
    )


def empty_sequence_classifier(config: PretrainedConfig, attention: str = "sdpa") -> PreTrainedModel:
    """Return transformers' ``...ForSequenceClassification`` with random weights; see ``empty_encoder``."""
    return AutoModelForSequenceClassification.from_config(
        config, attn_implementation=attention_name(config, attention)
    )
