import shutil

import pytest
from datasets import Dataset
from tokenizers import normalizers
from transformers import AutoTokenizer

from bert_ft.data.masking import MaskingVocabulary
from bert_ft.data.tokenization import tokenize
from bert_ft.data.tokenizer import TokenizerSpec, lowercases
from bert_ft.errors import CheckpointError, ConfigError

TOKENIZERS = ["bert_tokenizer", "roberta_tokenizer", "minilm_tokenizer"]
TEXT = "The CAT sat on COVID19, the smart art of <URL>covid19x"


@pytest.fixture(params=TOKENIZERS)
def folder(request, tmp_path):
    request.getfixturevalue(request.param).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.fixture
def bert_folder(tiny_encoder):
    return tiny_encoder


def reloaded(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_as_it_stands_it_is_the_encoders_own(folder):
    assert TokenizerSpec().is_own
    spec = TokenizerSpec(lowercase=lowercases(AutoTokenizer.from_pretrained(folder)))
    own, same = TokenizerSpec().load(folder), spec.load(folder)
    assert own.backend_tokenizer.to_str() == same.backend_tokenizer.to_str()
    assert type(own) is type(same)


@pytest.mark.parametrize("wanted", [True, False])
def test_lower_case(folder, wanted, tmp_path):
    own = AutoTokenizer.from_pretrained(folder)
    tokenizer = TokenizerSpec(lowercase=wanted).load(folder, truncation_side="left")
    assert lowercases(tokenizer) is wanted
    assert (tokenizer(TEXT)["input_ids"] == tokenizer(TEXT.lower())["input_ids"]) is wanted
    lower = "the cat sat on a mat."
    for pair in ((lower,), (lower, "a dog")):
        ids, expected = tokenizer(*pair), own(*pair)
        assert dict(ids) == dict(expected)  # token types too
    again = reloaded(tokenizer, tmp_path / "saved")
    for name in ("all_special_ids", "mask_token_id", "pad_token_id", "model_max_length", "model_input_names"):
        assert getattr(again, name) == getattr(tokenizer, name) == getattr(own, name)
    assert again.truncation_side == "left"
    assert again(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


def test_lower_case_reaches_a_class_that_makes_its_own_normalizer(bert_folder, tmp_path):
    tokenizer = TokenizerSpec(lowercase=False).load(bert_folder)
    shutil.copy(bert_folder / "config.json", tokenizer.save_pretrained(tmp_path)[0].rpartition("/")[0])
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.tokenize("Good film") == ["[UNK]", "film"]


def test_lower_case_keeps_what_else_a_normalizer_does(roberta_tokenizer, tmp_path):
    tokenizer = roberta_tokenizer
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    loaded.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace("x", "y")]
    )
    loaded.save_pretrained(tmp_path)
    changed = TokenizerSpec(lowercase=False).load(tmp_path).backend_tokenizer.normalizer
    assert changed.normalize_str("Axe") == "Aye"


def test_a_lower_case_that_stays_is_refused(roberta_tokenizer, tmp_path):
    roberta_tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    loaded.backend_tokenizer.normalizer = normalizers.Replace("A", "a")
    loaded.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.lowercase=false: .* can't be turned off"):
        TokenizerSpec(lowercase=False).load(tmp_path)


def test_added_tokens(folder, tmp_path):
    own = AutoTokenizer.from_pretrained(folder)
    tokenizer = TokenizerSpec(added_tokens=["COVID19", "art", "<URL>"]).load(folder)
    assert len(tokenizer) == len(own) + (3 if own.convert_tokens_to_ids("art") == own.unk_token_id else 2)
    new = [tokenizer.convert_tokens_to_ids(token) for token in ("COVID19", "<URL>")]
    assert min(new) >= len(own)
    ids = tokenizer("the COVID19 cat, <URL>covid")["input_ids"]
    assert ids.count(new[0]) == ids.count(new[1]) == 1
    assert (new[0] in tokenizer("the covid19")["input_ids"]) is lowercases(own)
    assert new[0] not in tokenizer("COVID19x COVID191")["input_ids"]
    assert tokenizer("a smart start")["input_ids"] == own("a smart start")["input_ids"]
    assert reloaded(tokenizer, tmp_path / "saved")(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]


def test_an_added_word_leaves_no_space_behind(roberta_tokenizer, tmp_path):
    roberta_tokenizer.save_pretrained(tmp_path)
    tokenizer = TokenizerSpec(added_tokens=["covid"]).load(tmp_path)
    ids = tokenizer("the covid cat", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[-2:] == ["covid", "Ġcat"]


def test_an_added_text_of_a_script_without_spaces_is_found_within_others(bert_folder):
    tokenizer = TokenizerSpec(added_tokens=["漢字"]).load(bert_folder)
    assert tokenizer.tokenize("之漢字之").count("漢字") == 0  # BERT puts spaces around each of them first
    tokenizer = TokenizerSpec(added_tokens=["ไทย"]).load(bert_folder)
    assert len(tokenizer) - 1 in tokenizer("ภาษาไทยดี")["input_ids"]


def test_what_the_vocabulary_has_stays_as_it_is(bert_folder):
    own = AutoTokenizer.from_pretrained(bert_folder)
    tokenizer = TokenizerSpec(added_tokens=["good", "Film"]).load(bert_folder)
    assert len(tokenizer) == len(own)
    assert tokenizer("good Film goodness")["input_ids"] == own("good film goodness")["input_ids"]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([" covid"], "begins or ends with a space"),
        ([""], "is empty"),
        (["Covid", "covid"], "same token as 'Covid'"),
    ],
)
def test_added_tokens_that_are_refused(bert_folder, tokens, message):
    with pytest.raises(ConfigError, match=rf"data\.tokenizer\.added_tokens: .*{message}"):
        TokenizerSpec(added_tokens=tokens).load(bert_folder)


def test_another_that_is_not_there(bert_folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"^data\.tokenizer\.name_or_path=.*nothing: no tokenizer"):
        TokenizerSpec(name_or_path=str(tmp_path / "nothing")).load(bert_folder)


def test_the_cache_knows_the_changes(bert_folder):
    texts = Dataset.from_dict({"text": ["a Good covid film"]})
    specs = [
        TokenizerSpec(),
        TokenizerSpec(lowercase=False),
        TokenizerSpec(added_tokens=["covid"]),
        TokenizerSpec(added_tokens=["covid"], lowercase=False),
    ]
    for _ in range(2):  # written, and read
        for spec in specs:
            tokenizer = spec.load(bert_folder)
            expected = tokenizer("a Good covid film")["input_ids"]
            assert tokenize(texts, tokenizer, 32).input_ids.tolist() == expected


def test_an_added_word_is_masked_as_a_word(roberta_tokenizer, tmp_path):
    roberta_tokenizer.save_pretrained(tmp_path)
    plain = MaskingVocabulary.of(TokenizerSpec().load(tmp_path))
    tokenizer = TokenizerSpec(added_tokens=["covid", "##x"]).load(tmp_path)
    vocabulary = MaskingVocabulary.of(tokenizer)
    assert vocabulary.begins_word[-2:].all()
    assert (vocabulary.begins_word[:-2] == plain.begins_word).all()
    assert set(range(len(tokenizer) - 2, len(tokenizer))) <= set(vocabulary.ordinary_ids)
