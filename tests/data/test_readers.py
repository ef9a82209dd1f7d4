"""Reading files: what is kept to the letter, and what each kind of damage says."""

import csv
import gzip
import io
import json
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_ft.data.readers import open_reader
from bert_ft.errors import DataError


def read(path, columns=None, batch_size=3):
    reader = open_reader(path)
    values = {name: [] for name in columns or reader.columns}
    for batch in reader.batches(list(values), batch_size):
        for name in values:
            values[name] += batch[name]
    return values


NASTY = [
    "NA",
    "null",
    "None",
    "nan",
    "123",
    "1e5",
    "True",
    "",
    " pad ",
    'say "hi"',
    "a,b",
    "a\tb",
    "two\nlines",
]
NASTY += ["cr\r\nlf", "\u2028sep", "naïve £ 漢字 😀", "'", "\\", "#", "\x00", "x" * 200_000]


def write_columns(path, columns, ascii_only):
    """A file of the kind that its suffix says, packed if it ends in .gz."""
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
        return
    file = io.StringIO(newline="")
    if "jsonl" in path.suffixes[0]:
        for row in rows:
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=ascii_only) + "\n")
    else:
        writer = csv.writer(file, delimiter="\t" if ".tsv" in path.suffixes else ",")
        writer.writerows([tuple(columns), *rows])
    content = file.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    "suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".CSV"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_texts_are_read_to_the_letter(tmp_path, suffix, seed):
    texts = random.Random(seed).sample(NASTY, len(NASTY))
    columns = {"text": texts, "other": texts[::-1]}
    path = tmp_path / f"x{suffix}"
    write_columns(path, columns, ascii_only=seed == 0)
    assert read(path) == columns
    assert read(path, ["other"], batch_size=1000) == {"other": texts[::-1]}


