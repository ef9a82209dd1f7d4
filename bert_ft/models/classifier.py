"""An encoder with a classification head, on packed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.limits import BelowOne, Count
from bert_ft.models.custom_modules import build_part
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode, encode_first_tokens
from bert_ft.models.families import family_of, model_types
from bert_ft.models.family_heads import head_of
from bert_ft.models.first_token import prepare_first_tokens
from bert_ft.models.frozen import check_pooling_layers
from bert_ft.models.kept_head import (
    OFF,
    check_window_pooling,
    keep_residual_head,
    order_of_labels,
    reorder_labels,
    say_left_out,
)
from bert_ft.nn.head import ResidualHead
from bert_ft.nn.pooling import (
    WITHOUT_WEIGHTS,
    ClsPooling,
    MeanPooling,
    PoolingName,
    WindowPoolingName,
    build_pooling,
    build_window_pooling,
    mean_of_layers,
)
from bert_ft.trust import TARGET


class Classifier(nn.Module):
    """Base class: features of a batch, and ``logits = head(features)``.

    Parameters are named ``encoder.<transformers' own name>``, ``pooling.*`` and ``head.*``.
    """

    encoder: PreTrainedModel
    window_pooling: nn.Module

    @property
    def config(self) -> PretrainedConfig:
        """The encoder's configuration, which has ``id2label``."""
        return self.encoder.config

    @property
    def num_labels(self) -> int:
        return len(self.config.id2label or ())

    def vectors(self, batch: TextBatch) -> Tensor:
        """Return a vector of each sequence, ``(num_sequences, hidden_size)``: of a text, or of a window of one."""
        raise NotImplementedError

    def features(self, batch: TextBatch, max_tokens: int | None = None) -> Tensor:
        """Return the input of the head, ``(num_texts, hidden_size)``.

        A batch with windows of more than ``max_tokens`` tokens is computed in parts.
        """
        if batch.cu_windows is None:
            return self.vectors(batch)
        pieces = [batch] if max_tokens is None else batch.split(max_tokens)
        return self.of_windows(torch.cat([self.vectors(piece) for piece in pieces]), batch)

    def of_windows(self, vectors: Tensor, batch: TextBatch) -> Tensor:
        """Return ``(num_texts, hidden_size)`` from the vectors of all windows of a batch that has ``cu_windows``."""
        assert batch.window_order is not None
        return self.window_pooling(vectors[batch.window_order], batch.cu_windows)

    def logits(self, features: Tensor) -> Tensor:
        """Return ``(num_texts, num_labels)`` from the features."""
        raise NotImplementedError

    def forward(self, batch: TextBatch, max_tokens: int | None = None) -> Tensor:
        """Return ``(num_texts, num_labels)`` in the order in which ``pack`` was given the texts.

        ``features`` and ``logits`` keep the batch's own order, which ``batch.labels`` and ``batch.rows`` have.
        """
        return batch.as_given(self.logits(self.features(batch, max_tokens)))

    def _pooled(self, batch: TextBatch, pooling: nn.Module, num_layers: int = 1) -> Tensor:
        if type(pooling) is ClsPooling and num_layers == 1:  # a class derived from it may read more
            return encode_first_tokens(self.encoder, batch)
        return pooling(mean_of_layers(encode(self.encoder, batch, num_layers)), batch.cu_seqlens)

    def saved_state(self) -> dict[str, Tensor]:
        """Return the weights under the names of the saved folder: the encoder has its family's prefix."""
        return _renamed(self.state_dict(), "encoder.", f"{self.encoder.base_model_prefix}.")

    def load_saved_state(self, state: dict[str, Tensor]) -> None:
        """Load what ``saved_state`` returned; raise ``RuntimeError`` for missing and unexpected names."""
        self.load_state_dict(_renamed(state, f"{self.encoder.base_model_prefix}.", "encoder."))


