"""An encoder with a classification head, on packed batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError
from bert_ft.limits import BelowOne, Count
from bert_ft.models.custom_modules import build_part
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoding import encode, encode_first_tokens
from bert_ft.models.families import family_of, model_types
from bert_ft.models.first_token import prepare_first_tokens
from bert_ft.models.frozen import check_pooling_layers
from bert_ft.models.kept_head import OFF, keep_residual_head, order_of_labels, reorder_labels, say_left_out
from bert_ft.nn.head import ResidualHead
from bert_ft.nn.pooling import ClsPooling, MeanPooling, PoolingName, build_pooling, mean_of_layers
from bert_ft.trust import TARGET


class Classifier(nn.Module):
    """Base of the classifiers: features of a batch, and logits from them.

    Parameters are named ``encoder.<transformers' own name>``, ``pooling.*`` and ``head.*``.
    """

    encoder: PreTrainedModel

    @property
    def config(self) -> PretrainedConfig:
        """The encoder's configuration, with ``id2label`` in it."""
        return self.encoder.config

    @property
    def num_labels(self) -> int:
        return len(self.config.id2label or ())

    def features(self, batch: TextBatch) -> Tensor:
        """What the head sees of each sequence, ``(num_sequences, hidden_size)``."""
        raise TypeError(f"{type(self).__name__} doesn't say what its features are")

    def logits(self, features: Tensor) -> Tensor:
        """``(num_sequences, num_labels)`` from the features."""
        raise TypeError(f"{type(self).__name__} doesn't say what its logits are")

    def forward(self, batch: TextBatch) -> Tensor:
        """Return ``(num_sequences, num_labels)`` in the order in which ``pack`` was given the sequences.

        ``features`` and ``logits`` keep the batch's own order, which ``batch.labels`` and ``batch.rows`` have.
        """
        return batch.as_given(self.logits(self.features(batch)))

    def _pooled(self, batch: TextBatch, pooling: nn.Module, num_layers: int = 1) -> Tensor:
        if type(pooling) is ClsPooling and num_layers == 1:  # a class derived from it may read more
            return encode_first_tokens(self.encoder, batch)
        return pooling(mean_of_layers(encode(self.encoder, batch, num_layers)), batch.cu_seqlens)

    def saved_state(self) -> dict[str, Tensor]:
        """The weights under the names of the saved folder: the encoder under its family's prefix."""
        prefix = self.encoder.base_model_prefix
        return {
            f"{prefix}.{name.removeprefix('encoder.')}" if name.startswith("encoder.") else name: value
            for name, value in self.state_dict().items()
        }

    def load_saved_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of ``saved_state``; a name too many or too few raises ``RuntimeError``."""
        prefix = self.encoder.base_model_prefix + "."
        self.load_state_dict(
            {
                f"encoder.{name.removeprefix(prefix)}" if name.startswith(prefix) else name: value
                for name, value in state.items()
            }
        )


class ResidualClassifier(Classifier):
    """Encoder → pooled vector → residual blocks → logits.

    Args:
        encoder: with the labels in its configuration.
        pooling: a name, or a class of one's own (see ``build_part``): called with ``hidden_size``, its module maps
            ``(num_tokens, hidden_size)`` and ``cu_seqlens (num_sequences + 1,)`` to ``(num_sequences, hidden_size)``.
        pooling_layers: pool the mean of the last so many layers.
        hidden_sizes: one block for each.
        dropout: in the blocks, and before the last layer.
        head: a class of one's own in place of the blocks: called with ``hidden_size`` and ``num_labels``, its module
            maps ``(num_sequences, hidden_size)`` to ``(num_sequences, num_labels)``.
        trust: names that ``pooling`` and ``head`` may have.
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
            self.head = ResidualHead(
                hidden_size, self.num_labels, hidden_sizes=list(hidden_sizes), dropout=dropout
            )
            self.architecture |= {"hidden_sizes": list(hidden_sizes), "dropout": dropout}
        else:
            self.head = build_part(
                "model.head", head, trust, hidden_size=hidden_size, num_labels=self.num_labels
            )
            self.architecture |= {"head": dict(head)}

    def features(self, batch: TextBatch) -> Tensor:
        return self._pooled(batch, self.pooling, self.pooling_layers)

    def logits(self, features: Tensor) -> Tensor:
        return self.head(features)


class LinearClassifier(Classifier):
    """transformers' own ``...ForSequenceClassification``, on packed batches: the plain baseline.

    For BERT that is pooler → tanh → dropout → linear.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        check_linear(model.config)
        self.encoder = cast(PreTrainedModel, model.base_model)
        self.head = nn.Module()
        for name, child in model.named_children():
            if child is not model.base_model:
                self.head.add_module(name, child)
        mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self.pooling = MeanPooling() if mean else ClsPooling()
        if not mean:
            prepare_first_tokens(self.encoder)
        self.architecture: dict[str, Any] = {}

    def features(self, batch: TextBatch) -> Tensor:
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
    """Refuse a family whose classification head isn't known.

    Raises:
        ConfigError: with those that are.
    """
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
    trust: Sequence[str] = (),
) -> ResidualClassifier:
    """Return a ``ResidualClassifier`` on the loaded encoder (``model=bert_residual``).

    Its head is fresh, or with ``keep_head`` that of the saved folder which the encoder is from; ``entries`` are the task's
    ``config_entries``.
    """
    config = encoder.load_config(**entries)
    if encoder.cache_frozen and encoder.freeze_layers is not None:
        check_pooling_layers(config, encoder.freeze_layers, pooling_layers)
    settings: dict[str, Any] = {"head": head} if TARGET in head else dict(head)
    classifier = ResidualClassifier(
        encoder.load(config), pooling=pooling, pooling_layers=pooling_layers, trust=trust, **settings
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
    trust: Sequence[str] = (),
) -> LinearClassifier:
    """Return a ``LinearClassifier`` on the loaded encoder (``model=bert_linear``).

    Args:
        encoder: what to load.
        entries: the task's ``config_entries``.
        dropout: the rate before the last layer; ``None`` keeps the checkpoint's.
        keep_head: take the checkpoint's head, of the same labels, instead of a fresh one.
        trust: nothing of it is asked for here.
    """
    order = order_of_labels(encoder, entries) if keep_head else []
    config = encoder.load_config(**entries)
    if dropout is not None:
        key = family_of(config).head_dropout
        if key is None:
            raise ConfigError(
                f"model.dropout={dropout}: the head of {config.model_type} has no rate of its own; leave it null, and "
                "set encoder.hidden_dropout"
            )
        setattr(config, key, dropout)
    model, has_head = encoder.load_sequence_classifier(config, keep_head=keep_head)
    if keep_head and not has_head:
        raise ConfigError(
            f"model.keep_head=true: encoder.name_or_path={encoder.name_or_path} has no head of model=bert_linear; {OFF}"
        )
    if has_head and not keep_head:
        say_left_out(encoder)
    classifier = LinearClassifier(model)
    if keep_head:
        reorder_labels(classifier.head, order)
    return classifier