def test_the_limit_of_the_csv_module_is_put_back(tmp_path):
    (tmp_path / "x.csv").write_text("text\n" + "x" * 200_000)
    before = csv.field_size_limit()
    read(tmp_path / "x.csv")
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_byte_order_mark_and_empty_lines_are_no_content(tmp_path, suffix):
    content = (
        "\ufefftext,label\r\n\r\na,1\r\n\r\n"
        if suffix == ".csv"
        else '\ufeff{"text":"a","label":"1"}\r\n\r\n'
    )
    (tmp_path / f"x{suffix}").write_bytes(content.encode())
    assert read(tmp_path / f"x{suffix}") == {"text": ["a"], "label": ["1"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", r"x\.csv: the file is empty"),
        ("x.csv", b"\n\n", r"x\.csv: the file is empty; a header"),
        ("x.csv", b"\xef\xbb\xbf", r"x\.csv: the file is empty; a header"),
        ("x.csv", b"a,b,a\n1,2,3\n", r"x\.csv: the header has column 'a' twice"),
        ("x.csv", b"text,label\na,1\nb\n", r"x\.csv, row 2: 1 fields, but the header has 2: text, label"),
        ("x.csv", b"text,label\na,b,1\n", r"x\.csv, row 1: 3 fields"),
        ("x.csv", b'text,label\na,1\n"b"c,1\n', r"x\.csv, row 2: malformed: .* expected after"),
        ("x.csv", b'text,label\na,1\n"b,1\n', r"x\.csv, row 2: malformed: unexpected end of data"),
        # rows are counted as records: the first has a line break, and an empty line is none
        (
            "x.csv",
            b'text,label\n"a\nb",1\n\nc \xa35,1\n',
            r"x\.csv, row 2, column 'text': byte 0xA3 isn't UTF-8",
        ),
        ("x.csv", b"text,label\na,\xff\n", r"x\.csv, row 1, column 'label': byte 0xFF"),
        ("x.csv", b"te\xe4xt,label\n", r"x\.csv, header: byte 0xE4"),
        ("x.csv.gz", b"text,label\n", r"x\.csv\.gz: can't be read: Not a gzipped file"),
        ("x.csv.gz", gzip.compress(b"text\na\n", mtime=0)[:-9], r"x\.csv\.gz: can't be read"),
        ("x.jsonl", b"\n \n", r"x\.jsonl: the file is empty; expected one JSON object"),
        (
            "x.jsonl",
            b'{"text": "a"}\n\n{"text": "b"\n',
            r"x\.jsonl, row 2: not valid JSON: .*one object per line",
        ),
        ("x.jsonl", b'[{"text": "a"}]\n', r"x\.jsonl, row 1: list instead of an object"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "\xa3"}\n', r"x\.jsonl, row 2: byte 0xA3 isn't UTF-8"),
        (
            "x.jsonl",
            b'{"text": "\\ud83d"}\n',
            r"x\.jsonl, row 1: \\ud83d is an unpaired surrogate \(half a character\)",
        ),
        ("x.parquet", b"text,label\n", r"x\.parquet: not a parquet file"),
        ("x.doc", b"{}", r"x\.doc: unknown suffix '\.doc'; choose one of \.csv, \.tsv, \.jsonl, \.parquet"),
        ("x.xlsx", b"a", r"unknown suffix '\.xlsx'; save the sheet as csv"),
        ("x", b"a", r"x: unknown suffix ''"),
        ("data.zip", b"a", r"add the suffix of the file inside, e\.g\. data\.csv\.zip"),
        (
            "x.json",
            b'[{"text": "a"}]\n[{"text": "b"}]',
            r"x\.json: more content follows the end of the array \(row 1\)",
        ),
        ("x.csv", "text,label\na,1\n".encode("utf-16-le"), r"null bytes; .*data\.encoding=utf-16-le"),
        ("x.csv", b" \n\t\n", r"x\.csv: the file is empty"),
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\n", r"x\.csv: is a pointer .*git lfs pull"),
        ("x.csv", b"<!DOCTYPE html>\n<html>", r"x\.csv: is a web page"),
        ("x.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", r"x\.csv: is an Excel file; save it as csv"),
        ("x.csv", b"PAR1\0", r"x\.csv: is a parquet file; rename it to x\.parquet"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv: no such file"):
        open_reader(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"is a folder"):
        open_reader(tmp_path)
    with pytest.raises(DataError, match=r"File name too long; give another path"):
        open_reader(tmp_path / f"{'a' * 300}.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"is a pipe or device"):
        open_reader(tmp_path / "pipe.csv")


def test_columns_that_a_parquet_file_has_twice(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "x", "x"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", ["text"]) == {"text": ["a"]}
    with pytest.raises(DataError, match=r"x\.parquet: has column 'x' twice"):
        read(tmp_path / "x.parquet", ["x"])


def test_times_that_python_has_no_value_for(tmp_path):
    times = pa.array([-(10**18), 0, None], pa.timestamp("ms"))
    zone = pa.array([0, 0, None], pa.timestamp("s", tz="Nowhere/Zone"))
    pq.write_table(pa.table({"time": times, "zone": zone}), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet", ["time", "zone"])
    assert found["zone"] == ["1970-01-01 00:00:00.000"] * 2 + [None]
    assert found["time"][1:] == ["1970-01-01 00:00:00.000", None]


def test_keys_that_the_first_row_of_json_lacks(tmp_path):
    (tmp_path / "x.ndjson").write_text('{"id": 1}\n{"id": 2, "text": "a"}\n')
    assert open_reader(tmp_path / "x.ndjson").columns == ("id", "text")


class TestLines:
    def test_a_text_a_line(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_bytes('\ufeffone, "two"\r\n\n  \nNA\n\tthree \nlast'.encode())
        assert read(path) == {"text": ['one, "two"', "NA", "three", "last"]}
        assert open_reader(path).schema() == pa.schema([("text", pa.string())])

    def test_packed(self, tmp_path):
        path = tmp_path / "a.txt.gz"
        path.write_bytes(gzip.compress(b"one\ntwo\n"))
        assert read(path) == {"text": ["one", "two"]}

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"one\n\n\xa32\n", "row 2: byte 0xA3 isn't UTF-8"), (b"one\n\0\n", "row 2: has a null byte")],
    )
    def test_damage(self, tmp_path, content, message):
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"a.txt, {message}"):
            read(path)


def test_texts_that_a_parquet_file_has_as_bytes(tmp_path):
    table = pa.table({"text": [b"a film", "café".encode(), b"caf\xe9"], "label": [b"pos", None, b"neg"]})
    pq.write_table(table, tmp_path / "x.parquet")
    (batch,) = open_reader(tmp_path / "x.parquet").batches(["text", "label"], 10)
    assert batch == {"text": ["a film", "café", b"caf\xe9"], "label": ["pos", None, "neg"]}
