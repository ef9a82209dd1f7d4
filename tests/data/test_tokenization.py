import json
import random
import subprocess
import sys

import numpy as np
import pytest
from datasets import Dataset

from bert_ft.data.arrow_cache import is_complete
from bert_ft.data.tokenization import length_limit, load_tokenizer, tokenize
from bert_ft.errors import CheckpointError, ConfigError, DataError

TOKENIZERS = ["bert_tokenizer", "roberta_tokenizer", "minilm_tokenizer"]


def random_texts(seed, count=200):
    rng = random.Random(seed)
    words = ["the", "cat", "sat", "Mats", "dog.", "a,b", "naïve", "漢字", "😀", "\n", "[SEP]", "</s>", ""]
    return [" ".join(rng.choices(words, k=rng.randint(0, 30))) for _ in range(count)]


def dataset(texts, pairs=None):
    return Dataset.from_dict({"text": texts} | ({"text_pair": pairs} if pairs is not None else {}))


def rows_of(values, columns):
    return [part.tolist() for part in np.split(values, columns.offsets[1:-1])]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [5, 12, 16, 512])
@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_equals_the_tokenizer(tokenizer, max_length, is_pair, side, monkeypatch):
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    texts, pairs = random_texts(0, 60), random_texts(1, 60) if is_pair else None
    columns = tokenize(dataset(texts, pairs), tokenizer, max_length)
    expected = tokenizer(texts, pairs, truncation=True, max_length=max_length)
    full = tokenizer(texts, pairs)
    assert rows_of(columns.input_ids, columns) == expected["input_ids"]
    assert columns.lengths.tolist() == [len(ids) for ids in expected["input_ids"]]
    assert (columns.lengths + columns.num_truncated).tolist() == [len(ids) for ids in full["input_ids"]]
    if is_pair and "token_type_ids" in tokenizer.model_input_names:
        assert rows_of(columns.token_type_ids, columns) == expected["token_type_ids"]
    else:
        assert columns.token_type_ids is None
    if max_length < 512:
        assert columns.num_truncated.max() > 0


def test_special_tokens_in_the_text_follow_the_tokenizer(bert_tokenizer, monkeypatch):
    texts = ["the [SEP] cat", "[MASK]"]
    plain = tokenize(dataset(texts), bert_tokenizer, 16)
    monkeypatch.setattr(bert_tokenizer, "split_special_tokens", True)
    split = tokenize(dataset(texts), bert_tokenizer, 16)
    assert rows_of(plain.input_ids, plain) != rows_of(split.input_ids, split)
    assert rows_of(split.input_ids, split) == bert_tokenizer(texts)["input_ids"]


def test_more_rows_than_a_batch_are_flat_and_mapped(bert_tokenizer):
    texts = random_texts(2, 4500)
    columns = tokenize(dataset(texts), bert_tokenizer, 16)
    assert (
        rows_of(columns.input_ids, columns)
        == bert_tokenizer(texts, truncation=True, max_length=16)["input_ids"]
    )
    assert columns.input_ids.dtype == np.int32
    assert columns.offsets.dtype == np.int64
    assert not columns.input_ids.flags.owndata
    assert not columns.input_ids.flags.writeable


def test_texts_without_any_token(roberta_tokenizer):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(roberta_tokenizer.backend_tokenizer.to_str())
    content = json.loads(backend.to_str()) | {"post_processor": None}
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)))
    columns = tokenize(dataset(["", ""]), bare, 8)
    assert columns.offsets.tolist() == [0, 0, 0]
    assert len(columns.input_ids) == 0


def test_the_tokenizer_is_left_as_it_was(bert_tokenizer):
    before = bert_tokenizer.backend_tokenizer.to_str()
    tokenize(dataset(random_texts(0)), bert_tokenizer, 7)
    assert bert_tokenizer.backend_tokenizer.to_str() == before


def test_cache_is_hit_by_equal_content_and_by_no_other(
    cache_dir, bert_tokenizer, roberta_tokenizer, monkeypatch
):
    texts = random_texts(0)
    num_files = lambda: len(list(cache_dir.glob("tokens-*")))  # noqa: E731
    first = tokenize(dataset(texts), bert_tokenizer, 8)
    (path,) = cache_dir.glob("tokens-*")
    written = path.stat().st_ino
    again = tokenize(dataset([*texts, "more"]).select(range(len(texts))), bert_tokenizer, 8)
    assert path.stat().st_ino == written
    assert np.array_equal(first.input_ids, again.input_ids)
    assert num_files() == 1
    tokenize(dataset(texts), bert_tokenizer, 9)
    tokenize(dataset(texts[::-1]), bert_tokenizer, 8)
    tokenize(dataset(texts, texts), bert_tokenizer, 8)
    tokenize(dataset(texts), roberta_tokenizer, 8)
    monkeypatch.setattr(bert_tokenizer, "truncation_side", "left")
    tokenize(dataset(texts), bert_tokenizer, 8)
    assert num_files() == 6


