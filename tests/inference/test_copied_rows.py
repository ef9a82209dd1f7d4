"""What a prediction doesn't read comes out byte for byte; what it can't use comes out with a reason."""

import csv
import gzip
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from bert_ft.data.dialect import DialectSettings
from bert_ft.errors import DataError
from bert_ft.inference.files import predict_file

from .saved import make_bundle


@pytest.fixture(scope="module")
def bundle(tiny_encoder, tmp_path_factory):
    return make_bundle(tiny_encoder, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def predict(bundle, tmp_path):
    """Write the content, predict, and return the output's bytes (or its path)."""

    def run(content: bytes, source="in.csv", target="out.csv", *, as_path=False, **changes):
        path, out = tmp_path / source, tmp_path / target
        path.write_bytes(content)
        arguments = {"text_column": "text", "probabilities": "none"} | changes
        run.labeled = predict_file(bundle, path, out, **arguments)
        return out if as_path else out.read_bytes()

    return run


def without_labels(content: bytes) -> bytes:
    """The predictions, which these tests don't look at, as ``?``."""
    for label in (b"no", b"yes"):
        for before, after in ((b",", b","), (b";", b";"), (b"\t", b"\t"), (b'"prediction": "', b'"')):
            content = content.replace(before + label + after, before + b"?" + after)
    return content


def lines_of(*rows: bytes, end: bytes = b"\n") -> bytes:
    return end.join(rows) + end


class TestDelimited:
    def test_quotes_numbers_and_spaces_stay(self, predict):
        found = predict(
            lines_of(b'id,text,"n"', b'007,"a film",1.50', b'"x ""y""", dull ,"1,5"', b' ,"a\nb",')
        )
        assert without_labels(found) == lines_of(
            b'id,text,"n",prediction,reason',
            b'007,"a film",1.50,?,',
            b'"x ""y""", dull ,"1,5",?,',
            b' ,"a\nb",,?,',
        )

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_line_ends_and_the_byte_order_mark_stay(self, predict, end, mark):
        found = predict(mark + lines_of(b"text,n", b"a film,1", b"dull,2", end=end)[: -len(end)])
        assert without_labels(found) == mark + lines_of(
            b"text,n,prediction,reason", b"a film,1,?,", b"dull,2,?,", end=end
        )

    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_utf_16_stays(self, predict, encoding):
        found = predict("\ufefftext;n\na film;é\n".encode(encoding)).decode(encoding)
        assert without_labels(found.encode()).decode() == "\ufefftext;n;prediction;reason\na film;é;?;\n"

    def test_bytes_of_no_encoding_stay_and_are_a_reason_only_in_the_text(self, predict):
        found = predict(lines_of(b"text,n", b"a film,\xe9", b"caf\xe9,2"))
        assert without_labels(found) == lines_of(
            b"text,n,prediction,reason", b"a film,\xe9,?,", b"caf\xe9,2,,undecodable"
        )

    def test_another_encoding(self, predict):
        found = predict(lines_of(b"text,n", b"caf\xe9,\xe9"), settings=DialectSettings(encoding="cp1252"))
        assert without_labels(found) == lines_of(b"text,n,prediction,reason", b"caf\xe9,\xe9,?,")

    def test_excels_line_and_delimiter(self, predict):
        found = predict(lines_of(b"sep=;", b"text;n", b"a, film;1,5"))
        assert without_labels(found) == lines_of(b"sep=;", b"text;n;prediction;reason", b"a, film;1,5;?;")

    def test_a_tsv_without_quoting(self, predict):
        settings = DialectSettings(quoting="none")
        found = predict(lines_of(b"text\tn", b'"a\tb"', b'film"\t"'), "in.tsv", "out.tsv", settings=settings)
        assert without_labels(found) == lines_of(
            b"text\tn\tprediction\treason", b'"a\tb"\t?\t', b'film"\t"\t?\t'
        )

    def test_no_header(self, predict):
        settings = DialectSettings(columns=("n", "text"))
        found = predict(lines_of(b"1,a film", b"2,dull"), settings=settings)
        assert without_labels(found) == lines_of(b"1,a film,?,", b"2,dull,?,")

    def test_columns_of_one_name_and_empty_lines(self, predict):
        found = predict(lines_of(b"n,text,n", b"1,a film,2", b"", b"3,dull,4"))
        assert without_labels(found) == lines_of(
            b"n,text,n,prediction,reason", b"1,a film,2,?,", b"", b"3,dull,4,?,"
        )

    @pytest.mark.parametrize("start", [b"\n\n", b"sep=,\n\n", b"\xef\xbb\xbf\n"])
    def test_empty_lines_before_the_header_stay(self, predict, start):
        found = predict(start + lines_of(b"text,n", b"a film,1"))
        assert without_labels(found) == start + lines_of(b"text,n,prediction,reason", b"a film,1,?,")

    @pytest.mark.parametrize("target", ["out.jsonl", "out.parquet"])
    def test_several_columns_of_earlier_predictions_stay_in_another_format(self, predict, target):
        out = predict(lines_of(b"text,prediction,prediction", b"a film,1,2"), target=target, as_path=True)
        row = json.loads(out.read_text()) if target == "out.jsonl" else parquet.read_table(out).to_pylist()[0]
        assert list(row) == ["text", "prediction", "prediction_2", "prediction_3", "reason_3"]
        assert (row["prediction"], row["prediction_2"]) == ("1", "2")

    def test_rows_that_are_malformed_take_no_other_with_them(self, predict):
        found = predict(
            lines_of(b"id,text", b"1,a film", b'2,"dull" and', b"3", b"4,a,b", b'5,"open', b"6,a film")
        )
        rows = list(csv.DictReader(found.decode().splitlines()))
        assert [row["id"] for row in rows] == list("123456")
        assert [row["reason"] for row in rows] == ["", *["malformed"] * 4, ""]
        assert [bool(row["prediction"]) for row in rows] == [True, *[False] * 4, True]
        assert [row["text"] for row in rows] == ["a film", '"dull" and', "", "a,b", '"open', "a film"]

    def test_empty_texts(self, predict):
        found = predict(lines_of(b"text,n", b"a film,1", b",2", b"  ,3"))
        assert without_labels(found) == lines_of(
            b"text,n,prediction,reason", b"a film,1,?,", b",2,,empty", b"  ,3,,empty"
        )
        assert list(predict.labeled.lines("y")) == [
            "2 rows have no prediction (empty: 2); the column 'reason' says which",
            "1 row labeled: y",
        ]

    def test_no_text_at_all(self, predict):
        assert predict(lines_of(b"text,n", b",1")) == lines_of(b"text,n,prediction,reason", b",1,,empty")

    def test_another_kind_of_file(self, predict):
        found = predict(lines_of(b"text,n", b'"a, film",1.50'), target="out.tsv")
        assert without_labels(found) == b"text\tn\tprediction\treason\r\na, film\t1.50\t?\t\r\n"


class TestJson:
    def test_rows_stay_as_they_are_written(self, predict):
        rows = [
            b'{"id": 1.0, "text": "a film", "big": 123456789012345678901234567890}',
            b'{"text":"dull","meta":{"a" : [1, "x", null]},"e":"\\u00e9"}',
            b'{ "text": "good" , "id": "one" }  ',
        ]
        found = predict(lines_of(*rows, end=b"\r\n"), "in.jsonl", "out.jsonl").split(b"\r\n")
        for row, new in zip(rows, found, strict=False):
            body = row.strip()[:-1].rstrip()
            assert new.startswith(body + b', "prediction": ')
            assert list(json.loads(new))[-2:] == ["prediction", "reason"]

    def test_nan_and_infinities_become_null(self, predict):
        found = predict(
            b'{"text": "NaN \\" NaN", "n": [NaN, -Infinity], "m":Infinity}\n', "in.jsonl", "out.jsonl"
        )
        assert found.startswith(b'{"text": "NaN \\" NaN", "n": [null, null], "m":null, "prediction": ')

    def test_rows_that_cannot_be_used(self, predict):
        lines = [
            b'{"text": 5}',
            b'{"text": null}',
            b'{"id": 3}',
            b'{"text": " "}',
            b"{}",
            b"not json",
            b"[1]",
        ]
        found = predict(lines_of(b'{"text": "a film"}', *lines, b""), "in.jsonl", "out.jsonl")
        rows = [json.loads(line) for line in found.splitlines() if line]
        assert [row["reason"] for row in rows] == [
            None, "not a text", "missing", "missing", "empty", "missing", "malformed", "malformed",
        ]  # fmt: skip
        assert [row["prediction"] is None for row in rows] == [False, *[True] * 7]
        assert [row["text"] for row in rows[-2:]] == ["not json", "[1]"]

    def test_half_a_character_and_bytes_of_no_encoding(self, predict):
        found = predict(
            b'{"text": "\\ud800 a"}\n{"text": "a film", "n": "\\ud800"}\n{"text": "\xff"}\n',
            "in.jsonl",
            "out.jsonl",
        )
        first, second, third = found.splitlines()
        assert (json.loads(first)["reason"], json.loads(second)["reason"]) == ("undecodable", None)
        assert second.startswith(b'{"text": "a film", "n": "\\ud800", "pred')
        assert third.startswith(b'{"text": "\xff", "pred')
        assert b"undecodable" in third

    @pytest.mark.parametrize("target", ["out.json", "out.jsonl"])
    def test_only_ends_of_lines_between_members_are_replaced(self, predict, target):
        row = {"text": "a film\u2028dull", "n": "x\x85 \u2029", "m": {"k\u2028": 1}}
        found = predict(json.dumps([row], indent=2, ensure_ascii=False).encode(), "in.json", target)
        (again,) = json.loads(found) if target == "out.json" else map(json.loads, found.splitlines())
        assert {name: again[name] for name in row} == row

    @pytest.mark.parametrize(
        "content", [b'{"text": "a"}\n{bad}\n[1]\n{"text": "b"}\n', b'[{"text":"a"},3,[1],{"text":"b"}]']
    )
    def test_a_malformed_row_of_a_json_file_takes_no_other_with_it(self, predict, content):
        rows = csv.DictReader(predict(content, "in.json").decode().splitlines())
        assert [row["reason"] for row in rows] == ["", "malformed", "malformed", ""]

    def test_lines_become_an_array_if_the_suffix_changes(self, predict):
        written = lines_of(b'{"text": "a", "n": 1.0}', b"", b'{"text": "b"}')
        found = predict(b"\xef\xbb\xbf" + written, "in.jsonl", "out.json")
        assert [row["text"] for row in json.loads(found)] == ["a", "b"]
        assert b'"n": 1.0' in found

    def test_an_array(self, predict):
        found = predict(b'[{"text": "a film",\n  "n": 1.0},\n {"text": ""}]', "in.json", "out.json")
        assert b'"n": 1.0,' in found
        assert [row["reason"] for row in json.loads(found)] == [None, "empty"]

    def test_as_csv(self, predict):
        found = predict(
            b'{"text": "a film", "n": 1.0, "meta": {"a": [1.50]}}\n{"text": "dull", "big": 12345678901234567890123}\n',
            "in.jsonl",
        )
        rows = list(csv.DictReader(found.decode().splitlines()))
        assert [(row["n"], row["meta"], row["big"]) for row in rows] == [
            ("1.0", '{"a": [1.50]}', ""),
            ("", "", "12345678901234567890123"),
        ]

    def test_as_parquet(self, predict):
        content = (
            b'{"text": "a film", "n": 1, "id": 1, "m": {"a": 1}}\n{"text": "", "n": 2, "id": "x"}\nbad\n'
        )
        out = predict(content, "in.jsonl", "out.parquet", as_path=True)
        rows = parquet.read_table(out).to_pylist()
        assert [row["n"] for row in rows] == [1, 2, None]
        assert [row["id"] for row in rows] == ["1", '"x"', None]
        assert [row["m"] for row in rows] == ['{"a": 1}', None, None]
        assert [row["reason"] for row in rows] == [None, "empty", "malformed"]


class TestParquet:
    def test_the_schema_stays(self, predict, bundle, tmp_path):
        schema = pa.schema(
            [
                pa.field("text", pa.string(), nullable=False),
                ("kind", pa.dictionary(pa.int8(), pa.string())),
                ("n", pa.decimal128(5, 2)),
                ("at", pa.timestamp("us", tz="UTC")),
            ],
            metadata={"who": "me"},
        )
        table = pa.table(
            {"text": ["a film", ""], "kind": ["x", None], "n": [None, None], "at": [1, None]}, schema=schema
        )
        parquet.write_table(table, tmp_path / "in.parquet")
        out = tmp_path / "out.parquet"
        predict_file(bundle, tmp_path / "in.parquet", out, text_column="text")
        found = parquet.read_table(out)
        assert found.select(schema.names).schema.equals(schema)
        assert found.schema.metadata[b"who"] == b"me"
        assert found.select(schema.names).to_pylist() == table.to_pylist()
        assert found["reason"].to_pylist() == [None, "empty"]
        assert found["probability"].type == pa.float32()

    def test_bytes_and_fractions_in_json(self, bundle, tmp_path):
        table = {
            "text": [b"a film", b"caf\xe9", None],
            "n": [float("nan"), 0.5, float("inf")],
            "raw": [b"x\xff", b"y", None],
        }
        parquet.write_table(pa.table(table), tmp_path / "in.parquet")
        predict_file(bundle, tmp_path / "in.parquet", tmp_path / "out.jsonl", text_column="text")

        def refuse(name):
            raise AssertionError(name)

        lines = (tmp_path / "out.jsonl").read_text().splitlines()
        rows = [json.loads(line, parse_constant=refuse) for line in lines]
        assert [row["n"] for row in rows] == [None, 0.5, None]
        assert [row["raw"] for row in rows] == ["base64:eP8=", "y", None]
        assert [row["reason"] for row in rows] == [None, "undecodable", "missing"]


class TestPacked:
    @pytest.mark.parametrize("suffix", [".gz", ".zst", ".zip"])
    def test_there_and_back(self, predict, tmp_path, suffix):
        plain = predict(lines_of(b"text,n", b"a film,1.0"))
        predict(lines_of(b"text,n", b"a film,1.0"), target=f"out.csv{suffix}")
        packed = (tmp_path / f"out.csv{suffix}").read_bytes()
        again = predict(packed, f"in.csv{suffix}", "again.csv", text_column="text")
        assert again.splitlines()[1].startswith(plain.splitlines()[1])
        if suffix == ".gz":
            assert gzip.decompress(packed) == plain
        if suffix == ".zip":
            assert zipfile.ZipFile(tmp_path / "out.csv.zip").read("out.csv") == plain


class TestPlain:
    def test_lines_of_texts(self, predict):
        found = predict(b"a film\n\n dull \n", "in.txt")
        assert without_labels(found) == b"text,prediction,reason\r\na film,?,\r\ndull,?,\r\n"

    def test_a_table_is_one_as_in_training(self, predict):
        found = predict(lines_of(b"label\ttext", b"no\ta film"), "in.txt", "out.tsv", label_column="label")
        assert without_labels(found) == lines_of(b"label\ttext\tprediction\treason", b"no\ta film\t?\t")

    def test_a_label_that_cannot_be_written_without_quotes(self, tiny_encoder, tmp_path):
        bundle = make_bundle(tiny_encoder, tmp_path / "model", ("a\tb", "c\td"))
        (tmp_path / "in.tsv").write_text('text\n"a\n')
        with pytest.raises(
            DataError, match=r"quoting=none: .*can't be a field; give an output that ends in \.jsonl"
        ):
            predict_file(
                bundle,
                tmp_path / "in.tsv",
                tmp_path / "out.tsv",
                text_column="text",
                settings=DialectSettings(quoting="none", prefix=""),
            )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tsv", "model"]


def test_the_values_of_a_format_without_rows_of_its_own(predict, monkeypatch):
    class Arrow:
        columns, notes = ("text", "n"), []

        def __init__(self, path, *_, **__):
            self.path = path

        def batches(self, columns, size):
            yield {name: {"text": ["a film", "dull"], "n": [1, None]}[name] for name in columns}

    monkeypatch.setattr("bert_ft.inference.input_rows.open_reader", Arrow)
    found = predict(b"1", "in.arrow", "out.jsonl")
    assert [{**json.loads(line), "prediction": "?"} for line in found.splitlines()] == [
        {"text": text, "n": n, "prediction": "?", "reason": None}
        for text, n in (("a film", 1), ("dull", None))
    ]
