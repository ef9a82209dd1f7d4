"""A prediction on any file keeps each byte that it doesn't read."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ft.inference.files import predict_file

from .saved import make_bundle

EXAMPLES = settings(max_examples=100, deadline=None)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(CHARACTERS, max_size=12)
NUMBERS = st.sampled_from(["1", "1.0", "1e5", "-0", "12345678901234567890123", "0.10"])
JSON = st.recursive(
    TEXTS.map(json.dumps) | NUMBERS | st.sampled_from(["null", "true"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[ " + ",".join(parts) + "]")
        | st.dictionaries(TEXTS, inner, max_size=3).map(
            lambda parts: "{" + ", ".join(f"{json.dumps(key)}:{value}" for key, value in parts.items()) + "}"
        )
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def bundle(tiny_encoder, tmp_path_factory):
    return make_bundle(tiny_encoder, tmp_path_factory.mktemp("saved") / "model")


def predicted(bundle, content: bytes, suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        source, target = Path(folder, f"in{suffix}"), Path(folder, f"out{suffix}")
        source.write_bytes(content)
        predict_file(bundle, source, target, text_column="text", probabilities="none")
        return target.read_bytes()


@EXAMPLES
@given(data=st.data())
def test_delimited(bundle, data):
    draw = data.draw
    delimiter, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    mark, encoding = draw(st.sampled_from([("", "utf-8"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le")]))
    rows = draw(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))

    def written(row):
        file = io.StringIO(newline="")
        # two characters: else the module leaves a lone carriage return without quotes
        csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerow(row)
        return file.getvalue().removesuffix("\r\n")

    lines = [written(row) for row in [("a", "text", "b"), *rows]]
    content = mark + "".join(line + end for line in lines)
    found = predicted(bundle, content.encode(encoding), ".csv").decode(encoding)
    header, *others = lines
    expected = mark + header + f"{delimiter}prediction{delimiter}reason{end}"
    assert found.startswith(expected)
    rest = found.removeprefix(expected)
    for line, (_, text, _) in zip(others, rows, strict=True):
        assert rest.startswith(line + delimiter)
        rest = rest.removeprefix(line + delimiter)
        added, _, rest = rest.partition(end)
        assert added.split(delimiter) in ([["", "empty"]] if not text.strip() else [["no", ""], ["yes", ""]])
    assert rest == ""


@pytest.mark.slow
@EXAMPLES
@given(
    rows=st.lists(st.tuples(TEXTS, st.dictionaries(TEXTS, JSON, max_size=3)), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    separator=st.sampled_from([",", " , "]),
)
def test_json_lines(bundle, rows, end, separator):
    lines = []
    for text, others in rows:
        parts = [f"{json.dumps(key)}: {value}" for key, value in others.items() if key != "text"]
        lines.append("{" + separator.join([f'"text" :{json.dumps(text, ensure_ascii=False)}', *parts]) + "}")
    found = predicted(bundle, "".join(line + end for line in lines).encode(), ".jsonl").decode()
    news = found.split(end)
    assert news.pop() == ""
    for line, new, (text, _) in zip(lines, news, rows, strict=True):
        assert new.startswith(line[:-1] + ", ")
        record = json.loads(new)
        assert (record["reason"] == "empty") == (not text.strip())
