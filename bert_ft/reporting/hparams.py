"""A row in TensorBoard's table of hyperparameters, for a run that couldn't write its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

STATUS = {
    "complete": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "lost": api_pb2.STATUS_FAILURE,
    "pruned": api_pb2.STATUS_UNKNOWN,  # TensorBoard has no status for it
}


def write_hparams(
    folder: Path, settings: Mapping[str, Any], values: Mapping[str, float], state: str, step: int = 0
) -> None:
    """Add the run with these events in ``folder`` to the table.

    Torch's writer would load torch, which a search doesn't need.

    Args:
        folder: folder of the run's events.
        settings: key (``optimizer.lr``) → value; what is neither a number nor a bool is shown as text.
        values: tag → scalar at ``step``.
        state: one of ``STATUS``.
        step: optimizer steps done.
    """
    start = plugin_data_pb2.SessionStartInfo()
    for key, value in {**settings, "search.state": state}.items():
        _set(start.hparams[key.replace(".", "/")], value)
    end = plugin_data_pb2.SessionEndInfo(status=STATUS[state])
    infos = [
        _info(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
        _info(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
    ]
    scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    writer = EventFileWriter(str(folder), filename_suffix=".search")
    try:
        for value in (*infos, *scalars):
            writer.add_event(Event(summary=Summary(value=[value]), step=step))
    finally:
        writer.close()


def _info(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary.Value:
    data.version = metadata.PLUGIN_DATA_VERSION
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))


def _set(field: Any, value: Any) -> None:
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    else:
        field.string_value = str(value)
