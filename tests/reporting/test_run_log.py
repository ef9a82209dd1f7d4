import pytest

from bert_ft.errors import ConfigError
from bert_ft.reporting.not_logged import NotLogged
from bert_ft.reporting.run_log import RunLog, read_run
from tests.reporting.synthetic import Size, write_json, write_run

pytestmark = pytest.mark.slow

SIZE = Size(num_rows=5, num_steps=4)


def test_all_of_a_run_is_read(tmp_path):
    log = read_run(write_run(tmp_path, SIZE))
    assert log.kept_step == SIZE.kept_step == 3
    assert log.scalars["train/loss"].steps.tolist() == [1, 2, 3, 4]
    assert log.metrics["objective"]["metric"] == "val/accuracy"
    assert log.data_report["max_length"] == 32
    assert log.setting("trainer.gradient_clip_val") == 1.0
    assert log.config["callbacks"]["best"]["dirpath"].startswith("${hydra:")
    assert log.overrides[0] == "data=files"
    for snapshot in (log.validation, log.representations, log.attention, log.top_losses):
        assert (snapshot.step, snapshot.is_kept) == (3, True)
    assert log.damaged == ()
    (tmp_path / "metrics.json").unlink()
    log = read_run(tmp_path)
    assert (log.metrics, log.kept_step, log.last_step) == (None, None, 4)
    assert (log.validation.step, log.validation.is_kept) == (4, False)


@pytest.mark.parametrize("name", ["metrics.json", ".hydra/overrides.yaml", "monitor/attention_3.npz"])
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path, name):
    folder = write_run(tmp_path, SIZE)
    (folder / name).write_text("{ [")
    log = read_run(folder)
    (sentence,) = log.damaged
    assert sentence.startswith(f"{name} can't be read")
    assert log.scalars


@pytest.mark.parametrize(("name", "content"), [("metrics.json", "[]"), (".hydra/config.yaml", "- a")])
def test_a_file_of_another_form_is_named(tmp_path, name, content):
    folder = write_run(tmp_path, SIZE)
    (folder / name).write_text(content)
    assert read_run(folder).damaged[0].startswith(f"{name} isn't a")


def test_what_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(ConfigError, match=rf"run={tmp_path}/{name}: no such folder"):
            read_run(tmp_path / name)
    with pytest.raises(ConfigError, match=rf"run={tmp_path}: holds no logged data"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["metrics.json", "data_report.json"])
def test_one_file_is_enough(tmp_path, name):
    write_json(tmp_path / name, {})
    assert read_run(tmp_path).folder == tmp_path


def test_what_is_not_there_is_named():
    log = RunLog(folder=None, config={"trainer": {"precision": 16}})
    with pytest.raises(NotLogged, match="no val/loss was logged"):
        log.series("val/loss")
    assert log.setting("trainer.precision") == 16
    assert log.setting("trainer.precision.other") is None
    assert log.setting("monitor.confidence.num_bins") is None
