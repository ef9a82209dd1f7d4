"""Which rows of the token embedding a run trains."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.kernels.split_embedding import SplitEmbedding, is_correct
from bert_ft.kernels.switch import is_fast
from bert_ft.optim.layerwise import LayerwiseOptimizer


def train_used_rows_only(
    encoder: PreTrainedModel,
    train: TokenizedSplit,
    tokenizer: PreTrainedTokenizerFast,
    optimizer: LayerwiseOptimizer,
    device: torch.device,
) -> None:
    """Split off the rows of the embedding that no training text uses, if that is exact and saves time.

    It is exact with AdamW (see ``bert_ft.kernels.split_embedding``) and saves time on a CPU, where reading and writing
    memory is a large part of an optimizer step. With ``encoder.kernels=plain`` all rows are trained.
    """
    embedding = encoder.get_input_embeddings()
    is_exact = optimizer.algorithm_type is AdamW
    if not is_fast(encoder) or device.type != "cpu" or not is_exact or type(embedding) is not nn.Embedding:
        return
    if not embedding.weight.requires_grad:  # no optimizer updates it
        return
    used = torch.from_numpy(train.used_tokens(embedding.num_embeddings))
    # padded families see the encoder's own padding id, which the tokenizer's may differ from
    special = [*tokenizer.all_special_ids, encoder.config.pad_token_id or 0]
    used[[token for token in special if token < len(used)]] = True
    if not used.all() and is_correct():
        encoder.set_input_embeddings(SplitEmbedding(embedding, used))


def trained_rows(model: nn.Module) -> list[int]:
    """Return a checksum of the trained rows, in their order, for each split embedding below ``model``."""
    return [zlib.crc32(embedding.row_of.cpu().numpy().tobytes()) for embedding in _split_embeddings(model)]


def decay_unused_rows(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Let split embeddings below ``model`` follow the optimizer's weight decay."""
    for embedding in _split_embeddings(model):
        embedding.follow(optimizer)


def settle_unused_rows(model: nn.Module) -> None:
    """Apply the pending weight decay of split embeddings, before the values of all rows are read."""
    for embedding in _split_embeddings(model):
        embedding.settle()


def settled_parameters(model: nn.Module) -> list[Tensor]:
    """Return the value of each parameter, in order, with pending weight decay.

    The decay stays pending: applied at another step, it would round differently.
    """
    settled = {embedding.unused: embedding.settled for embedding in _split_embeddings(model)}
    return [settled.get(parameter, parameter.detach()) for parameter in model.parameters()]


@contextmanager
def saving_pending_decay(model: nn.Module) -> Iterator[None]:
    """Inside the context, save states without the pending weight decay, so that it is rounded only once."""
    embeddings = list(_split_embeddings(model))
    for embedding in embeddings:
        embedding.saves_pending = True
    try:
        yield
    finally:
        for embedding in embeddings:
            embedding.saves_pending = False


def pending_decay(model: nn.Module) -> list[float]:
    """Return the factor of the pending weight decay of each split embedding."""
    return [embedding.pending_decay for embedding in _split_embeddings(model)]


def restore_pending_decay(model: nn.Module, factors: Sequence[float]) -> None:
    """Restore the pending weight decay of a saved state."""
    for embedding, factor in zip(_split_embeddings(model), factors, strict=True):
        embedding.pending_decay = factor


def _split_embeddings(model: nn.Module) -> Iterator[SplitEmbedding]:
    return (module for module in model.modules() if isinstance(module, SplitEmbedding))
