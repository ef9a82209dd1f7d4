"""What a delimited file says of itself, and what settings say instead."""

import csv
import io
from pathlib import Path

import pytest

from bert_ft.data.delimited import preamble, records
from bert_ft.data.dialect import DialectSettings, detect
from bert_ft.errors import ConfigError, DataError

WANTED = {"wanted": ("text", "label"), "label": "label"}
ROWS = [("a, b; c | d", "x"), ('say "hi"', "y"), ("plain", "x")]


def file_of(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def table(delimiter, rows=ROWS, header=("text", "label")):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([*([header] if header else []), *rows])
    return file.getvalue()


def rows_of(path, settings=None, **more):
    dialect = detect(path, settings, **(WANTED | more))
    return dialect, [tuple(record.fields) for record in records(path, dialect)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("default", [",", "\t"])
def test_delimiter_and_encoding_are_read_off_the_file(tmp_path, delimiter, encoding, default):
    path = file_of(tmp_path / "x.csv", table(delimiter), encoding)
    dialect, rows = rows_of(path, default=default)
    assert rows == ROWS
    assert any("read with the delimiter" in note for note in dialect.notes) == (delimiter != default)
    assert any(f"read as {encoding}" in note for note in dialect.notes) == (encoding in ("utf-16", "utf-32"))


def test_the_line_of_excel(tmp_path):
    path = file_of(tmp_path / "x.csv", "sep=;\r\n" + table(";"))
    dialect, rows = rows_of(path)
    assert rows == ROWS
    assert preamble(path, dialect) == "sep=;\r\ntext;label\r\n"


def test_raw_rows_are_the_file(tmp_path):
    content = 'text,label,n\r\n"a\nb",x,"1"\r\n\xe9,y, 2 \nlast,x,\xff'
    path = tmp_path / "x.csv"
    path.write_bytes(content.encode("latin-1"))
    dialect = detect(path, **WANTED)
    whole = preamble(path, dialect) + "".join(record.raw for record in records(path, dialect))
    assert whole.encode(dialect.encoding, "surrogateescape") == content.encode("latin-1")


def test_a_header_is_missing(tmp_path):
    path = file_of(tmp_path / "x.csv", table(";", header=None))
    dialect, rows = rows_of(path, DialectSettings(columns=("text", "label")))
    assert rows == ROWS
    assert "read without a header, as columns text, label" in dialect.notes[-1]
    assert detect(path, DialectSettings(header=False, delimiter="semicolon")).columns == ("0", "1")
    with pytest.raises(DataError, match=r"its first row has 2 fields, but data\.columns names 3: a, b, c"):
        detect(path, DialectSettings(columns=("a", "b", "c"), delimiter=";"))


def test_columns_that_the_header_has_already(tmp_path):
    path = file_of(tmp_path / "x.csv", table(","))
    assert rows_of(path, DialectSettings(columns=("text", "label")))[1] == ROWS
    dialect = detect(path, DialectSettings(columns=("review", "label")), wanted=["review", "label"])
    assert (dialect.has_header, dialect.columns) == (True, ("review", "label"))


@pytest.mark.parametrize("header", [None, True])
def test_columns_that_the_header_has_in_another_order(tmp_path, header):
    """A validation file need not have the order of the training file, which has no header."""
    path = file_of(tmp_path / "x.csv", table(",", [row[::-1] for row in ROWS], ("label", "text")))
    dialect, rows = rows_of(path, DialectSettings(columns=("text", "label"), header=header))
    assert (dialect.columns, rows) == (("label", "text"), [row[::-1] for row in ROWS])


def test_a_second_byte_order_mark(tmp_path):
    assert rows_of(file_of(tmp_path / "x.csv", "\ufeff" + table(","), "utf-8-sig"))[1] == ROWS


class TestQuotes:
    def test_a_tsv_without_quoting(self, tmp_path):
        path = file_of(tmp_path / "x.tsv", 'text\tlabel\n"so" he said\tx\nfine\ty\n')
        dialect, rows = rows_of(path, default="\t")
        assert rows == [('"so" he said', "x"), ("fine", "y")]
        assert "data.quoting=none" in dialect.notes[0]

    def test_a_tsv_with_quoting_stays_one(self, tmp_path):
        rows = [("two\nlines", "x"), ("a\tb", "y"), ('"q"', "x")]
        path = file_of(tmp_path / "x.tsv", table("\t", rows))
        dialect, found = rows_of(path, default="\t")
        assert found == rows
        assert (
            "1 row has a field that spans several lines; the longest has 2 lines (row 1, column 'text')"
            in dialect.notes[0]
        )

    @pytest.mark.parametrize("suffix", ["csv", "tsv"])
    def test_rows_within_a_field(self, tmp_path, suffix):
        delimiter = {"csv": ",", "tsv": "\t"}[suffix]
        lines = [f"text {i}{delimiter}{'xy'[i % 2]}" for i in range(20)]
        lines[4], lines[9] = f'"text 4{delimiter}x', f'text 9"{delimiter}y'
        path = file_of(tmp_path / f"a.{suffix}", "\n".join([f"text{delimiter}label", *lines]) + "\n")
        if suffix == "tsv":
            assert len(rows_of(path, default=delimiter)[1]) == 20
            return
        with pytest.raises(
            DataError, match=r"row 5: a quoted field begins here and spans 6 lines.*data\.quoting=none"
        ):
            rows_of(path)
        assert len(rows_of(path, DialectSettings(quoting="none"))[1]) == 20
        assert len(rows_of(path, DialectSettings(quoting="quotes"))[1]) == 15

    def test_an_unclosed_quote_in_a_csv(self, tmp_path):
        path = file_of(tmp_path / "x.csv", 'text,label\na,x\n"b,x\n')
        with pytest.raises(DataError, match=r"row 2: malformed: unexpected end of data; it begins in line 3"):
            rows_of(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delimiter": "ab"}, r"data\.delimiter=ab: must be a single character"),
        ({"delimiter": '"'}, r"must be a single character \(not a quotation mark or a line break\)"),
        ({"encoding": "base64"}, r"data\.encoding=base64: there is no such encoding"),
        ({"encoding": "utf-99"}, r"data\.encoding=utf-99: there is no such encoding"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        DialectSettings(**settings)


def test_settings_of_delimited_files_for_others():
    settings = DialectSettings(columns=("text", "label"))
    settings.check_used([Path("a.csv"), Path("b.parquet")])
    DialectSettings(encoding="cp1252").check_used([Path("a.json")])
    with pytest.raises(
        ConfigError, match=r"^data\.columns applies only to csv, .* not to \.jsonl, \.parquet"
    ):
        settings.check_used([Path("a.jsonl.gz"), Path("b.parquet")])
