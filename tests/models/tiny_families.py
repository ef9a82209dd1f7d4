"""Tiny encoders of every family that is supported or tried, with random weights."""

from typing import Any

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from bert_ft.models.encoder import empty_encoder

from . import families

# two layers: an export to ONNX takes seconds for each
_BERT: dict[str, Any] = families.FAMILIES["bert"] | {"num_hidden_layers": 2}
_ROBERTA: dict[str, Any] = families.FAMILIES["roberta"] | {"num_hidden_layers": 2}
_XLM = {"vocab_size": families.VOCAB_SIZE, "emb_dim": 32, "n_layers": 2, "n_heads": 4}
_XLM |= {"max_position_embeddings": families.MAX_LENGTH, "pad_index": 2, "pad_token_id": 2}
_ROTARY = _BERT | {"max_position_embeddings": 128}

# beside those that are tested more closely
PADDED: dict[str, dict[str, Any]] = {
    "big_bird": _BERT | {"block_size": 4, "num_random_blocks": 2},
    "data2vec-text": _ROBERTA,
    "eurobert": _BERT
    | {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3, "mask_token_id": 4},
    "flaubert": _XLM,
    "gte": _ROTARY,
    "ibert": _ROBERTA,
    "jina_embeddings_v3": _ROTARY | {"pad_token_id": 1},
    "layoutlm": _BERT | {"max_2d_position_embeddings": 16},
    "longformer": _ROBERTA | {"attention_window": 8},
    "luke": _ROBERTA | {"entity_vocab_size": 10, "entity_emb_size": 16},
    "megatron-bert": _BERT,
    "mobilebert": _BERT
    | {"embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32}
    | {"num_feedforward_networks": 2, "normalization_type": "layer_norm"},
    "mpnet": _ROBERTA,
    "nomic_bert": _ROTARY,
    "rembert": _BERT | {"input_embedding_size": 16, "output_embedding_size": 24},
    "roberta-prelayernorm": _ROBERTA,
    "roformer": _BERT | {"embedding_size": 32},
    "squeezebert": _BERT
    | {"embedding_size": 32}
    | {f"{name}_groups": 2 for name in ("q", "k", "v", "post_attention", "intermediate", "output")},
    "xlm": _XLM,
    "xlm-roberta-xl": _ROBERTA,
    "xlnet": {"vocab_size": families.VOCAB_SIZE, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "xmod": _ROBERTA | {"languages": ["en_XX"], "default_language": "en_XX"},
}
# families that aren't in the table, and pass the check
TRIED: dict[str, dict[str, Any]] = {
    "esm": _ROBERTA
    | {"mask_token_id": 4, "position_embedding_type": "absolute", "token_deletion_prob": False},
    "esmc": _BERT,
    "ultrabert": _BERT | {"num_key_value_heads": 4, "bos_token_id": 2, "eos_token_id": 3},
    "lilt": _ROBERTA | {"channel_shrink_ratio": 4, "hidden_size": 48},
}
TABLE = families.FAMILIES | PADDED
ALL = TABLE | TRIED


def tiny_family(family: str, **changes: Any) -> PretrainedConfig:
    return AutoConfig.for_model(family, **(ALL[family] | changes))


def random_encoder(family: str, **changes: Any) -> PreTrainedModel:
    """With weights like those of a checkpoint from elsewhere: the padding's embedding isn't zero, nor are biases."""
    torch.manual_seed(0)
    encoder = empty_encoder(tiny_family(family, **changes))
    randomize(encoder)
    return encoder


def randomize(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.25, generator=generator)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
