"""The arguments of transformers' own code for a batch: positions, token types, and where the sequences are."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bert_ft.compat.transformers import attention_of
from bert_ft.data.packing import TextBatch
from bert_ft.kernels.switch import is_fast
from bert_ft.models.attention import FLASH, SequenceLayout, is_own
from bert_ft.models.families import UNKNOWN, family_of


def packed_inputs(encoder: PreTrainedModel, batch: TextBatch) -> dict[str, Tensor]:
    """Return the arguments of the embeddings for a packed batch, each ``(1, num_tokens)``."""
    inputs = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids + position_offset(encoder),
        **token_types(encoder, batch),
    }
    return {name: value[None] for name, value in inputs.items()}


def layer_arguments(encoder: PreTrainedModel, batch: TextBatch) -> dict[str, Any]:
    """Return the arguments of every layer, besides the states, for a packed batch: where its sequences are."""
    implementation = attention_of(encoder.config)
    if implementation in FLASH:  # transformers' own, which take cu_seqlens
        ends, longest = batch.cu_seqlens, max(batch.lengths)
        lengths = {"max_length_q": longest, "max_length_k": longest}
        return lengths | {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
    num_heads = encoder.config.num_attention_heads
    arguments: dict[str, Any] = {"layout": SequenceLayout(batch.lengths, num_heads, is_fast=is_fast(encoder))}
    return arguments | {"cu_seqlens": batch.cu_seqlens} if is_own(implementation) else arguments


def token_types(encoder: PreTrainedModel, batch: TextBatch) -> dict[str, Tensor]:
    """Return ``token_type_ids`` as a keyword argument, if the batch has them and the encoder takes them."""
    if batch.token_type_ids is None or not takes_token_types(encoder):
        return {}
    return {"token_type_ids": batch.token_type_ids}


def takes_token_types(encoder: PreTrainedModel) -> bool:
    """Return whether the encoder takes ``token_type_ids``, which mark the two texts of a pair."""
    num_types = getattr(encoder.config, "type_vocab_size", None)
    if num_types is not None and num_types < 2:
        return False  # its embedding has a row for the first text only, or none
    takes = family_of(encoder.config).token_types
    return "token_type_ids" in inspect.signature(encoder.forward).parameters if takes is None else takes


def position_offset(encoder: PreTrainedModel) -> int:
    """Return what the family adds to a position: RoBERTa and related families count from the padding id + 1."""
    embeddings: Any = getattr(encoder, "embeddings", None)
    counts = family_of(encoder.config).counts_from_padding
    if family_of(encoder.config) is UNKNOWN:
        counts = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if counts else 0


def padded_inputs(encoder: PreTrainedModel, input_ids: Tensor) -> dict[str, Tensor]:
    """Return the arguments for padded ``input_ids`` ``(batch, length)`` besides their mask and token types."""
    inputs = {}
    # RoBERTa's own code gives a padding id within a text the padding's position
    if position_offset(encoder):
        positions = torch.arange(input_ids.shape[1], device=input_ids.device) + position_offset(encoder)
        inputs["position_ids"] = positions[None]
    if family_of(encoder.config).first_attends_to_all:
        is_first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
        inputs["global_attention_mask"] = is_first.long()[None].expand_as(input_ids)
    return inputs
