import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from bert_ft.reporting.hparams import write_hparams

SETTINGS = {"optimizer.lr": 1e-4, "data.batch_size": 8, "flag": True, "sizes": [1, 2], "nothing": None}


def content(folder, tag: str):
    events = EventAccumulator(str(folder))
    events.Reload()
    return plugin_data_pb2.HParamsPluginData.FromString(events.SummaryMetadata(tag).plugin_data.content)


def test_settings_have_the_names_of_lightnings_own(tmp_path):
    write_hparams(tmp_path, SETTINGS, {}, "pruned")
    start = content(tmp_path, metadata.SESSION_START_INFO_TAG).session_start_info.hparams
    kinds = {name: value.WhichOneof("kind") for name, value in start.items()}
    assert kinds == {
        "optimizer/lr": "number_value",
        "data/batch_size": "number_value",
        "flag": "bool_value",
        "sizes": "string_value",
        "nothing": "string_value",
        "search/state": "string_value",
    }
    assert start["optimizer/lr"].number_value == 1e-4
    assert (start["sizes"].string_value, start["nothing"].string_value) == ("[1, 2]", "None")


@pytest.mark.parametrize(("state", "status"), [("complete", 1), ("failed", 2), ("lost", 2), ("pruned", 0)])
def test_the_state_is_tensorboards(tmp_path, state, status):
    write_hparams(tmp_path, {}, {}, state)
    assert content(tmp_path, metadata.SESSION_END_INFO_TAG).session_end_info.status == status


def test_values_are_scalars_at_their_step(tmp_path):
    write_hparams(tmp_path / "new/folder", {}, {"search/last_report": 0.5}, "pruned", step=40)
    events = EventAccumulator(str(tmp_path / "new/folder"))
    events.Reload()
    (event,) = events.Scalars("search/last_report")
    assert (event.step, event.value) == (40, 0.5)
