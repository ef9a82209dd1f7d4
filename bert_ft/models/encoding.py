"""Hidden states of packed batches, from encoders that run packed or padded."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from bert_ft.compat.transformers import attention_of
from bert_ft.data.packing import TextBatch, pad, padding_mask, unpad
from bert_ft.models.encoder_config import runs_packed
from bert_ft.models.first_token import computes_first_tokens
from bert_ft.models.frozen import encode_from
from bert_ft.models.inputs import layer_arguments, packed_inputs, padded_inputs, token_types
from bert_ft.nn.pooling import ClsPooling


def encode(encoder: PreTrainedModel, batch: TextBatch, num_layers: int = 1) -> list[Tensor]:
    """Return the hidden states of the last ``num_layers`` layers, deepest last, each ``(num_tokens, hidden_size)``.

    If the batch has ``states``, only the layers above them are computed.
    """
    if batch.states is not None:
        return encode_from(encoder, batch, num_layers)
    run = _run_packed if is_packed(encoder) else _run_padded
    output = run(encoder, batch, {"output_hidden_states": num_layers > 1})
    states = output.hidden_states[-num_layers:] if num_layers > 1 else (output.last_hidden_state,)
    return [state[0] if is_packed(encoder) else unpad(state, batch) for state in states]


def encode_first_tokens(encoder: PreTrainedModel, batch: TextBatch) -> Tensor:
    """Return the last hidden state of each first token, ``(num_sequences, hidden_size)``; zeros for an empty sequence.

    If ``prepare_first_tokens`` took effect, the last layer is computed for these tokens only.
    """
    is_computed = batch.num_layers_done == num_encoder_layers(encoder)
    if is_computed or not computes_first_tokens(encoder) or min(batch.lengths, default=0) == 0:
        return ClsPooling()(encode(encoder, batch)[0], batch.cu_seqlens)
    if batch.states is not None:
        return encode_from(encoder, batch, cu_first=batch.cu_seqlens)[0]
    return _run_packed(encoder, batch, {"cu_first": batch.cu_seqlens}).last_hidden_state[0]


def _run_packed(encoder: PreTrainedModel, batch: TextBatch, options: dict[str, Any]) -> Any:
    return encoder(**packed_inputs(encoder, batch), **layer_arguments(encoder, batch), **options)


def _run_padded(encoder: PreTrainedModel, batch: TextBatch, options: dict[str, Any]) -> Any:
    types = {name: pad(value, batch) for name, value in token_types(encoder, batch).items()}
    input_ids = pad(batch.input_ids, batch, encoder.config.pad_token_id or 0)
    return encoder(
        input_ids=input_ids,
        attention_mask=padding_mask(batch).long(),
        **types,
        **padded_inputs(encoder, input_ids),
        **options,
    )


def is_packed(encoder: PreTrainedModel) -> bool:
    """Return whether the encoder's family (see ``bert_ft.models.families``) and attention run on packed tokens."""
    return runs_packed(encoder.config, attention_of(encoder.config))


def num_encoder_layers(encoder: PreTrainedModel) -> int:
    """Return the encoder's number of layers, for layer-wise learning rates."""
    return int(encoder.config.num_hidden_layers)
