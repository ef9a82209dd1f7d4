"""A token embedding with more rows, for a tokenizer with more tokens than the encoder was trained with."""

from __future__ import annotations

from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.errors import ConfigError
from bert_ft.models.families import family_of


def grow_embedding(model: PreTrainedModel, num_embeddings: int | None) -> None:
    """Grow the token embedding and the masked-LM head to this many rows, in place; ``None`` changes nothing.

    The new rows are drawn close to the mean of the others.

    Raises:
        ConfigError: the family doesn't support this.
    """
    num_rows = model.config.get_text_config().vocab_size
    if num_embeddings is None or num_embeddings <= num_rows:
        return
    check_growth(model.config, num_embeddings)
    try:
        model.resize_token_embeddings(num_embeddings)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{_refusal(model.config, num_embeddings)} ({type(error).__name__}: {error})"
        ) from error


def check_growth(config: PretrainedConfig, num_embeddings: int) -> None:
    """Refuse a family whose token embedding is known not to grow.

    Raises:
        ConfigError: it can't grow.
    """
    if not family_of(config).grows:
        raise ConfigError(_refusal(config, num_embeddings))


def _refusal(config: PretrainedConfig, num_embeddings: int) -> str:
    num_rows = config.get_text_config().vocab_size
    return (
        f"data.tokenizer: the token embedding of {config.model_type} can't grow from {num_rows:,} to {num_embeddings:,} "
        "rows; use a tokenizer without new tokens"
    )
