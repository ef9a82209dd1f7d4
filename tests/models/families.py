"""Tiny encoders of each supported family, with random weights."""

from typing import Any

import numpy as np
from transformers import AutoConfig, PretrainedConfig

from bert_ft.data.packing import TextBatch, pack
from bert_ft.models import families

MAX_LENGTH = 64
VOCAB_SIZE = 99
_BERT = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": MAX_LENGTH,
    "type_vocab_size": 2,
    "initializer_range": 0.3,  # far from the near-linear start, so that a wrong mask shows
    "pad_token_id": 0,
}
# RoBERTa's kin count positions on from behind the padding id
_ROBERTA = _BERT | {"max_position_embeddings": MAX_LENGTH + 2, "pad_token_id": 1}

FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "ernie": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _BERT | {"embedding_size": 16},
    "albert": _BERT | {"embedding_size": 16},
    "distilbert": {"vocab_size": VOCAB_SIZE, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
    | {"max_position_embeddings": MAX_LENGTH, "initializer_range": 0.3},
    "modernbert": {key: value for key, value in _BERT.items() if key != "type_vocab_size"}
    | {"num_hidden_layers": 4, "global_attn_every_n_layers": 2}
    | {"local_attention": 16}  # far shorter than MAX_LENGTH, so that the window matters
    | {"initializer_cutoff_factor": 2.0, "bos_token_id": 2, "eos_token_id": 3}
    | {"cls_token_id": 2, "sep_token_id": 3},
    "deberta-v2": _BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "deberta": _BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}
PADDED_FAMILIES = ("deberta", "deberta-v2")
PACKED_FAMILIES = sorted(name for name, family in families.FAMILIES.items() if family.packed)
WITH_BERT_LAYERS = sorted(name for name, family in families.FAMILIES.items() if family.has_bert_layers)


def tiny_config(family: str, **changes: Any) -> PretrainedConfig:
    return AutoConfig.for_model(family, **(FAMILIES[family] | changes))


def random_batch(
    lengths: list[int],
    *,
    seed: int = 0,
    num_labels: int = 3,
    token_types: bool = False,
    vocab_size: int = VOCAB_SIZE,
) -> TextBatch:
    """Sequences of the given lengths; ids avoid the special ones."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(5, vocab_size, size=length) for length in lengths]
    types = [rng.integers(0, 2, size=length) for length in lengths] if token_types else None
    labels = rng.integers(0, num_labels, size=len(lengths))
    return pack(sequences, range(len(lengths)), token_type_ids=types, labels=labels)
