"""``config.json`` of an encoder, or of a saved folder that no transformers class can run.

An Auto class would load the encoder of such a folder, put a new head on it, and give random predictions. So its file has a model
type of its own, and the encoder's configuration is inside it, as in transformers' composite models: the encoder's own class
finds it there (``BertModel.from_pretrained(folder)``), and an Auto class refuses the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

CONFIG_FILE = "config.json"  # as transformers names it
OWN_TYPE = "bert_ft (load it with the package bert_ft)"  # transformers' refusal quotes it
ENCODER = "encoder"


def read_config(name_or_path: Path | str, revision: str | None = None, **changes: Any) -> PretrainedConfig:
    """Return the configuration of the encoder in a folder or on the hub.

    Raises:
        OSError: there is none.
        ValueError: transformers doesn't know its model type.
    """
    try:
        return AutoConfig.from_pretrained(name_or_path, revision=revision, **changes, trust_remote_code=False)
    except ValueError:
        settings, _ = PretrainedConfig.get_config_dict(name_or_path, revision=revision)
        if settings.get("model_type") != OWN_TYPE:
            raise
    own = settings[ENCODER]
    kind = type(AutoConfig.for_model(own["model_type"]))
    return kind.from_dict(own, name_or_path=str(name_or_path), **changes)


def write_own_config(folder: Path, config: PretrainedConfig, architecture: str) -> None:
    """Write the file of a folder that only this package can load; ``architecture`` is the name of the class."""
    content = {
        "model_type": OWN_TYPE,
        "architectures": [architecture],
        ENCODER: json.loads(config.to_json_string()),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
