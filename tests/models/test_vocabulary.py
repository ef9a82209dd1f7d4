import shutil

import pytest
from transformers import AutoConfig, AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from bert_ft.data.tokenizer import TokenizerSpec
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.vocabulary import Fit, fit_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def fit(folder, freeze_layers=None, **changes):
    encoder, spec = EncoderSpec(str(folder), freeze_layers=freeze_layers), TokenizerSpec(**changes)
    return fit_tokenizer(spec, spec.load(folder), encoder, encoder.load_config())


def other(folder, words, **changes):
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}, **changes).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def words(tiny_encoder):
    vocabulary = AutoTokenizer.from_pretrained(tiny_encoder).get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def test_its_own_needs_nothing(tiny_encoder):
    assert fit(tiny_encoder) == Fit()
    assert fit(tiny_encoder, added_tokens=["good"]).num_embeddings is None
    assert fit(tiny_encoder, lowercase=True) == Fit()


def test_added_tokens_make_it_grow(tiny_encoder, words):
    size = len(words)
    found = fit(tiny_encoder, added_tokens=["covid", "tiktok"])
    assert found.num_embeddings == size + 2
    assert found.warnings == ()
    assert found.notes == (
        f"data.tokenizer.added_tokens: the token embedding grows from {size} to {size + 2} rows; the new ones start at the "
        "mean of the others",
    )
    assert (
        fit(tiny_encoder, 0, added_tokens=["covid"]).notes[0].endswith("encoder.freeze_layers freezes them")
    )


def test_rows_to_spare(tiny_encoder, words, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    config = AutoConfig.from_pretrained(tmp_path / "encoder")
    config.vocab_size += 8
    config.save_pretrained(tmp_path / "encoder")
    found = fit(tmp_path / "encoder", added_tokens=["covid"])
    size = len(words)
    assert found.num_embeddings is None
    assert found.notes == (
        f"data.tokenizer.added_tokens: {size + 1} tokens fit in the token embedding's {size + 8} rows",
    )


def test_an_encoder_whose_own_tokenizer_has_more(tiny_encoder, words, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.add_tokens(["covid"])
    tokenizer.save_pretrained(tmp_path / "encoder")
    found = fit(tmp_path / "encoder")
    assert found.num_embeddings == len(words) + 1
    assert found.notes[0].startswith("encoder.name_or_path: its tokenizer has more tokens than the encoder: ")


def test_no_capital_letter_is_known(tiny_encoder):
    (warning,) = fit(tiny_encoder, lowercase=False).warnings
    assert warning.startswith("data.tokenizer.lowercase=false: the vocabulary has no capital letters")
    assert "[UNK]" in warning


def test_another_with_more_tokens_behind(tiny_encoder, words, tmp_path):
    found = fit(tiny_encoder, name_or_path=other(tmp_path, [*words, "covid"]))
    assert found.num_embeddings == len(words) + 1
    assert found.warnings == ()
    assert found.notes[0].startswith(f"data.tokenizer.name_or_path={tmp_path}: the token embedding grows")


def test_another_vocabulary_is_warned_of(tiny_encoder, words, tmp_path):
    shuffled = [*SPECIAL, *reversed(words[len(SPECIAL) :])]
    found = fit(tiny_encoder, name_or_path=other(tmp_path, shuffled))
    assert found.num_embeddings is None
    (warning,) = found.warnings
    moved = sum(one != two for one, two in zip(words, shuffled, strict=True))
    assert f"data.tokenizer.name_or_path={tmp_path}: {moved} of its {len(words)} tokens have ids" in warning
    assert "is lost" in warning
    assert "apart" not in warning


def test_other_special_tokens_are_warned_of(tiny_encoder, words, tmp_path):
    swapped = ["[PAD]", "[UNK]", "[SEP]", "[CLS]", "[MASK]", *words[len(SPECIAL) :]]
    (warning,) = fit(tiny_encoder, name_or_path=other(tmp_path, swapped)).warnings
    assert "2 of its" in warning
    assert "own tokenizer: cls_token, sep_token" in warning


def test_none_around_the_text_is_warned_of(tiny_encoder, tmp_path):
    backend = AutoTokenizer.from_pretrained(tiny_encoder).backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(("pad_token", "unk_token"), SPECIAL, strict=False))
    )
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    tokenizer.save_pretrained(tmp_path)
    (warning,) = fit(tiny_encoder, name_or_path=str(tmp_path)).warnings
    assert "cls_token, sep_token, mask_token, the number of special tokens around a text" in warning


def test_capital_letters_kept_or_not(tiny_encoder, words, tmp_path):
    name = other(tmp_path, words, do_lower_case=False)
    (warning,) = fit(tiny_encoder, name_or_path=name).warnings
    assert "keeps capital letters, unlike" in warning
    assert "set data.tokenizer.lowercase=true" in warning
    assert fit(tiny_encoder, name_or_path=name, lowercase=True).warnings == ()


def test_another_padding_is_refused(tiny_encoder, words, tmp_path):
    swapped = ["[UNK]", "[PAD]", *words[2:]]
    with pytest.raises(
        ConfigError, match=r"data\.tokenizer\.name_or_path=.*: its padding \[PAD\] has the id 1, .* with 0"
    ):
        fit(tiny_encoder, name_or_path=other(tmp_path, swapped))


def test_an_encoder_without_a_tokenizer(tiny_encoder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "encoder").mkdir(exist_ok=True)
        shutil.copy(tiny_encoder / name, tmp_path / "encoder")
    (warning,) = fit(tmp_path / "encoder", name_or_path=str(tiny_encoder)).warnings
    assert "has no tokenizer" in warning
