"""Masked tokens: how many, which, and what stands in their place."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import DataCollatorForLanguageModeling

from bert_ft.data.masking import MaskedSplit, Masking, MaskingVocabulary
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.models.encoder_name import resolve_name

from .test_augmentation import NUM_TOKENS, generator, split_of, within_5_deviations

PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB_SIZE = 1000
NUM_ORDINARY = VOCAB_SIZE - 5


def vocabulary(goes_on=()):
    is_special = np.arange(VOCAB_SIZE) < 5
    begins_word = ~np.isin(np.arange(VOCAB_SIZE), goes_on)
    return MaskingVocabulary(MASK, is_special, begins_word, np.arange(5, VOCAB_SIZE))


@pytest.mark.parametrize(
    "shares", [(0.15, 0.8, 0.1), (0.3, 0.8, 0.1), (0.4, 1.0, 0.0), (0.15, 0.0, 1.0), (0.15, 0.5, 0.5)]
)
def test_rates_on_100_000_tokens(shares):
    mlm_probability, mask_replace_prob, random_replace_prob = shares
    masking = Masking(
        mlm_probability=mlm_probability,
        mask_replace_prob=mask_replace_prob,
        random_replace_prob=random_replace_prob,
    )
    ids = generator(1).integers(5, VOCAB_SIZE, NUM_TOKENS)
    masked, chosen = masking(ids, vocabulary(), generator())
    num_chosen = int(chosen.sum())
    assert within_5_deviations(num_chosen, mlm_probability)
    assert (masked[~chosen] == ids[~chosen]).all()
    became_mask = (masked == MASK)[chosen].sum()
    # a random token is now and then the one that stood there
    changed = ((masked != ids) & (masked != MASK))[chosen].sum()
    assert mask_replace_prob in (0, 1) or within_5_deviations(became_mask, mask_replace_prob, num_chosen)
    assert abs(changed - num_chosen * random_replace_prob * (1 - 1 / NUM_ORDINARY)) <= 5 * np.sqrt(
        num_chosen * random_replace_prob
    )
    assert mask_replace_prob not in (0, 1) or became_mask == mask_replace_prob * num_chosen


def test_random_tokens_are_drawn_evenly_and_never_special():
    masking = Masking(mlm_probability=0.9, mask_replace_prob=0, random_replace_prob=1)
    ids = np.full(NUM_TOKENS, 7)
    masked, chosen = masking(ids, vocabulary(), generator())
    counts = np.bincount(masked[chosen], minlength=VOCAB_SIZE)
    assert counts[:5].sum() == 0
    assert chisquare(counts[5:]).pvalue > 1e-4


@pytest.mark.parametrize("whole_words", [False, True])
def test_special_tokens_stay(whole_words):
    ids = np.array([CLS, 10, UNK, 11, SEP, 12, SEP, PAD, MASK])
    for seed in range(100):
        masked, chosen = Masking(mlm_probability=0.9, whole_words=whole_words)(
            ids, vocabulary(), generator(seed)
        )
        assert not chosen[ids < 5].any()
        assert (masked[ids < 5] == ids[ids < 5]).all()


class TestWholeWords:
    MASKING = Masking(mlm_probability=0.15, whole_words=True)
    GOES_ON = np.arange(500, VOCAB_SIZE)

    def test_all_tokens_of_a_word_or_none(self):
        # words of 3 tokens, between special ones
        words = [[10, 600, 601], [11, 602, 603], [12, 604, 605]]
        ids = np.array([CLS, *np.ravel(words), SEP])
        count = np.zeros(3)
        for seed in range(2000):
            _, chosen = self.MASKING(ids, vocabulary(self.GOES_ON), generator(seed))
            by_word = chosen[1:-1].reshape(3, 3)
            assert (by_word.all(1) | ~by_word.any(1)).all()
            count += by_word[:, 0]
        assert all(within_5_deviations(value, 0.15, 2000) for value in count)

    def test_the_rate_of_tokens_is_that_of_words(self):
        ids = generator(1).integers(5, VOCAB_SIZE, NUM_TOKENS)
        _, chosen = self.MASKING(ids, vocabulary(self.GOES_ON), generator())
        # words of 2 tokens in the mean, geometric: a sum of squares of 6, so three times the variance
        assert abs(chosen.sum() - NUM_TOKENS * 0.15) < 5 * np.sqrt(3 * NUM_TOKENS * 0.15 * 0.85)

    @pytest.mark.parametrize("first", [CLS, 600])  # a text that was cut may begin within a word
    def test_what_follows_a_special_token_is_a_word_of_its_own(self, first):
        ids = np.array([first, 601, SEP, 602])
        seen = {tuple(self.MASKING(ids, vocabulary(self.GOES_ON), generator(seed))[1]) for seed in range(500)}
        beginning = {(False, True), (False, False)} if first == CLS else {(True, True), (False, False)}
        assert seen == {(*one, False, last) for one in beginning for last in (True, False)}


class TestVocabulary:
    def test_of_wordpiece(self):
        tokenizer = load_tokenizer(resolve_name("embedded/all-MiniLM-L6-v2"), None)
        found = MaskingVocabulary.of(tokenizer)
        text = "unbelievably embeddings, tokenization"
        encoded = tokenizer(text)
        words = encoded.word_ids()
        begins = [word != before for word, before in zip(words[1:-1], [None, *words[1:-2]], strict=True)]
        assert found.begins_word[encoded["input_ids"][1:-1]].tolist() == begins
        assert False in begins
        assert found.is_special.sum() == 5
        assert found.mask_id == tokenizer.mask_token_id
        assert len(found.ordinary_ids) == len(tokenizer) - 5

    @pytest.mark.parametrize("mark", ["Ġ", "▁"])
    def test_where_a_mark_begins_a_word(self, mark):
        tokens = [f"{mark}the", "re", "<s>", f"{mark}a", "###"]
        assert found_words(tokens) == [True, False, False, True, False]

    def test_where_every_token_is_a_word(self):
        assert found_words(["a", "b"]) == [True, True]

    def test_without_a_mask(self):
        tokenizer = load_tokenizer(resolve_name("embedded/all-MiniLM-L6-v2"), None)
        tokenizer.mask_token = None
        with pytest.raises(ConfigError, match=r"pretrain\.mlm_weight: .* no \[MASK\]"):
            MaskingVocabulary.of(tokenizer)


def found_words(tokens):
    from bert_ft.data.masking import _begins_word

    return _begins_word(tokens, None).tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlm_probability": 0}, r"pretrain\.masking\.mlm_probability=0: must be a number > 0 and < 1"),
        ({"mlm_probability": 1}, "mlm_probability=1: must be a number > 0 and < 1"),
        (
            {"mask_replace_prob": 1.1},
            r"pretrain\.masking\.mask_replace_prob=1\.1: must be a number ≥ 0 and ≤ 1",
        ),
        ({"mask_replace_prob": 0.9, "random_replace_prob": 0.2}, "exceeds 1"),
    ],
)
def test_what_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        Masking(**settings)


class TestSplit:
    ROWS = tuple(
        [CLS, *generator(row).integers(5, VOCAB_SIZE, length), SEP]
        for row, length in enumerate([30, 7, 30, 1, 0])
    )

    def masked(self, seed=0, types=None, **settings):
        split = split_of(self.ROWS, types=types)
        return MaskedSplit(split, Masking(mlm_probability=0.5, **settings), vocabulary(), seed)

    def test_texts_and_masks_lie_side_by_side(self):
        batch = self.masked(mask_replace_prob=0.5)[0, [3, 0, 4, 2, 1]]
        assert batch.text.lengths == batch.masked.lengths == (2, 3, 9, 32, 32)
        assert torch.equal(batch.text.rows, batch.masked.rows)
        differs = batch.text.input_ids != batch.masked.input_ids
        assert differs.any()
        assert batch.is_target[differs].all()
        assert torch.equal(batch.targets, batch.text.input_ids[batch.is_target])
        stays = batch.is_target & ~differs
        assert 0 < stays.sum() < differs.sum()
        assert batch.text.input_ids.tolist() == [token for row in (4, 3, 1, 0, 2) for token in self.ROWS[row]]

    def test_a_row_is_masked_alike_in_any_batch_and_anew_in_each_epoch(self):
        split = self.masked()
        alone, among = split[3, [0]], split[3, [1, 0]]
        assert torch.equal(alone.masked.input_ids, among.masked.input_ids[-32:])
        assert torch.equal(alone.is_target, among.is_target[-32:])
        assert not torch.equal(alone.is_target, split[4, [0]].is_target)
        assert not torch.equal(alone.is_target, self.masked(seed=1)[3, [0]].is_target)
        assert not torch.equal(alone.is_target, split[3, [2]].is_target)

    def test_token_types_are_kept(self):
        types = [[0] * (len(ids) // 2) + [1] * (len(ids) - len(ids) // 2) for ids in self.ROWS]
        batch = self.masked(types=types)[0, [0, 1]]
        assert batch.masked.token_type_ids.tolist() == types[1] + types[0]

    def test_moves_as_a_whole(self):
        moved = self.masked()[0, [0, 1]].to("meta")
        assert moved.text.input_ids.is_meta
        assert moved.masked.cu_seqlens.is_meta
        assert moved.is_target.is_meta
        assert len(moved) == 2


@pytest.mark.slow
def test_rates_are_those_of_transformers_collator():
    """On the same texts; each draws for itself."""
    tokenizer = load_tokenizer(resolve_name("embedded/all-MiniLM-L6-v2"), None)
    ids = generator(1).integers(1996, len(tokenizer), 50_000)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=0)
    theirs = collator([{"input_ids": ids.tolist()}])
    is_target = (theirs["labels"][0] != -100).numpy()
    masked, chosen = Masking()(ids, MaskingVocabulary.of(tokenizer), generator())
    for ours, other in (
        (chosen.mean(), is_target.mean()),
        (
            (masked == tokenizer.mask_token_id).mean(),
            (theirs["input_ids"][0] == tokenizer.mask_token_id).float().mean(),
        ),
        ((masked != ids).mean(), (theirs["input_ids"][0].numpy() != ids).mean()),
    ):
        assert ours == pytest.approx(float(other), abs=0.01)


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_text_that_would_have_none_gets_one(whole_words):
    masking = Masking(
        mlm_probability=1e-9,
        mask_replace_prob=1,
        random_replace_prob=0,
        whole_words=whole_words,
        at_least_one=True,
    )
    ids = np.array([CLS, 10, 11, 12, SEP])  # 11 goes on with 10
    found = {tuple(masking(ids, vocabulary([11]), generator(seed))[0]) for seed in range(40)}
    if whole_words:
        assert found == {(CLS, MASK, MASK, 12, SEP), (CLS, 10, 11, MASK, SEP)}
    else:
        assert found == {(CLS, MASK, 11, 12, SEP), (CLS, 10, MASK, 12, SEP), (CLS, 10, 11, MASK, SEP)}
    assert not masking(np.array([CLS, SEP]), vocabulary(), generator())[1].any()
