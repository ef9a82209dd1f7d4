import os

import pyarrow as pa
import pytest

from bert_ft.atomic_file import temporary_file
from bert_ft.data.arrow_cache import cache_folder, is_complete, stored_dataset, write_stream
from bert_ft.errors import DataError

SCHEMA = pa.schema([("text", pa.string())])


def batches(*texts):
    return [pa.RecordBatch.from_pydict({"text": [text]}, schema=SCHEMA) for text in texts]


def test_cache_folder_follows_argument_then_environment(tmp_path, monkeypatch):
    assert cache_folder(tmp_path / "a") == tmp_path / "a"
    monkeypatch.setenv("BERT_FT_CACHE", str(tmp_path / "b"))
    assert cache_folder(None) == tmp_path / "b"
    monkeypatch.delenv("BERT_FT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_folder(None) == tmp_path / "c" / "bert_ft"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "bert_ft"
    assert all((tmp_path / name).is_dir() for name in "abc")


def test_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"data\.cache_dir=.*file/x: can't be written .*BERT_FT_CACHE"):
        cache_folder(tmp_path / "file" / "x")


def test_equal_content_is_stored_once(cache_dir):
    one, same, other = (stored_dataset(SCHEMA, batches(*texts), None) for texts in ("ab", "ab", "ac"))
    assert one["text"][:] == same["text"][:] == ["a", "b"]
    assert other["text"][:] == ["a", "c"]
    assert len(list(cache_dir.iterdir())) == 2


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_file_cut_short_is_written_again(cache_dir, keep):
    stored_dataset(SCHEMA, batches("a", "b"), None)
    (path,) = cache_dir.iterdir()
    assert is_complete(path)
    os.truncate(path, int(keep * path.stat().st_size))
    assert not is_complete(path)
    assert stored_dataset(SCHEMA, batches("a", "b"), None)["text"][:] == ["a", "b"]


def test_a_failing_source_leaves_nothing(cache_dir):
    def failing():
        yield from batches("a")
        raise DataError("bad row")

    with pytest.raises(DataError, match="bad row"):
        stored_dataset(SCHEMA, failing(), None)
    assert list(cache_dir.iterdir()) == []


def test_a_file_that_was_moved_away_stays(tmp_path):
    with temporary_file(tmp_path) as path:
        write_stream(path, SCHEMA, batches("a"))
        os.replace(path, tmp_path / "kept")
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_no_file_is_not_complete(tmp_path):
    assert not is_complete(tmp_path / "nothing")
