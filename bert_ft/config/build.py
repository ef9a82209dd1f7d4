"""From a checked configuration to the objects of a run. The only caller of ``hydra.utils.instantiate``."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import execution_whitelist, instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchmetrics import Metric

from bert_ft.data.augmentation import Augmentation, AugmentedSplit
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.prepare import PreparedData, prepare
from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.errors import ConfigError, UserError
from bert_ft.models.classifier import Classifier
from bert_ft.models.compilation import compile_encoder
from bert_ft.models.encoder import EncoderSpec, max_positions, num_encoder_layers
from bert_ft.nn.losses import balanced_class_weights
from bert_ft.optim.groups import group_table
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.environment import environment
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.module import ClassificationModule
from bert_ft.training.objective import LossTerms, Objective
from bert_ft.training.plan import check_plan, plan_of
from bert_ft.training.precision import Precision, effective_precision
from bert_ft.training.run import TrainingRun, write_json
from bert_ft.training.summary import print_data_report, print_groups
from bert_ft.training.vocabulary import train_used_rows_only
from bert_ft.trust import IN_CONFIGURATIONS

# of `trainer`, which are otherwise arguments of Lightning's
# at first there is no limit: how long a run will be its data says
OWN_TRAINER_KEYS = ("max_epochs", "at_least_steps", "compile")
# patterns that `trust` adds to what may be constructed, while a configuration is built
_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())

log = logging.getLogger(__name__)


def build(node: Any, **arguments: Any) -> Any:
    """``hydra.utils.instantiate`` of trusted classes (``bert_ft.trust``); lists and mappings arrive as Python's own.

    Raises:
        ConfigError: the constructor refuses its arguments.
    """
    try:
        with execution_whitelist([*IN_CONFIGURATIONS, *_trusted.get()]):
            return instantiate(node, _convert_="all", **arguments)
    except UserError:
        raise
    except (TypeError, ValueError, ImportError, InstantiationException, MisconfigurationException) as error:
        raise ConfigError(f"{node.get('_target_')}: {error}") from error


def build_training(config: DictConfig) -> TrainingRun:
    """The main job, checked and ready to run; the data report is printed and written at the end.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    token = _trusted.set(tuple(config.trust))
    try:
        return _build_training(config)
    finally:
        _trusted.reset(token)


