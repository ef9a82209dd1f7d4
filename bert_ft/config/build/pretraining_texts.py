"""Read the texts of the pre-training stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

from bert_ft.config.build.data import TextInputs, loaded_splits, preparation
from bert_ft.config.build.task import build_task
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.dialect import DialectSettings
from bert_ft.data.long_texts import CUT
from bert_ft.data.prepare import is_labelled, prepare, tokenized, without_copies
from bert_ft.data.pretraining_texts import PretrainingTexts, pretraining_texts
from bert_ft.data.sources import read_unlabelled
from bert_ft.errors import ConfigError
from bert_ft.tasks.task import Task

Splits = Mapping[str, TokenizedSplit]


def texts_of_stage(config: DictConfig, inputs: TextInputs, splits: Splits) -> PretrainingTexts:
    """Return the texts of ``data.unlabeled_file``, or the training texts, without those of evaluation splits."""
    data, tokenizer, max_length = config.data, inputs.tokenizer, inputs.max_length
    source = splits["train"]
    loses_none = data.long_texts != CUT or data.unlabeled_file is not None or source.labels is None
    if data.unlabeled_file is not None:
        columns = (data.get("text_column") or "text", data.get("text_pair_column"))
        settings = DialectSettings.of(data).of_unlabeled(Path(data.unlabeled_file))
        raw = read_unlabelled(data.unlabeled_file, *columns, cache_dir=data.cache_dir, settings=settings)
        source = tokenized("unlabelled", raw, tokenizer, max_length, data.cache_dir)
        if data.deduplicate:
            source = without_copies(source)
    return pretraining_texts(
        source,
        [split for name, split in splits.items() if name != "train"],
        held_out_ratio=config.pretrain.held_out_ratio,
        seed=config.seed,
        max_length=max_length,
        tokenizer=tokenizer,
        include_evaluation_texts=config.pretrain.include_evaluation_texts,
        compares=config.pretrain.contrastive_weight > 0,
        cut_into_pieces=loses_none,
        cache_dir=data.cache_dir,
    )


def splits_without_fine_tuning(config: DictConfig, inputs: TextInputs) -> tuple[Splits, list[str], Task]:
    """Return the splits that fine-tuning would have, notes on them, and the task fitted to their labels, so that its evaluation rows stay unseen.

    Unlabeled texts are all used for training.

    Raises:
        ConfigError: ``pretrain.supervised`` is set, but there are no labels.
    """
    tokenizer, max_length = inputs.tokenizer, inputs.max_length
    node = config.data.source
    is_unlabelled = "label_column" in node and node.label_column is None
    task = build_task(config)
    loaded = loaded_splits(config, task)
    if not is_unlabelled and is_labelled(loaded.splits["train"]):
        data = prepare(loaded, tokenizer, **preparation(config, task, max_length))
        return data.splits, data.notes, cast(Task, data.task)
    if config.pretrain.supervised:
        raise ConfigError(
            f"pretrain.supervised=true: {loaded.splits['train'].origin} has no labels; set it to false"
        )
    splits = {
        name: tokenized(name, raw, tokenizer, max_length, config.data.cache_dir)
        for name, raw in loaded.splits.items()
    }
    if config.data.deduplicate:
        splits = {name: without_copies(split) for name, split in splits.items()}
    return splits, loaded.notes, task
