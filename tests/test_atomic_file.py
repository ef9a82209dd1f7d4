import errno
import os
import stat

import pytest

from bert_ft.atomic_file import flush_folder, replaced, write


def test_the_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")
    with replaced(path) as unfinished:
        unfinished.write_text("new")
        assert unfinished.parent == tmp_path  # a move from another file system would not be atomic
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    path.write_text("old")

    def fail():
        with replaced(path) as unfinished:
            unfinished.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_of_temporary_files_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    write(tmp_path / "record.json", b"{}")
    assert (tmp_path / "record.json").read_bytes() == b"{}"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_others_may_read_what_the_umask_lets_them(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / "record.json", b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == 0o666 & ~mask


def test_the_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write(tmp_path / "record.json", b"{}")
    assert calls == ["fsync", "replace", "fsync"]  # the last one of the folder, which has the name


def test_a_folder_is_on_disk_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1").touch()
    (tmp_path / "2").touch()
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(os.readlink(f"/proc/self/fd/{file}")))
    flush_folder(tmp_path)
    assert sorted(flushed) == [str(tmp_path), str(tmp_path / "2"), str(tmp_path / "a"), str(tmp_path / "a/1")]


def test_an_error_names_the_file_that_is_wanted(tmp_path):
    def fail(named):
        with replaced(tmp_path / "record.json") as unfinished:
            raise OSError(errno.ENOSPC, "disk full", *([str(unfinished)] if named else []))

    for named in (True, False):
        with pytest.raises(OSError, match="disk full") as caught:
            fail(named)
        assert caught.value.filename == str(tmp_path / "record.json")
