"""The cache folder stays below its size, and never loses what is in use."""

import gc
import os
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from bert_ft.data.arrow_cache import stored_dataset
from bert_ft.data.cache_entries import hold, limit_cache
from bert_ft.data.tokenization import load_tokenizer, tokenize

SCHEMA = pa.schema([("text", pa.string())])
NOTHING = 1e-9  # a limit that no file is below


def stored(text):
    return stored_dataset(SCHEMA, [pa.RecordBatch.from_pydict({"text": [text]}, schema=SCHEMA)], None)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_the_least_recently_used_go_first(tmp_path):
    now = time.time()
    for index in range(4):
        path = tmp_path / f"{index}.arrow"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (now - 100 + index,) * 2)
    file = hold(tmp_path / "0.arrow")
    assert file is not None
    file.close()  # used now
    limit_cache(tmp_path, None)
    assert len(names(tmp_path)) == 4
    limit_cache(tmp_path, 2000 / 1e9)
    assert names(tmp_path) == {"0.arrow", "3.arrow"}


@pytest.mark.parametrize("limit", [NOTHING, None])
def test_what_a_killed_process_left_is_removed(tmp_path, limit):
    for name, age in (("old", 3600), ("new", 1)):
        (tmp_path / f".{name}.tmp").touch()
        os.utime(tmp_path / f".{name}.tmp", (time.time() - age,) * 2)
    limit_cache(tmp_path, limit)
    assert names(tmp_path) == {".new.tmp"}


@pytest.mark.slow
def test_what_is_in_use_stays(cache_dir, tiny_encoder):
    rows = stored("a b c")
    columns = tokenize(rows, load_tokenizer(tiny_encoder), 16)
    again = stored("a b c")
    stored("d")
    gc.collect()
    limit_cache(cache_dir, NOTHING)
    assert len(names(cache_dir)) == 2
    ids = columns.input_ids.tolist()
    assert tokenize(rows, load_tokenizer(tiny_encoder), 16).input_ids.tolist() == ids
    del columns, rows
    gc.collect()
    limit_cache(cache_dir, NOTHING)
    assert {name.split("-")[0] for name in names(cache_dir)} == {"rows"}
    del again
    gc.collect()
    limit_cache(cache_dir, NOTHING)
    assert names(cache_dir) == set()


def test_what_another_process_uses_stays_until_it_ends(tmp_path):
    path = tmp_path / "a.arrow"
    path.write_bytes(b"x" * 1000)
    code = (
        "import sys; from pathlib import Path; from bert_ft.data.cache_entries import hold;"
        f"file = hold(Path({str(path)!r})); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        limit_cache(tmp_path, NOTHING)
        assert path.exists()
        process.kill()
    limit_cache(tmp_path, NOTHING)
    assert not path.exists()


def test_a_file_that_is_gone_is_not_held(tmp_path):
    assert hold(tmp_path / "none.arrow") is None
