"""The head of a checkpoint that was fine-tuned before: kept for the same labels (``model.keep_head=true``), else left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PretrainedConfig

from bert_ft import layout
from bert_ft.data.model_config import read_config
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.specification import read_specification

log = logging.getLogger(__name__)

OFF = "set model.keep_head=false for a new head"


def keep_residual_head(classifier: Any, encoder: EncoderSpec, entries: Mapping[str, Any]) -> None:
    """Load the saved pooling and head of ``model=bert_residual`` into a classifier of the same build.

    Args:
        classifier: a ``ResidualClassifier``; its ``architecture`` says how it is built.
        encoder: the encoder, from a saved folder.
        entries: the task's ``config_entries``.

    Raises:
        ConfigError: there is no such head, its architecture differs, or its labels do.
    """
    where = f"model.keep_head=true: encoder.name_or_path={encoder.name_or_path}"
    specification = _specification(encoder)
    if specification is None:
        raise ConfigError(
            f"{where} has no {layout.SPECIFICATION_FILE}; give the folder `model` of a finished run, or {OFF}"
        )
    if specification["model"] != "bert_residual":
        raise ConfigError(
            f"{where} has the head of model={specification['model']}; choose that model, or {OFF}"
        )
    check_window_pooling(classifier, encoder)
    for name, value in classifier.architecture.items():
        saved = specification["architecture"].get(name)
        if name not in ("dropout", "window_pooling") and saved != value:
            key = f"model.head.{name}" if name == "hidden_sizes" else f"model.{name}"
            raise ConfigError(f"{key}={value}: {where} has a head with {saved}; set it to that, or {OFF}")
    order = order_of_labels(encoder, entries)
    state = load_file(Path(encoder.resolve()) / layout.WEIGHTS_FILE)
    parts = ["head", "pooling"]
    if "window_pooling" in specification["architecture"]:
        parts.append("window_pooling")
    for part in parts:
        own = {
            name.removeprefix(f"{part}."): value
            for name, value in state.items()
            if name.startswith(f"{part}.")
        }
        try:
            getattr(classifier, part).load_state_dict(own)
        except RuntimeError as error:
            raise ConfigError(f"{where}: its {part} doesn't fit: {error}; {OFF}") from error
    reorder_labels(classifier.head, order)


def check_window_pooling(classifier: Any, encoder: EncoderSpec) -> None:
    """Refuse a kept head that read texts whose windows were pooled by something else than their mean.

    Raises:
        ConfigError: names the setting that the head needs.
    """
    saved = (_specification(encoder) or {}).get("architecture", {}).get("window_pooling", "mean")
    found = classifier.architecture.get("window_pooling", "mean")
    if saved not in ("mean", found):
        raise ConfigError(
            f"model.window_pooling={found}: model.keep_head=true: encoder.name_or_path={encoder.name_or_path} has a head for "
            f"windows pooled by {saved}; set data.long_texts=windows model.window_pooling={saved}, or {OFF}"
        )


def order_of_labels(encoder: EncoderSpec, entries: Mapping[str, Any]) -> list[int]:
    """Return the index of each of the data's labels in the checkpoint's head, by name.

    Raises:
        ConfigError: the labels differ, or belong to another kind of task.
    """
    where = f"model.keep_head=true: the head of encoder.name_or_path={encoder.name_or_path}"
    config = _own_config(encoder)
    saved, wanted = _labels(config), list(entries["id2label"].values())
    if sorted(saved) != sorted(wanted):
        raise ConfigError(f"{where} knows {_shown(saved)}, but the data has {_shown(wanted)}; {OFF}")
    kind = getattr(config, "problem_type", None)
    if kind is not None and kind != entries["problem_type"]:
        raise ConfigError(f"{where} is for {kind}, but the task is {entries['problem_type']}; {OFF}")
    return [saved.index(name) for name in wanted]


def reorder_labels(head: nn.Module, order: Sequence[int]) -> None:
    """Put the outputs of the head's last linear layer in another order.

    Raises:
        ConfigError: it has none with one output per label.
    """
    if list(order) == sorted(order):
        return
    last = [
        module
        for module in head.modules()
        if isinstance(module, nn.Linear) and module.out_features == len(order)
    ]
    if not last:
        raise ConfigError(
            f"model.keep_head=true: the data has the labels in another order, and {type(head).__name__} has no linear layer "
            f"to reorder; {OFF}"
        )
    with torch.no_grad():
        for parameter in (last[-1].weight, last[-1].bias):
            if parameter is not None:
                parameter.copy_(parameter[torch.tensor(order)])


def say_left_out(encoder: EncoderSpec, *, residual: bool = False) -> None:
    """Log that a head isn't used; for ``model=bert_residual``, only if the folder has one."""
    specification = _specification(encoder)
    if residual and (specification is None or specification["model"] != "bert_residual"):
        return
    log.info(
        "encoder.name_or_path=%s: its head (%s) isn't used, the new one starts at random; "
        "model.keep_head=true keeps it if the labels are the same",
        encoder.name_or_path,
        _shown(_labels(_own_config(encoder))),
    )


def _specification(encoder: EncoderSpec) -> dict[str, Any] | None:
    folder = Path(encoder.resolve())
    return read_specification(folder) if (folder / layout.SPECIFICATION_FILE).is_file() else None


def _own_config(encoder: EncoderSpec) -> PretrainedConfig:
    return read_config(encoder.resolve(), encoder.revision)


def _labels(config: PretrainedConfig) -> list[str]:
    names: dict[Any, Any] = dict(config.id2label or {})
    return [str(names[index]) for index in range(len(names))]


def _shown(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:5])
    return f"{len(labels)} labels: {shown}{', …' if len(labels) > 5 else ''}"
