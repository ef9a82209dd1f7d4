"""Tiny encoder folders that are the same on every machine: a tokenizer and random weights."""

import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, BertTokenizer
from transformers.utils.logging import disable_progress_bar

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
KINDS = {
    "bert": {},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
}
# Words are far apart and layers change little, so that a text's vector is much like a bag of words: that learns in 26 steps.
WORD_STD = 1.0
WEIGHT_STD = 0.05


def vocabulary(texts: Iterable[str], min_count: int) -> list[str]:
    """Return special tokens, letters, digits and the words that are frequent in ``texts``, for WordPiece."""
    words = [word for text in texts for word in text.lower().split() if word.isascii() and word.isalpha()]
    frequent = sorted(word for word in set(words) if len(word) > 1 and words.count(word) >= min_count)
    letters = string.ascii_lowercase + string.digits
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent]


def write_encoder(folder: Path, kind: str, words: list[str], **sizes: int) -> Path:
    """Write a folder in the format of Hugging Face and return it.

    Weights come from numpy's ``RandomState``, whose stream is the same in all versions; torch's depends on the
    processor.
    """
    disable_progress_bar()  # of writing a few kB
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    settings = {"vocab_size": len(words), "max_position_embeddings": 64} | SIZES | KINDS[kind] | sizes
    model = AutoModel.from_config(AutoConfig.for_model(kind, **settings))
    random = np.random.RandomState(0)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if name.endswith("LayerNorm.weight"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.fill_(0.0)
            else:
                scale = WORD_STD if name.endswith("word_embeddings.weight") else WEIGHT_STD
                values = random.normal(scale=scale, size=tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))
    model.save_pretrained(folder)
    return folder
