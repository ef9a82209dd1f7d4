"""One table in every format gives the same labels, texts and warnings; arbitrary tables come back as they were written."""

import csv
import gzip
import io
import json
import zipfile
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ft.data.dialect import DialectSettings
from bert_ft.data.raw_splits import LoadedSplits
from bert_ft.data.readers import open_reader
from bert_ft.data.sources import Files, Hub
from bert_ft.errors import DataError

KINDS = ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "json.zip", "parquet.zst", "folder", "saved"]
TEXTS = ["None", "NA", "null", "nan", "1.0", "True", " pad ", "a, b"]


def written(folder, kind, splits):
    """The source of ``splits``: name → columns."""
    if kind == "saved":
        DatasetDict({name: Dataset.from_dict(columns) for name, columns in splits.items()}).save_to_disk(
            folder / "d"
        )
        return Hub(str(folder / "d"))
    suffix = "csv" if kind == "folder" else kind
    for name, columns in splits.items():
        (folder / f"{name}.{suffix}").write_bytes(content_of(suffix, columns))
    if kind == "folder":
        return Hub(str(folder))
    return Files(
        *(folder / f"{name}.{suffix}" if name in splits else None for name in ("train", "validation", "test"))
    )


def content_of(suffix, columns):
    kind, _, packed = suffix.partition(".")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        content = sink.getvalue()
    elif kind in ("csv", "tsv"):
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, list(columns), delimiter="," if kind == "csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        content = file.getvalue().encode()
    elif kind == "jsonl":
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        content = json.dumps(rows, indent=1).encode()
    if packed == "gz":
        return gzip.compress(content)
    if packed == "zst":
        return pa.compress(content, codec="zstd", asbytes=True)
    if packed == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"x.{kind}", content)
        return file.getvalue()
    return content


def loaded(folder, kind, splits) -> LoadedSplits:
    return written(folder, kind, splits).load(folder / "cache")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["None", "NA", "null", "nan"] * 2, ["None", "NA", "null", "nan"] * 2),
        ([0.5, 1.0, 2.25, -3.5] * 2, ["0.5", "1.0", "2.25", "-3.5"] * 2),
        ([True, False] * 4, ["true", "false"] * 4),
        ([3, -1, 0, 12] * 2, ["3", "-1", "0", "12"] * 2),
        (["x ", "x", "y", " y"] * 2, ["x", "x", "y", "y"] * 2),
    ],
)
def test_labels_and_texts(tmp_path, kind, labels, names):
    found = loaded(tmp_path, kind, {"train": {"text": TEXTS, "label": labels}})
    assert found.splits["train"].dataset[:] == {"text": TEXTS, "label": names}
    assert [note.partition("labels with")[2] for note in found.notes] == (
        [" white space at their ends, which was removed: 4 (the first is 'x ' in row 1)"]
        if "x " in labels
        else []
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [None, -1, ""])
def test_hidden_test_labels_and_missing_ones(tmp_path, kind, hidden):
    rows = {"text": ["a", "b"], "label": ["x", "y"] if hidden != -1 else [0, 1]}
    found = loaded(tmp_path, kind, {"train": rows, "test": {"text": ["c", "d"], "label": [hidden, hidden]}})
    assert list(found.splits) == ["train"]
    (note,) = found.notes
    assert note.endswith("its labels are hidden (all -1, null or empty), so it isn't used")
    if hidden != -1:
        (tmp_path / "other").mkdir()
        with pytest.raises(DataError, match=r"row 2, column 'label': the label is missing"):
            loaded(tmp_path / "other", kind, {"train": {"text": ["a", "b"], "label": ["x", hidden]}})


def test_fractions_of_32_bits_are_labels_as_they_are_written(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": pa.array([0.1, 0.25], pa.float32())})
    pq.write_table(table, tmp_path / "x.parquet")
    assert Files(tmp_path / "x.parquet").load(tmp_path).splits["train"].dataset["label"][:] == ["0.1", "0.25"]


def test_columns_that_are_not_read_are_not_judged(tmp_path):
    mixed = tmp_path / "x.jsonl"
    mixed.write_text('{"text":"a","label":"x","n":1}\n{"text":"b","label":"y","n":"z"}\n')
    bytes_ = tmp_path / "x.csv"
    bytes_.write_bytes(b"text,label,,\na,x,\xff,1\nb,y,2,3\n")
    for path in (mixed, bytes_):
        assert Files(path).load(tmp_path).splits["train"].dataset[:] == {
            "text": ["a", "b"],
            "label": ["x", "y"],
        }


# --- arbitrary tables -----------------------------------------------------------------------------

# No lone surrogates, which no encoding has; line ends and separators come often.
CELL = st.text(
    st.one_of(st.sampled_from(",;\t|\"'\n\r\\ "), st.characters(exclude_categories=["Cs"])), max_size=12
)
TABLE = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6)


def read(path, settings=None):
    reader = open_reader(path, settings, wanted=("text", "label"), label="label")
    values = {"text": [], "label": [], "more": []}
    for batch in reader.batches(list(values), 2):
        for name in values:
            values[name] += batch[name]
    return list(zip(*values.values(), strict=True))


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(
    TABLE,
    st.sampled_from(",;\t|"),
    st.sampled_from(["csv", "tsv", "txt"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_comes_back_from_every_dialect(tmp_path_factory, rows, delimiter, suffix, encoding):
    path = tmp_path_factory.mktemp("x") / f"x.{suffix}"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("text", "label", "more"), *rows])
    assert read(path, DialectSettings(quoting="quotes")) == rows
    if delimiter != "\t":  # where quotes may also be part of the texts
        assert read(path) == rows


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(TABLE, st.sampled_from(["jsonl", "json", "json.gz"]), st.booleans())
def test_a_table_comes_back_from_json(tmp_path_factory, rows, suffix, as_lines):
    path = tmp_path_factory.mktemp("x") / f"x.{suffix}"
    records = [dict(zip(("text", "label", "more"), row, strict=True)) for row in rows]
    lines = suffix == "jsonl" or as_lines
    content = "\n".join(map(json.dumps, records)) if lines else json.dumps(records, ensure_ascii=False)
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith("gz") else content.encode())
    assert read(path) == rows


@settings(max_examples=200, deadline=timedelta(seconds=5))
@given(
    st.lists(
        st.tuples(
            *[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), max_size=9)] * 3
        ),
        min_size=1,
    )
)
def test_a_table_without_quoting_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("x") / "x.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [("text", "label", "more"), *rows]), newline="")
    assert read(path, DialectSettings(quoting="none")) == rows
