"""What reports say of texts: unknown tokens, leaks between all pairs of splits, pieces of long ones."""

import numpy as np
from datasets import Dataset

from bert_ft.data.pieces import in_pieces
from bert_ft.data.prepare import prepare, tokenized
from bert_ft.data.raw_splits import RawSplit
from bert_ft.data.texts_report import report_on_texts
from bert_ft.tasks.single_label import SingleLabel


def raw(texts):
    return RawSplit(Dataset.from_dict({"text": texts}), "source", np.arange(1, len(texts) + 1))


def test_the_same_rows_as_validation_and_test(source_of, bert_tokenizer):
    rows = (["a b", "cat", "dog"], ["x", "y", "x"])
    source = source_of(train=(["the mat", "a cat"], ["x", "y"]), validation=rows, test=rows)
    report = prepare(source.load(), bert_tokenizer, max_length=8, task=SingleLabel(), seed=0).report
    (leaks,) = report.leaks
    assert (leaks.split, leaks.other, leaks.num_exact, leaks.rows) == ("test", "validation", 3, [1, 2, 3])
    assert any(
        warning.startswith("test: rows with the same text as a validation row: 3")
        for warning in report.warnings
    )


def test_unknown_tokens(source_of, bert_tokenizer):
    known, unknown = (["the cat", "a dog"], ["x", "y"]), (["ሇላ ሕሧ", "the ሄሔ"], ["x", "y"])
    source = source_of(train=known, validation=unknown, test=known)
    report = prepare(source.load(), bert_tokenizer, max_length=16, task=SingleLabel(), seed=0).report
    ids = [bert_tokenizer(text, add_special_tokens=False)["input_ids"] for text in unknown[0]]
    flat = [token for row in ids for token in row]
    expected = flat.count(bert_tokenizer.unk_token_id) / len(flat)
    assert report.splits["validation"].unknown_ratio == expected > 0.05
    assert report.splits["train"].unknown_ratio == 0
    assert report.splits["train"].tokens_per_word == 1
    (said,) = [warning for warning in report.warnings if "unknown" in warning]
    assert said.startswith("validation: ")
    assert "encoder=any encoder.name_or_path=" in said


def test_pieces_lose_nothing(bert_tokenizer, tmp_path):
    texts = ["the cat sat on the mat " * 20, "a dog", "a" * 5 + " b" * 30]
    whole_rows = tokenized("pieces", raw(texts), bert_tokenizer, 8, tmp_path)
    rows = in_pieces(whole_rows, bert_tokenizer, 8, tmp_path)
    assert rows.num_truncated.sum() == 0
    whole = [" ".join(text.split()) for text in texts]
    for number, text in enumerate(whole, 1):
        parts = [rows.texts[i]["text"] for i in np.flatnonzero(rows.rows == number).tolist()]
        assert " ".join(" ".join(parts).split()) == text
    report = report_on_texts([rows], 8, bert_tokenizer)
    assert report["splits"]["pieces"]["lost_ratio"] == 0
    assert report["max_length"] == 8
