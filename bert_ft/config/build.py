"""From a checked configuration to the objects of a run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn
from torchmetrics import Metric

from bert_ft.config.build_data import length_limit_of, prepared_data
from bert_ft.config.build_optimizer import build_optimizer
from bert_ft.config.build_pretraining import build_stage
from bert_ft.config.build_trainer import precision_of, quieten, trainer_with
from bert_ft.config.check_encoder import check_encoder
from bert_ft.config.instantiate import build, build_kind, entries, trusting
from bert_ft.config.run_folder import check_folder, is_of_pretraining
from bert_ft.data.augmentation import Augmentation, AugmentedSplit
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.prepare import PreparedData
from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.models.classifier import Classifier
from bert_ft.models.compilation import compile_encoder
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoder_config import max_positions
from bert_ft.models.encoding import num_encoder_layers
from bert_ft.models.layer_names import layer_names
from bert_ft.nn.losses import balanced_class_weights
from bert_ft.optim.groups import group_table
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.environment import environment
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.json_file import write_json
from bert_ft.training.module import ClassificationModule
from bert_ft.training.objective import LossTerms, Objective
from bert_ft.training.plan import check_plan, plan_of
from bert_ft.training.precision import Precision
from bert_ft.training.run import TrainingRun
from bert_ft.training.summary import print_data_report, print_groups
from bert_ft.training.vocabulary import train_used_rows_only

log = logging.getLogger(__name__)


def build_training(config: DictConfig) -> TrainingRun:
    """The main job, checked and ready to run; the data report is printed and written at the end.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        return _build_training(config)


def read_inputs(config: DictConfig) -> None:
    """Read the encoder and the data of the main job once: it leaves tokenized data in the cache.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        encoder, tokenizer, max_length = _text_settings(config)
        encoder.load()
        prepared_data(config, tokenizer, max_length)


def _build_training(config: DictConfig) -> TrainingRun:
    quieten()
    folder = output_folder()
    check_folder(folder, config.resume_from)
    precision = precision_of(config.trainer)
    # light and quick to refuse what it can't use, so before the data
    _loss(config)
    schedule, optimizer = build(config.schedule), build_optimizer(config.optimizer)
    weight_decay_schedule = build(config.weight_decay_schedule)
    augmentation = build(config.data.augmentation) or None
    averaging = build(config.averaging) if config.get("averaging") else None
    if averaging is not None:
        schedule = averaging.schedule(schedule)
    trainer = build_trainer(config, precision, averaging)
    encoder, tokenizer, max_length = _text_settings(config)
    check_encoder(config, encoder)
    data = prepared_data(config, tokenizer, max_length)
    length = (config.trainer.max_epochs, config.trainer.at_least_steps)
    plan = plan_of(trainer, len(data.splits["train"]), config.data.batch_size, *length)
    trainer.fit_loop.max_epochs = plan.epochs
    check_plan(trainer, plan, schedule, len(data.splits["validation"]))
    pretraining = build_stage(config, encoder, tokenizer, data.splits, max_length, folder)
    seed_everything(config.seed, workers=True, verbose=False)
    loss = _loss(config, data.splits["train"].known_labels, data.labels.names)
    classifier = build(config.model)(encoder, data.labels.names, trust=tuple(config.trust))
    if augmentation is None or type(augmentation) is Augmentation:  # somebody's own may bring other tokens
        train_used_rows_only(
            classifier.encoder, data.splits["train"], tokenizer, optimizer, trainer.strategy.root_device
        )
    frozen_states = _frozen_states(encoder, classifier, data, config.data.max_tokens)
    if config.trainer.compile:
        compile_encoder(classifier.encoder)
    if trainer.is_global_zero:
        _report_data(data, folder)
        write_json(folder / "environment.json", environment(trainer, precision, config.seed))
        if precision.notice:
            log.warning(precision.notice)
        if config.optimizer.show_groups:
            layers = num_encoder_layers(classifier.encoder)
            names = layer_names(classifier.encoder)
            print_groups(group_table(optimizer.groups(classifier.named_parameters(), layers, names=names)))
    return TrainingRun(
        module=ClassificationModule(
            classifier,
            objective=Objective(loss, _terms(config)),
            optimizer=optimizer,
            schedule=schedule,
            weight_decay_schedule=weight_decay_schedule,
            max_tokens=config.data.max_tokens,
            frozen_states=frozen_states,
            metrics=_metrics(config, len(data.labels.names)),
        ),
        data=TextDataModule(
            data,
            batch_size=config.data.batch_size,
            eval_batch_size=config.data.eval_batch_size,
            max_tokens=config.data.max_tokens,
            seed=config.seed,
            num_workers=config.data.num_workers,
            augmented=_augmented(config, augmentation, data.splits["train"], tokenizer),
            tokenizer=tokenizer,
        ),
        trainer=trainer,
        tokenizer=tokenizer,
        folder=folder,
        metric=config.objective.metric,
        max_length=max_length,
        seed=config.seed,
        precision=precision,
        resume_from=None if is_of_pretraining(config.resume_from) else config.resume_from,
        tests=config.test,
        settings=_settings(config),
        pretraining=pretraining,
        reinit_layers=encoder.reinit_layers,
    )


def build_trainer(config: DictConfig, precision: Precision, averaging: Callback | None = None) -> Trainer:
    """Lightning's Trainer with the configured callbacks and loggers; a ``null`` one is left out."""
    loggers: list[Logger] = [build(node) for node in config.logger.values() if node is not None]
    callbacks: list[Callback] = [build(node) for node in config.callbacks.values() if node is not None]
    callbacks += [build(node) for node in config.monitor.values() if node is not None]
    if averaging is not None:
        callbacks.insert(0, averaging)  # before those that look at validated weights
    if config.get("unfreezing"):
        callbacks.append(build(config.unfreezing))
    return trainer_with(
        config.trainer, precision, callbacks=callbacks, loggers=loggers, folder=output_folder()
    )


