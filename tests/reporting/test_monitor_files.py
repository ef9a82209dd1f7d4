import json

import numpy as np
import pytest

from bert_ft.reporting.monitor_files import DamagedFileError, read_arrays, read_top_losses
from tests.reporting.synthetic import Size, write_json, write_monitor_files

SIZE = Size(num_rows=5)


@pytest.fixture
def monitor(tmp_path):
    for step in (9, 10, 80):  # 9 is after 80 by name
        write_monitor_files(tmp_path, SIZE, step)
    return tmp_path


@pytest.mark.parametrize(
    ("kept_step", "step", "is_kept"), [(10, 10, True), (9, 9, True), (50, 80, False), (None, 80, False)]
)
def test_the_kept_checkpoint_is_chosen_else_the_last(monitor, kept_step, step, is_kept):
    for kind in ("validation", "representations", "attention"):
        found = read_arrays(monitor, kind, kept_step)
        assert (found.step, found.is_kept) == (step, is_kept)
        with np.load(monitor / f"{kind}_{step}.npz") as expected:
            np.testing.assert_equal(found.content, dict(expected))
    losses = read_top_losses(monitor, kept_step)
    assert (losses.step, losses.is_kept) == (step, is_kept)
    assert losses.content == json.loads((monitor / f"top_losses_{step}.json").read_text())


def test_nothing_kept(tmp_path):
    assert read_arrays(tmp_path / "monitor", "validation", 1) is None
    assert read_top_losses(tmp_path / "monitor", 1) is None


def test_other_files_are_skipped(monitor):
    for name in ("validation_x.npz", "validation_99.npz.tmp", "my_validation_99.npz"):
        (monitor / name).touch()
    assert read_arrays(monitor, "validation", None).step == 80


@pytest.mark.parametrize("num_bytes", [0, 10, 300])
def test_a_damaged_file_is_named(monitor, num_bytes):
    path = monitor / "validation_80.npz"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(DamagedFileError, match=r"monitor/validation_80\.npz can't be read"):
        read_arrays(monitor, "validation", None)
    np.savez(path, logits=np.array([{}], dtype=object))  # a pickle is refused
    with pytest.raises(DamagedFileError, match=r"monitor/validation_80\.npz can't be read"):
        read_arrays(monitor, "validation", None)


def test_a_missing_array_is_named(monitor):
    np.savez(monitor / "representations_81.npz", vectors=np.zeros((2, 2)), labels=np.zeros(2))
    with pytest.raises(DamagedFileError, match=r"representations_81\.npz lacks names, predictions, rows"):
        read_arrays(monitor, "representations", None)


@pytest.mark.parametrize("content", [{}, [{"row": 1}], [1]])
def test_top_losses_of_another_form_are_named(monitor, content):
    write_json(monitor / "top_losses_81.json", content)
    with pytest.raises(DamagedFileError, match=r"monitor/top_losses_81\.json isn't a list of label, loss"):
        read_top_losses(monitor, None)
    (monitor / "top_losses_81.json").write_text("[{")
    with pytest.raises(DamagedFileError, match=r"monitor/top_losses_81\.json can't be read"):
        read_top_losses(monitor, None)
