"""Which texts the pre-training stage sees: none of the evaluation's, some held out."""

import numpy as np
import pytest
from datasets import Dataset

from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.pretraining_texts import pretraining_texts
from bert_ft.data.texts import normalized
from bert_ft.data.tokenization import load_tokenizer, tokenize
from bert_ft.errors import DataError


@pytest.fixture(scope="module")
def tokenizer(tiny_encoder):
    return load_tokenizer(tiny_encoder)


@pytest.fixture
def chosen(tokenizer, tmp_path):
    """``pretraining_texts`` of plain lists: of texts, or of pairs."""

    def split(name, rows):
        columns = zip(*rows, strict=True) if rows and isinstance(rows[0], tuple) else [rows]
        dataset = Dataset.from_dict(dict(zip(("text", "text_pair"), map(list, columns), strict=False)))
        return TokenizedSplit.from_columns(name, tokenize(dataset, tokenizer, 32, tmp_path), dataset)

    def choose(source, *evaluation, ratio=0.2, seed=0, include=False, compares=False, pieces=False):
        return pretraining_texts(
            split("source", source),
            [split(f"evaluation {number}", rows) for number, rows in enumerate(evaluation)],
            held_out_ratio=ratio,
            seed=seed,
            max_length=32,
            tokenizer=tokenizer,
            include_evaluation_texts=include,
            compares=compares,
            cut_into_pieces=pieces,
            cache_dir=tmp_path,
        )

    return choose


def texts_of(found) -> list[str]:
    return [*found.train.texts["text"], *found.held_out.texts["text"]]


def words(num):
    return [f"{first}{second} film" for first in "abcdefghij" for second in "abcdefghij"][:num]


def test_copies_of_evaluation_texts_are_left_out(chosen):
    found = chosen([*words(10), "a good plot", "A  GOOD plot", "fine"], ["a good plot"], ["fine", "warm"])
    assert sorted(texts_of(found)) == sorted(words(10))
    assert found.num_left_out == 3
    assert not found.includes_evaluation_texts
    assert found.to_dict() == {
        "origin": "source",
        "train": 8,
        "held_out": 2,
        "left_out": 3,
        "lost_ratio": 0.0,
        "include_evaluation_texts": False,
    }


def test_they_are_taken_in_if_that_is_wanted(chosen):
    found = chosen(words(5), ["a good plot"], ["fine", "warm"], include=True)
    assert sorted(texts_of(found)) == sorted([*words(5), "a good plot", "fine", "warm"])
    assert found.includes_evaluation_texts
    assert found.num_left_out == 0
    # the ids are those of the texts
    row = found.train.texts["text"].index(words(5)[0]) if words(5)[0] in found.train.texts["text"] else 0
    assert found.train[row].lengths[0] == found.train.lengths[row]


def test_of_pairs_a_row_is_one_of_the_evaluation_only_as_a_whole(chosen):
    pairs = [("a plot", word) for word in words(6)]
    found = chosen(pairs, [pairs[2]], ratio=0.4)
    assert found.num_left_out == 1
    assert found.train.columns.token_type_ids is not None


def test_a_single_text_of_an_evaluated_pair_is_left_out(chosen):
    found = chosen([*words(6), "a plot", "fine"], [("a plot", "fine")])
    assert sorted(texts_of(found)) == words(6)


def test_copies_are_held_out_together_and_by_the_ratio(chosen):
    rows = [text for word in words(50) for text in (word, word.upper())]
    found = chosen(rows, ratio=0.3)
    train, held_out = (
        {normalized(text) for text in split.texts["text"]} for split in (found.train, found.held_out)
    )
    assert train.isdisjoint(held_out)
    assert len(found.held_out) == 30
    assert len(found.train) == 70


def test_the_seed_decides(chosen):
    one, same, other = (set(chosen(words(50), seed=seed).held_out.texts["text"]) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_both_sides_have_a_text(chosen, ratio):
    found = chosen(words(2), ratio=ratio)
    assert len(found.train) == len(found.held_out) == 1


def test_two_different_texts_are_held_out_where_there_are_three(chosen):
    found = chosen(30 * words(3), ratio=0.05)
    assert len(set(found.held_out.texts["text"])) == 2
    assert len(found.held_out) == 60


def test_texts_that_are_told_apart_need_another_on_both_sides(chosen):
    found = chosen(30 * words(4), ratio=0.9, compares=True)
    assert len(set(found.held_out.texts["text"])) == len(set(found.train.texts["text"])) == 2
    with pytest.raises(
        DataError, match=r"needs at least four different texts \(two are held out\) .* there are 3"
    ):
        chosen(30 * words(3), compares=True)


def test_rows_keep_their_numbers(chosen):
    found = chosen([*words(3), "fine", *words(8)[3:]], ["fine"])
    rows = np.concatenate([found.train.rows, found.held_out.rows])
    assert sorted(rows.tolist()) == [1, 2, 3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["fine", "FINE"], "there is 1$"),
        (["fine", "good"], "there are 0, after 2 copies of validation and test texts"),
    ],
)
def test_too_few(chosen, rows, message):
    evaluation = ["fine", "good"] if "after" in message else ["warm"]
    with pytest.raises(
        DataError, match=f"source: pre-training needs at least two different texts .*{message}"
    ):
        chosen(rows, evaluation)


def test_a_long_copy_of_an_evaluation_text_is_left_out_before_it_is_cut_into_pieces(chosen):
    long = " ".join(words(20))
    found = chosen([*words(6), long, f"{long} too"], [long.upper()], pieces=True)
    assert found.num_left_out == 1
    assert found.num_in_pieces == 1
    rows = np.concatenate([found.train.rows, found.held_out.rows])
    assert sorted(set(rows.tolist())) == [1, 2, 3, 4, 5, 6, 8]
    assert found.lost_ratio == 0


@pytest.mark.parametrize("text", ["漢字" * 60, "ababab" * 40, "a" * 99])
def test_a_text_without_spaces_loses_nothing_in_pieces(chosen, text):
    assert chosen([*words(4), text], pieces=True).lost_ratio == 0


@pytest.mark.parametrize("sizes", [(1, 10), (10, 1), (20, 45), (45, 20), (30, 30), (0, 30)])
def test_a_long_pair_loses_nothing_in_pieces(chosen, sizes):
    long = tuple(
        " ".join(f"{side}{word[:2]}" for word in words(size)) for side, size in zip("xy", sizes, strict=True)
    )
    found = chosen([*[("a plot", word) for word in words(4)], long], pieces=True)
    assert (found.lost_ratio, found.num_in_pieces) == (0, 1)
    splits = [split for split in (found.train, found.held_out) if 5 in split.rows]
    for name, whole, size in zip(("text", "text_pair"), long, sizes, strict=True):
        pieces = [split.texts[name][row] for split in splits for row in np.flatnonzero(split.rows == 5)]
        if size < 5:  # of three tokens each: less than half of the room
            assert set(pieces) == {whole}
        else:
            assert set(" ".join(pieces).split()) == set(whole.split())
            assert min(map(len, pieces)) > 0