def _loss(config: DictConfig, labels: np.ndarray | None = None, names: Sequence[str] = ()) -> nn.Module:
    """The loss of the labels; without labels one to see whether the configuration gives one."""
    node = entries(config.loss, without=[field.name for field in fields(LossTerms)])
    weights = node.get("class_weights")
    if weights == "balanced":
        counts = [1] if labels is None else np.bincount(labels, minlength=len(names)).tolist()
        node["class_weights"] = balanced_class_weights(counts)
    elif weights is not None and names and len(weights) != len(names):
        raise ConfigError(
            f"loss.class_weights={weights}: {len(weights)} weights for the {len(names)} labels "
            f"{', '.join(names)}; give one for each, in this order"
        )
    loss = build_kind("loss", node, nn.Module)
    if any(parameter.requires_grad for parameter in loss.parameters()):
        raise ConfigError(f"loss._target_={node['_target_']}: has parameters, which nothing would train")
    return loss


def _terms(config: DictConfig) -> LossTerms:
    return LossTerms(
        **{field.name: config.loss[field.name] for field in fields(LossTerms) if field.name in config.loss}
    )


def _metrics(config: DictConfig, num_labels: int) -> dict[str, Metric]:
    """The configured metrics, but for a ``null`` one; whichever takes ``num_classes`` is told."""
    metrics = {}
    for name, node in config.metrics.items():
        if node is None:
            continue
        constructor = build(node, _partial_=True).func
        takes = "num_classes" in inspect.signature(constructor).parameters and "num_classes" not in node
        told = {"num_classes": num_labels} if takes else {}
        metrics[str(name)] = build_kind(f"metrics.{name}", node, Metric, **told)
    return metrics


def _augmented(
    config: DictConfig, augmentation: Any, train: TokenizedSplit, tokenizer: FastTokenizer
) -> AugmentedSplit | None:
    if augmentation is None:
        return None
    if tokenizer.mask_token_id is None and config.data.augmentation.get("span_masking"):
        raise ConfigError(
            f"data.augmentation.span_masking={config.data.augmentation.span_masking}: the tokenizer of "
            f"{config.encoder.name_or_path} has no [MASK]; set it to 0"
        )
    # an unknown word is a word
    special = [token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id]
    return AugmentedSplit(train, augmentation, config.seed, special, tokenizer.mask_token_id)


def _text_settings(config: DictConfig) -> tuple[EncoderSpec, FastTokenizer, int]:
    """The encoder, its tokenizer and the length of the longest text in tokens."""
    encoder: EncoderSpec = build(config.encoder)
    max_length = length_limit_of(config, max_positions(encoder.load_config()))
    tokenizer = load_tokenizer(encoder.resolve(), encoder.revision, config.data.truncation_side)
    return encoder, tokenizer, max_length


def _frozen_states(
    spec: EncoderSpec, classifier: Classifier, data: PreparedData, max_tokens: int
) -> FrozenStates | None:
    if not spec.cache_frozen or spec.freeze_layers is None:
        return None
    lengths = {name: split.lengths for name, split in data.splits.items()}
    return FrozenStates(classifier.encoder, lengths, num_layers=spec.freeze_layers, max_tokens=max_tokens)


def _settings(config: DictConfig) -> dict[str, Any]:
    """What distinguishes runs: all but callbacks, loggers and Hydra's part."""

    found = {}
    for name, value in config.items():
        if name not in ("callbacks", "monitor", "logger", "hydra"):
            # one by one: Hydra's part can't be resolved as a whole
            found[str(name)] = entries(value, without=()) if isinstance(value, DictConfig) else value
    return found


def output_folder() -> Path:
    """The run's, where Hydra has put it."""
    return Path(HydraConfig.get().runtime.output_dir)


def _report_data(data: PreparedData, folder: Path) -> None:
    print_data_report(data.report, data.notes)
    write_json(folder / "data_report.json", {**data.report.to_dict(), "notes": list(data.notes)})
