"""Check callbacks against what a run logs: names of values, their direction, and names of checkpoint files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bert_ft import layout
from bert_ft.trust import TARGET

KNOWN = ("bert_ft.", "lightning.")  # callbacks of these packages log no validation values
WATCHERS = ("Checkpoint", "EarlyStopping")  # classes whose default `mode` is `min`
PRETRAINING_MODES = {
    "mlm_weight": {"loss_mlm": "min", layout.PERPLEXITY: "min", layout.MASKED_ACCURACY: "max"},
    "contrastive_weight": {"loss_contrastive": "min", layout.ALIGNMENT: "min", layout.UNIFORMITY: "min"},
}


def callback_problems(get: Callable[[str], Any], modes: Mapping[str, str | None] | None) -> Iterator[str]:
    """Yield one sentence per problem.

    Args:
        get: returns a value, or None if the key is absent or already reported.
        modes: logged validation value → ``max``, ``min``, or ``None`` if the user must choose; ``None`` = unknown.
    """
    if modes is not None and (metric := get("objective.metric")) in modes:
        modes = {**modes, metric: modes[metric] or get("objective.mode")}
    yield from _of_stage("", get, modes)
    weights = [name for name in PRETRAINING_MODES if get(f"pretrain.{name}")]
    logged = {"loss": "min"} | {k: v for name in weights for k, v in PRETRAINING_MODES[name].items()}
    yield from _of_stage("pretrain.", get, {f"{layout.VAL}{name}": mode for name, mode in logged.items()})


def _of_stage(
    prefix: str, get: Callable[[str], Any], modes: Mapping[str, str | None] | None
) -> Iterator[str]:
    callbacks = get(f"{prefix}callbacks")
    if not isinstance(callbacks, DictConfig):
        return
    nodes = {
        f"{prefix}callbacks.{name}": node
        for name in map(str, callbacks)
        if isinstance(node := get(f"{prefix}callbacks.{name}"), DictConfig) and TARGET in node
    }
    if not all(str(node[TARGET]).startswith(KNOWN) for node in nodes.values()):
        modes = None  # the dry run sees what a user's class logs
    for key, node in nodes.items():
        yield from _monitor(
            key, node, get, modes, is_validated=get(f"{prefix}trainer.limit_val_batches") != 0
        )
    yield from _same_file(nodes, get)


def _monitor(
    key: str,
    node: DictConfig,
    get: Callable[[str], Any],
    modes: Mapping[str, str | None] | None,
    *,
    is_validated: bool,
) -> Iterator[str]:
    monitor = get(f"{key}.monitor")
    if not isinstance(monitor, str):
        return
    if not is_validated and monitor.startswith(layout.VAL):
        yield f"{key}.monitor={monitor}: nothing is validated with trainer.limit_val_batches=0; raise it, or set {key}=null"
        return
    if modes is None or (key == "callbacks.best_checkpoint" and monitor != get("objective.metric")):
        return  # reported elsewhere
    if get(f"{key}.strict") is False:  # it may be logged only sometimes
        return
    if monitor not in modes and not monitor.startswith(layout.TRAIN):
        if monitor != get("objective.metric"):  # which is reported itself
            yield f"{key}.monitor={monitor}: {layout.not_logged(monitor, modes)}"
        return
    direction = modes.get(monitor) or ("min" if monitor.startswith(layout.TRAIN_LOSS) else None)
    mode = get(f"{key}.mode") or ("min" if str(node[TARGET]).endswith(WATCHERS) else None)
    is_said = monitor == get("objective.metric") and mode == get("objective.mode")  # of the objective
    if mode and direction and mode != direction and not is_said:
        yield f"{key}.mode={mode}: {layout.wrong_mode(monitor, direction)}"


def _same_file(nodes: Mapping[str, DictConfig], get: Callable[[str], Any]) -> Iterator[str]:
    seen: dict[Path, str] = {}
    for key in nodes:
        folder, name = get(f"{key}.dirpath"), get(f"{key}.filename")
        if not name or "{" in name or get(f"{key}.save_top_k") == 0:
            continue
        path = Path(folder or "", name)
        if path in seen:
            yield f"{key}.filename={name}: {seen[path]} writes to the same file; give one of them another name"
        seen.setdefault(path, key)
