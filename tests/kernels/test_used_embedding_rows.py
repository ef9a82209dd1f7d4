"""When a run trains only the used rows of the embedding, and which rows these are; runs: test_fast_and_plain."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.optim import SGD, Adam, AdamW

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.tokenization import TokenizedColumns
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.kernels.used_embedding_rows import train_used_rows_only
from bert_ft.models.encoder import empty_encoder
from bert_ft.optim.layerwise import LayerwiseOptimizer
from tests.models.families import VOCAB_SIZE, tiny_config

CPU = torch.device("cpu")


def split_of(*rows: list[int]) -> TokenizedSplit:
    columns = TokenizedColumns(
        input_ids=np.concatenate(rows).astype(np.int32),
        offsets=np.cumsum([0, *map(len, rows)]),
        num_truncated=np.zeros(len(rows), np.int32),
    )
    return TokenizedSplit.from_columns("train", columns, Dataset.from_dict({"text": ["…"] * len(rows)}))


SPLIT = split_of([2, 7, 9, 3], [2, 9, 3])
TOKENIZER = SimpleNamespace(all_special_ids=[0, 1, 2, 3, 4, VOCAB_SIZE + 5])  # one more than the encoder has
ADAMW = LayerwiseOptimizer(partial(AdamW, fused=True), lr=1e-3)


def embedding_after(split=SPLIT, optimizer=ADAMW, device=CPU, family="bert", **changes):
    encoder = empty_encoder(tiny_config(family, **changes))
    train_used_rows_only(encoder, split, TOKENIZER, optimizer, device)
    return encoder.get_input_embeddings()


def test_used_rows_are_those_of_texts_and_special_tokens():
    embedding = embedding_after()
    trained = (embedding.row_of < embedding.num_used).nonzero().flatten()
    assert trained.tolist() == [0, 1, 2, 3, 4, 7, 9]


def test_only_this_splits_rows_count():
    """The columns are shared with other splits."""
    embedding = embedding_after(SPLIT.select(np.array([1])))
    assert embedding.num_used == 6


@pytest.mark.parametrize("algorithm", [SGD, Adam, partial(SGD, momentum=0.9)], ids=str)
def test_other_optimizers_train_all_rows(algorithm):
    assert type(embedding_after(optimizer=LayerwiseOptimizer(algorithm, lr=1e-3))) is nn.Embedding


@pytest.mark.parametrize("device", ["meta", "cuda", "mps"])
def test_other_devices_train_all_rows(device):
    assert type(embedding_after(device=torch.device(device))) is nn.Embedding


def test_texts_that_use_all_rows():
    assert type(embedding_after(split_of(list(range(VOCAB_SIZE))))) is nn.Embedding
    assert type(embedding_after(split_of(list(range(VOCAB_SIZE - 1))))) is SplitEmbedding


def test_a_frozen_one_is_left_as_it_is_and_a_split_one_is_not_split_again():
    encoder = empty_encoder(tiny_config("bert"))
    encoder.get_input_embeddings().requires_grad_(False)
    train_used_rows_only(encoder, SPLIT, TOKENIZER, ADAMW, CPU)
    assert type(encoder.get_input_embeddings()) is nn.Embedding
    encoder.get_input_embeddings().requires_grad_(True)
    for _ in range(2):
        train_used_rows_only(encoder, SPLIT, TOKENIZER, ADAMW, CPU)
    assert type(encoder.get_input_embeddings().weight) is nn.Parameter


@pytest.mark.parametrize("pad_token_id", [0, 50, None])
def test_what_padded_families_are_padded_with_is_used(pad_token_id):
    """Whatever the tokenizer says."""
    embedding = embedding_after(family="deberta-v2", pad_token_id=pad_token_id)
    assert embedding.row_of[pad_token_id or 0] < embedding.num_used
