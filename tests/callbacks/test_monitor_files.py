"""Files of monitors."""

from bert_ft.callbacks.monitor_files import drop_later


def test_files_of_later_steps_go(tmp_path):
    kept = [
        "validation_5.npz",
        "validation_9.npz",
        "validation_10.npz.tmp",
        "top_losses_12.json",
        "validation_x.npz",
    ]
    gone = ["validation_10.npz", "validation_100.npz"]
    for name in [*kept, *gone]:
        (tmp_path / name).touch()
    drop_later(tmp_path, "validation", 9)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_folder_that_is_not_there(tmp_path):
    drop_later(tmp_path / "none", "validation", 9)
