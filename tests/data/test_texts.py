import random

import pytest
from datasets import Dataset, concatenate_datasets

from bert_ft.data.texts import TextKeys, iterate_texts, normalized, texts_digest

TEXTS = [f"text {i} £" for i in range(2500)]


def dataset(texts, pairs=None, **more):
    return Dataset.from_dict({"text": texts} | ({"text_pair": pairs} if pairs else {}) | more)


def test_iterate_texts_gives_all_columns_in_order():
    batches = list(iterate_texts(dataset(TEXTS, TEXTS[::-1], label=TEXTS)))
    assert len(batches) == 3
    assert [text for texts, _ in batches for text in texts] == TEXTS
    assert [pair for _, pairs in batches for pair in pairs] == TEXTS[::-1]


def test_digest_depends_on_texts_and_order_only():
    whole = dataset(TEXTS)
    digest = texts_digest(whole)
    assert digest == texts_digest(dataset(TEXTS, label=TEXTS))
    assert digest == texts_digest(concatenate_datasets([dataset(TEXTS[:7]), dataset(TEXTS[7:])]))
    shuffled = list(range(2500))
    random.Random(0).shuffle(shuffled)
    assert digest == texts_digest(
        dataset([TEXTS[i] for i in shuffled]).select([shuffled.index(i) for i in range(2500)])
    )
    assert digest != texts_digest(dataset(TEXTS[::-1]))


@pytest.mark.parametrize(
    "others",
    [
        (dataset(["ab", "c"]), dataset(["a", "bc"])),
        (dataset(["a"]), dataset(["a", ""])),
        (dataset(["a"]), dataset(["a"], ["a"])),
        (dataset(["ab"], ["c"]), dataset(["a"], ["bc"])),
        (dataset(["é"]), dataset(["e\u0301"])),
    ],
)
def test_different_texts_have_different_digests(others):
    assert len({texts_digest(other) for other in others}) == 2


@pytest.mark.parametrize(
    ("text", "form"),
    [(" a \n\tb ", "a b"), ("Straße", "strasse"), ("e\u0301", "é"), ("a\u00a0b", "a b"), ("A-b.", "a-b.")],
)
def test_normalized(text, form):
    assert normalized(text) == form


@pytest.mark.parametrize("seed", range(3))
def test_keys_are_equal_where_texts_are(seed):
    rng = random.Random(seed)
    texts = ["".join(rng.choices("aA b", k=rng.randint(0, 4))) for _ in range(1500)]
    keys = TextKeys.of(dataset(texts))
    assert len(set(keys.exact.tolist())) == len(set(texts))
    assert len(set(keys.near.tolist())) == len(set(map(normalized, texts)))
    by_key = {}
    assert all(
        by_key.setdefault(key, text) == text for key, text in zip(keys.exact.tolist(), texts, strict=True)
    )


def test_the_key_of_a_pair_is_both_texts():
    keys = TextKeys.of(dataset(["ab", "a", "ab", "c"], ["c", "bc", "c", "ab"]))
    assert keys.exact[0] == keys.exact[2]
    assert len(set(keys.exact.tolist())) == 3
