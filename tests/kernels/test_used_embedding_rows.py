"""Runs that train the used rows of the embedding alone, against runs that train all of them."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, Adam, AdamW

from bert_ft.config.build import fine_tuning
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.tokenization import TokenizedColumns
from bert_ft.errors import CheckpointError
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.kernels.used_embedding_rows import train_used_rows_only
from bert_ft.models.encoder import empty_encoder
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.training.module import ClassificationModule
from tests.conftest import make_rows, write_csv
from tests.models.families import VOCAB_SIZE, tiny_config
from tests.training.running import train

NAME = "embeddings.word_embeddings"
CPU = torch.device("cpu")


def embedding_types(monkeypatch):
    """The class of the embedding that each run trains, as training starts."""
    seen = []
    monkeypatch.setattr(
        ClassificationModule,
        "on_train_start",
        lambda module: seen.append(type(module.classifier.encoder.get_input_embeddings())),
    )
    return seen


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_encoder, reviews):
    """The same run with and without splitting: folder, metrics and what was trained, of each.

    In float64, since a product of other shapes rounds differently; validation has words that training has not.
    """
    folder = tmp_path_factory.mktemp("pair")
    rows = [(f"{text} quick jumpy zebra {text}", label) for text, label in make_rows(40, seed=5)]
    files = reviews | {"validation": write_csv(folder / "unseen.csv", rows)}
    results = {}
    for name in ("split", "whole"):
        with pytest.MonkeyPatch.context() as patch:
            seen = embedding_types(patch)
            if name == "whole":
                patch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
            _, metrics = train(
                folder / name,
                tiny_encoder,
                files,
                "trainer.max_epochs=2",
                "trainer.accelerator=cpu",
                "trainer.precision=64",
                "trainer.val_check_interval=0.5",
                "optimizer.weight_decay=0.1",
            )
        results[name] = (folder / name, metrics, seen)
    return results


def weights(folder):
    return load_file(folder / "model/model.safetensors")


def table(state):
    (found,) = (value for name, value in state.items() if name.endswith(f"{NAME}.weight"))
    return found


@pytest.mark.slow
def test_a_run_splits(pair):
    assert [pair[name][2] for name in ("split", "whole")] == [[SplitEmbedding], [nn.Embedding]]


@pytest.mark.slow
def test_the_weights_are_those_of_a_run_with_all_rows(pair, tiny_encoder):
    ours, expected = (weights(pair[name][0]) for name in ("split", "whole"))
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=name)
    last, expected_last = (
        torch.load(pair[name][0] / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("split", "whole")
    )
    assert last.keys() == expected_last.keys()
    for name, value in last.items():
        torch.testing.assert_close(value, expected_last[name], rtol=0, atol=1e-6, msg=name)
    # there was something to follow: rows of letters, all but "a" no words, are smaller than they were
    before = load_file(tiny_encoder / "model.safetensors")[f"{NAME}.weight"]
    ratio = (table(last) / before)[6:57].median(dim=1).values
    assert (ratio < 0.999).all()


@pytest.mark.slow
def test_the_metrics_are_those_of_a_run_with_all_rows(pair):
    """Texts with tokens that training never saw among them."""
    ours, expected = (pair[name][1] for name in ("split", "whole"))
    for part in ("val", "test"):
        assert ours[part] == pytest.approx(expected[part], abs=1e-6)
    assert ours["checkpoint"] == expected["checkpoint"]


@pytest.mark.slow
def test_whole_tables_are_saved_under_their_own_names(pair, tiny_encoder):
    before = load_file(tiny_encoder / "model.safetensors")
    folder = pair["split"][0]
    for state in (
        weights(folder),
        torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["state_dict"],
    ):
        assert [name for name in state if NAME in name and not name.endswith(f"{NAME}.weight")] == []
        assert table(state).shape == before[f"{NAME}.weight"].shape


@pytest.mark.slow
def test_the_runs_that_are_resumed_in_test_run_split(tmp_path, tiny_encoder, reviews, monkeypatch):
    """So that their equality is also that of a split embedding."""
    seen = embedding_types(monkeypatch)
    train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1", "trainer.accelerator=cpu")
    assert seen == [SplitEmbedding]


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


def test_a_split_one_is_not_split_again():
    encoder = empty_encoder(tiny_config("bert"))
    for _ in range(2):
        train_used_rows_only(encoder, SPLIT, TOKENIZER, ADAMW, CPU)
    assert type(encoder.get_input_embeddings().weight) is nn.Parameter


def test_a_frozen_one_is_left_as_it_is():
    encoder = empty_encoder(tiny_config("bert"))
    encoder.get_input_embeddings().requires_grad_(False)
    train_used_rows_only(encoder, SPLIT, TOKENIZER, ADAMW, CPU)
    assert type(encoder.get_input_embeddings()) is nn.Embedding


@pytest.mark.parametrize("pad_token_id", [0, 50, None])
def test_what_padded_families_are_padded_with_is_used(pad_token_id):
    """Whatever the tokenizer says."""
    embedding = embedding_after(family="deberta-v2", pad_token_id=pad_token_id)
    assert embedding.row_of[pad_token_id or 0] < embedding.num_used


@pytest.mark.slow
def test_a_checkpoint_with_other_trained_rows_is_refused(tmp_path, tiny_encoder, reviews, monkeypatch):
    """Its optimizer's moments have other shapes, which a fused AdamW doesn't look at."""
    train(tmp_path / "run", tiny_encoder, reviews, "trainer.max_epochs=1")
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr(fine_tuning, "train_used_rows_only", lambda *_: None)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError, match="resume_from: the run trained other rows"):
        train(tmp_path / "run", tiny_encoder, reviews, "trainer.max_epochs=2", f"resume_from={last}")