def _renamed(state: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {
        new + name.removeprefix(old) if name.startswith(old) else name: value for name, value in state.items()
    }


class ResidualClassifier(Classifier):
    """Encoder → pooled vector → residual blocks → logits.

    Args:
        encoder: the encoder, with the labels in its configuration.
        pooling: a name, or a user's class (see ``build_part``): called with ``hidden_size``, its module maps
            ``(num_tokens, hidden_size)`` and ``cu_seqlens (num_sequences + 1,)`` to ``(num_sequences, hidden_size)``.
        pooling_layers: pool the mean of this many last layers.
        hidden_sizes: sizes of the residual blocks.
        dropout: the rate in the blocks and before the last layer.
        head: a user's class that replaces the blocks: called with ``hidden_size`` and ``num_labels``, its module maps
            ``(num_sequences, hidden_size)`` to ``(num_sequences, num_labels)``.
        window_pooling: name of the pooling over the windows of a text.
        trust: patterns of the names that ``pooling`` and ``head`` may have.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        *,
        pooling: str | Mapping[str, Any] = "mean",
        pooling_layers: int = 1,
        hidden_sizes: Sequence[int] = (),
        dropout: float = 0.1,
        head: Mapping[str, Any] | None = None,
        window_pooling: str = "mean",
        trust: Sequence[str] = (),
    ) -> None:
        super().__init__()
        available = int(encoder.config.num_hidden_layers)
        if not 1 <= pooling_layers <= available:
            raise ConfigError(
                f"model.pooling_layers={pooling_layers}: this encoder has 1 to {available} layers"
            )
        self.encoder = encoder
        self.pooling_layers = pooling_layers
        hidden_size = int(encoder.config.hidden_size)
        if isinstance(pooling, str):
            self.pooling = build_pooling(pooling, hidden_size)
        else:
            self.pooling = build_part("model.pooling", pooling, trust, hidden_size=hidden_size)
        if pooling == "cls" and pooling_layers == 1:
            prepare_first_tokens(encoder)
        self.architecture: dict[str, Any] = {
            "pooling": pooling if isinstance(pooling, str) else dict(pooling),
            "pooling_layers": pooling_layers,
        }
        self.head: nn.Module
        if head is None:
            blocks: dict[str, Any] = {"hidden_sizes": list(hidden_sizes), "dropout": dropout}
            self.head = ResidualHead(hidden_size, self.num_labels, **blocks)
            self.architecture |= blocks
        else:
            sizes = {"hidden_size": hidden_size, "num_labels": self.num_labels}
            self.head = build_part("model.head", head, trust, **sizes)
            self.architecture |= {"head": dict(head)}
        with torch.random.fork_rng(devices=[]):  # the random state is that of a model without windows
            self.window_pooling = build_window_pooling(window_pooling, hidden_size)
        if window_pooling != "mean":
            self.architecture["window_pooling"] = window_pooling

    def vectors(self, batch: TextBatch) -> Tensor:
        return self._pooled(batch, self.pooling, self.pooling_layers)

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)


class LinearClassifier(Classifier):
    """transformers' own ``...ForSequenceClassification``, on packed batches: the plain baseline.

    For BERT that is pooler → tanh → dropout → linear.
    """

    def __init__(self, model: PreTrainedModel, window_pooling: str = "mean") -> None:
        super().__init__()
        check_linear(model.config)
        if window_pooling not in WITHOUT_WEIGHTS:
            raise ConfigError(
                f"model.window_pooling={window_pooling}: has weights, which transformers' own model doesn't; use mean or "
                "max, or model=bert_residual"
            )
        self.window_pooling = build_window_pooling(window_pooling, 0)
        self.encoder = cast(PreTrainedModel, model.base_model)
        self.head = head_of(model)
        mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self.pooling = MeanPooling() if mean else ClsPooling()
        if not mean:
            prepare_first_tokens(self.encoder)
        self.architecture: dict[str, Any] = (
            {} if window_pooling == "mean" else {"window_pooling": window_pooling}
        )

    def vectors(self, batch: TextBatch) -> Tensor:
        return self._pooled(batch, self.pooling)

    def logits(self, features: Tensor) -> Tensor:
        tail = family_of(self.config).classify
        assert tail is not None, "see check_linear"
        return tail(self.encoder, self.head, features)

    def saved_state(self) -> dict[str, Tensor]:
        return {name.removeprefix("head."): value for name, value in super().saved_state().items()}

    def load_saved_state(self, state: dict[str, Tensor]) -> None:
        prefix = self.encoder.base_model_prefix + "."
        super().load_saved_state(
            {name if name.startswith(prefix) else f"head.{name}": value for name, value in state.items()}
        )


def check_linear(config: PretrainedConfig) -> None:
    """Raise ``ConfigError`` if the classification head of the family isn't known."""
    if family_of(config).classify is None:
        raise ConfigError(
            f"model=bert_linear: no head is known for model type {config.model_type!r} "
            f"(known: {model_types('classify')}); use model=bert_residual"
        )


def build_residual(
    encoder: EncoderSpec,
    entries: Mapping[str, Any],
    *,
    pooling: PoolingName | Mapping[str, Any],
    pooling_layers: Count,
    head: Mapping[str, Any],
    keep_head: bool = False,
    window_pooling: WindowPoolingName = "mean",
    trust: Sequence[str] = (),
) -> ResidualClassifier:
    """Return a ``ResidualClassifier`` on the loaded encoder (``model=bert_residual``).

    Its head is new or, with ``keep_head``, that of the encoder's saved folder; ``entries`` are the task's
    ``config_entries``.
    """
    config = encoder.load_config(**entries)
    if encoder.cache_frozen and encoder.freeze_layers is not None:
        check_pooling_layers(config, encoder.freeze_layers, pooling_layers)
    settings: dict[str, Any] = {"head": head} if TARGET in head else dict(head)
    classifier = ResidualClassifier(
        encoder.load(config),
        pooling=pooling,
        pooling_layers=pooling_layers,
        window_pooling=window_pooling,
        trust=trust,
        **settings,
    )
    if keep_head:
        keep_residual_head(classifier, encoder, entries)
    else:
        say_left_out(encoder, residual=True)
    return classifier


def build_linear(
    encoder: EncoderSpec,
    entries: Mapping[str, Any],
    *,
    dropout: BelowOne | None,
    keep_head: bool = False,
    window_pooling: WindowPoolingName = "mean",
    trust: Sequence[str] = (),
) -> LinearClassifier:
    """Return a ``LinearClassifier`` on the loaded encoder (``model=bert_linear``).

    Args:
        encoder: the encoder to load.
        entries: the task's ``config_entries``.
        dropout: the rate before the last layer; ``None`` keeps the checkpoint's.
        keep_head: take the checkpoint's head, which must have the same labels, instead of a new one.
        window_pooling: the pooling over the windows of a text, one without weights.
        trust: not used here.
    """
    order = order_of_labels(encoder, entries) if keep_head else []
    config = encoder.load_config(**entries)
    if dropout is not None:
        key = family_of(config).head_dropout
        if key is None:
            raise ConfigError(
                f"model.dropout={dropout}: the head of {config.model_type} has no dropout rate of its own; "
                "leave it null, and "
                "set encoder.hidden_dropout"
            )
        setattr(config, key, dropout)
    model, has_head = encoder.load_sequence_classifier(config, keep_head=keep_head)
    if keep_head and not has_head:
        raise ConfigError(
            f"model.keep_head=true: encoder.name_or_path={encoder.name_or_path} has no head that model=bert_linear could keep; {OFF}"
        )
    if has_head and not keep_head:
        say_left_out(encoder)
    classifier = LinearClassifier(model, window_pooling)
    if keep_head:
        check_window_pooling(classifier, encoder)
        reorder_labels(classifier.head, order)
    return classifier
