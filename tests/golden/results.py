"""What a run has left in its folder, as plain values that can be compared."""

import csv
import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import optuna

NUM_LOSSES = 20
UNREPEATABLE = ("fit_seconds", "versions", "from_cache")  # of metrics.json


def run_results(folder: Path, root: Path) -> dict[str, Any]:
    """Return the first losses and what ``metrics.json`` says, of a run or a pre-training stage.

    Args:
        folder: of the run.
        root: the folder that all files of the case are in; the record doesn't name it.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"losses": first_losses(folder), "metrics": without_surroundings(metrics, root)}


def first_losses(folder: Path) -> dict[str, list[float]]:
    """Return the first values of each training loss: ``train/loss`` of every optimizer step, and its terms.

    The csv logger writes the float32 that was logged with all its digits.
    """
    (file,) = folder.glob("csv/version_*/metrics.csv")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in rows[0] if name.startswith("train/loss")]
    losses = {name: [float(row[name]) for row in rows if row[name]][:NUM_LOSSES] for name in names}
    if len(losses["train/loss"]) < NUM_LOSSES or not all(map(math.isfinite, losses["train/loss"])):
        raise ValueError(f"{file}: train/loss has not {NUM_LOSSES} finite values: {losses['train/loss']}")
    return losses


def without_surroundings(value: Any, root: Path) -> Any:
    """Return a record without times and versions, and with paths as seen from ``root``."""
    if isinstance(value, dict):
        return {
            name: without_surroundings(entry, root)
            for name, entry in value.items()
            if name not in UNREPEATABLE
        }
    if isinstance(value, list):
        return [without_surroundings(entry, root) for entry in value]
    return value.replace(f"{root}/", "") if isinstance(value, str) else value


def weights_digest(path: Path) -> str:
    """Return a SHA-256 over names, types, shapes and bytes of the tensors of a safetensors file, by name."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    data = memoryview(content)[8 + size :]
    digest = hashlib.sha256()
    for name in sorted(set(header) - {"__metadata__"}):
        tensor = header[name]
        start, end = tensor["data_offsets"]
        digest.update(json.dumps([name, tensor["dtype"], tensor["shape"]]).encode())
        digest.update(data[start:end])
    return digest.hexdigest()


def predictions(path: Path) -> list[tuple[str, float]]:
    """Return label and probability of each row of a file that ``bert_ft.predict`` wrote."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [(row["prediction"], float(row["probability"])) for row in csv.DictReader(lines)]


def trials(folder: Path) -> list[dict[str, Any]]:
    """Return state, values, reported values and parameters of each trial of the search in ``folder``, in order."""
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "reported": {str(step): value for step, value in trial.intermediate_values.items()},
            "parameters": trial.params,
        }
        for trial in study.get_trials()
    ]
