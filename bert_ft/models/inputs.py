"""What transformers' own code is given of a batch: positions, token types, and where the sequences lie."""

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
    """The arguments of the embeddings of a packed batch, each ``(1, num_tokens)``."""
    inputs = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids + position_offset(encoder),
        **token_types(encoder, batch),
    }
    return {name: value[None] for name, value in inputs.items()}


def layer_arguments(encoder: PreTrainedModel, batch: TextBatch) -> dict[str, Any]:
    """What every layer is given beside the states of a packed batch: where its sequences lie."""
    implementation = attention_of(encoder.config)
    if implementation in FLASH:  # transformers' own, which take cu_seqlens
        return {
            "cu_seq_lens_q": batch.cu_seqlens,
            "cu_seq_lens_k": batch.cu_seqlens,
            "max_length_q": max(batch.lengths),
            "max_length_k": max(batch.lengths),
        }
    num_heads = encoder.config.num_attention_heads
    arguments: dict[str, Any] = {"layout": SequenceLayout(batch.lengths, num_heads, is_fast=is_fast(encoder))}
    return arguments | {"cu_seqlens": batch.cu_seqlens} if is_own(implementation) else arguments


def token_types(encoder: PreTrainedModel, batch: TextBatch) -> dict[str, Tensor]:
    """``token_type_ids`` as a keyword argument, where the batch has and the encoder takes them."""
    if batch.token_type_ids is None or not takes_token_types(encoder):
        return {}
    return {"token_type_ids": batch.token_type_ids}


def takes_token_types(encoder: PreTrainedModel) -> bool:
    """Whether the encoder tells the two texts of a pair apart by ``token_type_ids``."""
    takes = family_of(encoder.config).token_types
    return "token_type_ids" in inspect.signature(encoder.forward).parameters if takes is None else takes


def position_offset(encoder: PreTrainedModel) -> int:
    """What the family adds to a position: RoBERTa's kin count on from behind the padding id."""
    embeddings: Any = getattr(encoder, "embeddings", None)
    counts = family_of(encoder.config).counts_from_padding
    if family_of(encoder.config) is UNKNOWN:
        counts = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if counts else 0


def padded_inputs(encoder: PreTrainedModel, input_ids: Tensor) -> dict[str, Tensor]:
    """What a padded batch of ``input_ids`` ``(batch, length)`` needs besides them, their mask and their types."""
    inputs = {}
    # RoBERTa's kin would number tokens by their ids, and a padding id within a text as padding
    if position_offset(encoder):
        positions = torch.arange(input_ids.shape[1], device=input_ids.device) + position_offset(encoder)
        inputs["position_ids"] = positions[None]
    if family_of(encoder.config).first_attends_to_all:
        is_first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
        inputs["global_attention_mask"] = is_first.long()[None].expand_as(input_ids)
    return inputs
