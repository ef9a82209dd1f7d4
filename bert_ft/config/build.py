"""From a checked configuration to the objects of a run. The only caller of ``hydra.utils.instantiate``."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from bert_ft.data.prepare import PreparedData, prepare
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError, UserError
from bert_ft.models.classifier import Classifier
from bert_ft.models.compilation import compile_encoder
from bert_ft.models.encoder import EncoderSpec, max_positions
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.training.data_module import TextDataModule
from bert_ft.training.frozen_cache import FrozenStates
from bert_ft.training.module import ClassificationModule
from bert_ft.training.plan import check_plan, plan_of
from bert_ft.training.precision import Precision, effective_precision
from bert_ft.training.run import TrainingRun, write_json
from bert_ft.training.summary import print_data_report
from bert_ft.training.vocabulary import train_used_rows_only

# What a configuration file may construct: a file from a stranger can't run os.system.
EXECUTION_WHITELIST = [
    "bert_ft.*",
    "lightning.pytorch.*",
    "torch.nn.*",
    "torch.optim.*",
    "torchmetrics.*",
]

log = logging.getLogger(__name__)


def build(node: Any, **arguments: Any) -> Any:
    """``hydra.utils.instantiate`` within the whitelist; lists and mappings arrive as Python's own.

    Raises:
        ConfigError: the constructor refuses its arguments.
    """
    try:
        return instantiate(node, _execution_whitelist_=EXECUTION_WHITELIST, _convert_="all", **arguments)
    except UserError:
        raise
    except (TypeError, ValueError, ImportError, InstantiationException, MisconfigurationException) as error:
        raise ConfigError(f"{node._target_}: {error}") from error


def build_training(config: DictConfig) -> TrainingRun:
    """The main job, checked and ready to run; the data report is printed and written at the end.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    _quieten()
    folder = _output_folder()
    _check_folder(folder, config.resume_from)
    precision = _precision(config)
    # light and quick to refuse what it can't use, so before the data
    loss, optimizer, schedule = build(config.loss), _optimizer(config), build(config.schedule)
    trainer = build_trainer(config, precision)
    encoder: EncoderSpec = build(config.encoder)
    max_length = _max_length(config, max_positions(encoder.load_config()))
    tokenizer = load_tokenizer(encoder.resolve(), encoder.revision)
    data = _prepare(config, tokenizer, max_length)
    plan = plan_of(trainer, len(data.splits["train"]), config.data.batch_size)
    check_plan(trainer, plan, schedule, len(data.splits["validation"]))
    seed_everything(config.seed, workers=True, verbose=False)
    classifier = build(config.model)(encoder, data.labels.names)
    train_used_rows_only(
        classifier.encoder, data.splits["train"], tokenizer, optimizer, trainer.strategy.root_device
    )
    frozen_states = _frozen_states(encoder, classifier, data, config.data.max_tokens)
    if config.trainer.compile:
        compile_encoder(classifier.encoder)
    if trainer.is_global_zero:
        _report_data(data, folder)
        if precision.notice:
            log.warning(precision.notice)
    return TrainingRun(
        module=ClassificationModule(
            classifier,
            loss=loss,
            optimizer=optimizer,
            schedule=schedule,
            max_tokens=config.data.max_tokens,
            frozen_states=frozen_states,
        ),
        data=TextDataModule(
            data,
            batch_size=config.data.batch_size,
            eval_batch_size=config.data.eval_batch_size,
            max_tokens=config.data.max_tokens,
            seed=config.seed,
            num_workers=config.data.num_workers,
        ),
        trainer=trainer,
        tokenizer=tokenizer,
        folder=folder,
        metric=config.objective.metric,
        max_length=max_length,
        seed=config.seed,
        precision=precision,
        resume_from=config.resume_from,
    )


def build_trainer(config: DictConfig, precision: Precision) -> Trainer:
    """Lightning's Trainer with the configured callbacks and loggers; a ``null`` one is left out.

    So is a callback that has nothing to write to: Lightning refuses those.
    """
    loggers: list[Logger] = [build(node) for node in config.logger.values() if node is not None]
    callbacks: list[Callback] = [build(node) for node in config.callbacks.values() if node is not None]
    useless: tuple[type[Callback], ...] = () if loggers else (LearningRateMonitor,)
    if not config.trainer.enable_progress_bar:
        useless += (ProgressBar,)
    return build(
        OmegaConf.masked_copy(config.trainer, [name for name in config.trainer if name != "compile"]),
        precision=precision.effective,
        callbacks=[callback for callback in callbacks if not isinstance(callback, useless)],
        logger=loggers or False,
        default_root_dir=str(_output_folder()),
        use_distributed_sampler=False,  # our samplers divide the rows among the ranks themselves
    )


def _optimizer(config: DictConfig) -> LayerwiseOptimizer:
    settings = config.optimizer
    return LayerwiseOptimizer(
        algorithm=build(settings.algorithm),
        lr=settings.lr,
        layer_decay=settings.layer_decay,
        weight_decay=settings.weight_decay,
        head_lr=settings.head_lr,
    )


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