def test_settings_left_behind_by_a_use_do_not_change_the_key(cache_dir, bert_tokenizer):
    tokenize(dataset(["the cat"]), bert_tokenizer, 8)
    bert_tokenizer(["the cat", "a"], padding="max_length", max_length=13, truncation=True)
    tokenize(dataset(["the cat"]), bert_tokenizer, 8)
    assert len(list(cache_dir.glob("tokens-*"))) == 1


def test_a_file_cut_short_is_never_read(cache_dir, bert_tokenizer):
    expected = tokenize(dataset(random_texts(0)), bert_tokenizer, 8).input_ids.copy()
    (path,) = cache_dir.glob("tokens-*")
    content = path.read_bytes()
    path.unlink()  # and not truncated in place: it is still mapped
    path.write_bytes(content[: len(content) // 2])
    assert not is_complete(path)
    assert np.array_equal(tokenize(dataset(random_texts(0)), bert_tokenizer, 8).input_ids, expected)
    assert path.read_bytes() == content
    assert [file.name for file in cache_dir.iterdir()] == [path.name]


WRITER = """
import sys
from datasets import Dataset
from bert_ft.data.tokenization import load_tokenizer, tokenize
columns = tokenize(Dataset.from_dict({"text": ["the cat sat on a mat"] * 5000}), load_tokenizer(sys.argv[1]), 8)
print(columns.input_ids.sum())
"""


@pytest.mark.slow
def test_processes_that_write_at_once_agree(tmp_path, cache_dir, bert_tokenizer):
    bert_tokenizer.save_pretrained(tmp_path / "tokenizer")
    command = [sys.executable, "-c", WRITER, str(tmp_path / "tokenizer")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {run.communicate()[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert len(sums) == 1
    assert len(list(cache_dir.iterdir())) == 1


def test_no_room_for_text(bert_tokenizer):
    with pytest.raises(ConfigError, match=r"data\.max_length=2: .* 2 special tokens; at least 3"):
        tokenize(dataset(["a"]), bert_tokenizer, 2)
    with pytest.raises(ConfigError, match=r"data\.max_length=3: .* 3 special tokens; at least 4"):
        tokenize(dataset(["a"], ["b"]), bert_tokenizer, 3)


def test_length_limit(bert_tokenizer, roberta_tokenizer):
    assert length_limit(bert_tokenizer, None) == 16
    assert length_limit(bert_tokenizer, 9) == 9
    with pytest.raises(DataError, match=r"data\.max_length=null: .*set data\.max_length"):
        length_limit(roberta_tokenizer, None)


def test_load_tokenizer_reads_what_was_saved(tmp_path, bert_tokenizer):
    bert_tokenizer.save_pretrained(tmp_path)
    texts = random_texts(0)
    assert load_tokenizer(tmp_path)(texts)["input_ids"] == bert_tokenizer(texts)["input_ids"]


def test_load_tokenizer_from_a_sentencepiece_file(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 50),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"vocab_type": "spm"}')
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer("the cat sat")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the cat sat"


@pytest.mark.parametrize("name", ["bert-base-uncased", "./nowhere"])
def test_load_tokenizer_that_is_not_there(name):
    with pytest.raises(
        CheckpointError,
        match=rf"encoder\.name_or_path={name}: no tokenizer can be loaded: .*HF_HUB_OFFLINE=1",
    ):
        load_tokenizer(name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no tokenizer can be loaded"),
        ({"config.json": '{"model_type": "bert"}'}, "has no vocabulary"),
        ({"config.json": '{"model_type": "deberta-v2"}'}, "has no vocabulary"),
        ({"config.json": '{"model_type": "roformer"}'}, "no tokenizer can be loaded"),  # an import is missing
        (
            {"config.json": '{"model_type": "bert"}', "tokenizer.json": "{broken"},
            "no tokenizer can be loaded",
        ),
    ],
)
def test_load_tokenizer_from_a_folder_that_lacks_it(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(tmp_path)