def read_inputs(config: DictConfig) -> None:
    """Read the encoder and the data of the main job once: it leaves tokenized data in the cache.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    token = _trusted.set(tuple(config.trust))
    try:
        _quieten()
        encoder, tokenizer, max_length = _text_settings(config)
        encoder.load()
        _prepare(config, tokenizer, max_length)
    finally:
        _trusted.reset(token)


def _build_training(config: DictConfig) -> TrainingRun:
    _quieten()
    folder = _output_folder()
    _check_folder(folder, config.resume_from)
    precision = _precision(config)
    # light and quick to refuse what it can't use, so before the data
    _loss(config)
    schedule, optimizer = build(config.schedule), _optimizer(config)
    weight_decay_schedule = build(config.weight_decay_schedule)
    augmentation = build(config.data.augmentation) or None
    averaging = build(config.averaging) if config.get("averaging") else None
    if averaging is not None:
        schedule = averaging.schedule(schedule)
    trainer = build_trainer(config, precision, averaging)
    encoder, tokenizer, max_length = _text_settings(config)
    data = _prepare(config, tokenizer, max_length)
    length = (config.trainer.max_epochs, config.trainer.at_least_steps)
    plan = plan_of(trainer, len(data.splits["train"]), config.data.batch_size, *length)
    trainer.fit_loop.max_epochs = plan.epochs
    check_plan(trainer, plan, schedule, len(data.splits["validation"]))
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
        record = environment(trainer)
        record |= {"precision": {"requested": precision.requested, "effective": precision.effective}}
        write_json(folder / "environment.json", {**record, "seed": config.seed})
        if precision.notice:
            log.warning(precision.notice)
        if config.optimizer.show_groups:
            layers = num_encoder_layers(classifier.encoder)
            print_groups(group_table(optimizer.groups(classifier.named_parameters(), layers)))
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
        resume_from=config.resume_from,
        tests=config.test,
        settings=_settings(config),
    )


def build_trainer(config: DictConfig, precision: Precision, averaging: Callback | None = None) -> Trainer:
    """Lightning's Trainer with the configured callbacks and loggers; a ``null`` one is left out.

    So is a callback that has nothing to write to: Lightning refuses those.
    """
    loggers: list[Logger] = [build(node) for node in config.logger.values() if node is not None]
    callbacks: list[Callback] = [build(node) for node in config.callbacks.values() if node is not None]
    callbacks += [build(node) for node in config.monitor.values() if node is not None]
    if averaging is not None:
        callbacks.insert(0, averaging)  # before those that look at validated weights
    if config.get("unfreezing"):
        callbacks.append(build(config.unfreezing))
    useless: tuple[type[Callback], ...] = () if loggers else (LearningRateMonitor,)
    if not config.trainer.enable_progress_bar:
        useless += (ProgressBar,)
    return build(
        _without(config.trainer, OWN_TRAINER_KEYS),
        max_epochs=-1,
        precision=precision.effective,
        callbacks=[callback for callback in callbacks if not isinstance(callback, useless)],
        logger=loggers or False,
        default_root_dir=str(_output_folder()),
        use_distributed_sampler=False,  # our samplers divide the rows among the ranks themselves
    )


def _optimizer(config: DictConfig) -> LayerwiseOptimizer:
    settings = config.optimizer
    algorithm = build(settings.algorithm)
    try:  # its settings are refused here and not when training starts
        algorithm([torch.zeros(1, requires_grad=True)], lr=settings.lr)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"optimizer.algorithm._target_={settings.algorithm._target_}: {error}") from error
    return LayerwiseOptimizer(
        algorithm=algorithm,
        lr=settings.lr,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        head_lr=settings.head_lr,
    )


def _loss(config: DictConfig, labels: np.ndarray | None = None, names: Sequence[str] = ()) -> nn.Module:
    """The loss of the labels; without labels one to see whether the configuration gives one."""
    node = _without(config.loss, [field.name for field in fields(LossTerms)])
    weights = node.get("class_weights")
    if weights == "balanced":
        counts = [1] if labels is None else np.bincount(labels, minlength=len(names)).tolist()
        node["class_weights"] = balanced_class_weights(counts)
    elif weights is not None and names and len(weights) != len(names):
        raise ConfigError(
            f"loss.class_weights={weights}: {len(weights)} weights for the {len(names)} labels "
            f"{', '.join(names)}; give one for each, in this order"
        )
    loss = _built("loss", node, nn.Module)
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
        metrics[str(name)] = _built(f"metrics.{name}", node, Metric, **told)
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


def _built(key: str, node: Any, kind: type, **arguments: Any) -> Any:
    """As ``build``, and of that kind.

    Raises:
        ConfigError: it is of another.
    """
    result = build(node, **arguments)
    if not isinstance(result, kind):
        raise ConfigError(
            f"{key}._target_={node['_target_']}: gives a {type(result).__name__}, not a {kind.__name__}"
        )
    return result


def _without(node: DictConfig, names: Collection[str]) -> dict[str, Any]:
    """The other entries of a node, interpolations resolved: a part of it would lose what they point to."""
    entries = OmegaConf.to_container(node, resolve=True)
    assert isinstance(entries, dict)
    return {str(name): value for name, value in entries.items() if name not in names}


def _precision(config: DictConfig) -> Precision:
    accelerator = config.trainer.accelerator
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    return effective_precision(config.trainer.precision, on_cpu=on_cpu)


def _max_length(config: DictConfig, limit: int | None) -> int:
    wanted = config.data.max_length
    if wanted is None:
        if limit is None:
            raise ConfigError(
                "data.max_length=null: this encoder has no limit of its own; give a length in tokens"
            )
        return limit
    if limit is not None and wanted > limit:
        raise ConfigError(
            f"data.max_length={wanted}: encoder.name_or_path={config.encoder.name_or_path} has positions for "
            f"{limit} tokens; lower it"
        )
    return int(wanted)


def _text_settings(config: DictConfig) -> tuple[EncoderSpec, FastTokenizer, int]:
    """The encoder, its tokenizer and the length of the longest text in tokens."""
    encoder: EncoderSpec = build(config.encoder)
    max_length = _max_length(config, max_positions(encoder.load_config()))
    return encoder, load_tokenizer(encoder.resolve(), encoder.revision), max_length


def _prepare(config: DictConfig, tokenizer: Any, max_length: int) -> PreparedData:
    return prepare(
        build(config.data.source),
        tokenizer,
        max_length=max_length,
        seed=config.seed,
        validation_ratio=config.data.validation_ratio,
        test_ratio=config.data.test_ratio,
        deduplicate=config.data.deduplicate,
        cache_dir=config.data.cache_dir,
    )


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
            found[str(name)] = _without(value, ()) if isinstance(value, DictConfig) else value
    return found


def _report_data(data: PreparedData, folder: Path) -> None:
    print_data_report(data.report, data.notes)
    write_json(folder / "data_report.json", {**data.report.to_dict(), "notes": list(data.notes)})


def _check_folder(folder: Path, resume_from: str | None) -> None:
    if (folder / "metrics.json").exists():
        raise ConfigError(f"hydra.run.dir={folder}: holds a finished run already; give another folder")
    if resume_from is None:
        return
    # only there does the record of the best checkpoint so far go on
    own = Path(resume_from).absolute().parents[1]
    if own != folder.absolute():
        raise ConfigError(
            f"resume_from={resume_from}: a run is continued in its own folder; add hydra.run.dir={own}"
        )


def _output_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _quieten() -> None:
    """Lightning's remarks that don't concern a user of this package."""
    datasets.disable_progress_bars()
    for name in (
        "lightning.pytorch.utilities.rank_zero",
        "lightning.pytorch.accelerators",
        "lightning.fabric",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    # batches are cut from memory-mapped ids: workers would only cost
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # the folder of a run that is resumed; a finished one is refused in _check_folder
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # the data module's state has the position, which Lightning looks for in the loader
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch")
    # Lightning 2.6 calling torch by a name that torch 2.13 renames
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
