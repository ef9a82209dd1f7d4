"""From a checked configuration to the objects of the pre-training stage, before fine-tuning or alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer, seed_everything
from omegaconf import DictConfig

from bert_ft.config.build_data import length_limit_of, preparation
from bert_ft.config.build_optimizer import build_optimizer
from bert_ft.config.build_trainer import precision_of, quieten, trainer_with
from bert_ft.config.check_encoder import check_encoder_of_stage
from bert_ft.config.instantiate import build, entries, own_code, trusting
from bert_ft.config.rules import STEP_MONITORS
from bert_ft.config.run_folder import PRETRAINING, check_folder, is_of_pretraining
from bert_ft.data.arrow_cache import cache_folder
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.masking import MaskedSplit, Masking, MaskingVocabulary
from bert_ft.data.prepare import is_labelled, prepare, tokenized, without_copies
from bert_ft.data.pretraining_batches import PretrainingSplit
from bert_ft.data.pretraining_texts import PretrainingTexts, pretraining_texts
from bert_ft.data.sources import read_unlabelled
from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoder_config import has_dropout, max_positions
from bert_ft.models.pretrainer import Pretrainer, build_pretrainer
from bert_ft.optim.groups import group_table
from bert_ft.training.environment import environment
from bert_ft.training.json_file import write_json
from bert_ft.training.plan import check_plan, plan_of
from bert_ft.training.precision import Precision
from bert_ft.training.pretraining_data import PretrainingDataModule
from bert_ft.training.pretraining_module import PretrainingModule
from bert_ft.training.pretraining_objective import PretrainingObjective
from bert_ft.training.pretraining_run import PretrainingRun
from bert_ft.training.summary import print_groups

# of `pretrain`, those that change how the stage is watched or kept, and not its result
_ASIDE = ("num_cached",)
_TRAINER_ASIDE = ("log_every_n_steps", "profiler", "enable_progress_bar", "enable_model_summary")

log = logging.getLogger(__name__)


def build_pretraining_alone(config: DictConfig) -> PretrainingRun:
    """The stage as a run of its own, in its own folder.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    with trusting(config.trust):
        quieten()
        folder = _output_folder()
        check_folder(folder, config.resume_from)
        spec: EncoderSpec = build(config.encoder)
        max_length = length_limit_of(config, max_positions(spec.load_config()))
        check_encoder_of_stage(config, spec)
        tokenizer = load_tokenizer(spec.resolve(), spec.revision, config.data.truncation_side)
        splits, notes = _splits(config, tokenizer, max_length)
        run = build_pretraining(
            config, spec, tokenizer, splits, max_length, folder=folder, resume_from=config.resume_from
        )
        if run.trainer.is_global_zero:
            write_json(folder / "environment.json", environment(run.trainer, run.precision, config.seed))
            for note in notes:
                log.info(note)
        return run


def build_pretraining(
    config: DictConfig,
    spec: EncoderSpec,
    tokenizer: FastTokenizer,
    splits: Mapping[str, TokenizedSplit],
    max_length: int,
    *,
    folder: Path,
    resume_from: str | None = None,
) -> PretrainingRun:
    """The stage of ``config.pretrain``, checked and ready to run.

    Args:
        config: of the whole run.
        spec: the encoder; how it is frozen, and what of it is drawn anew, is fine-tuning's.
        tokenizer: the encoder's.
        splits: of the data: the training texts, and those that the stage mustn't see.
        max_length: in tokens.
        folder: for its logs.
        resume_from: a checkpoint of this stage.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
    """
    settings = config.pretrain
    with _in_pretrain():
        objective = PretrainingObjective(**_named(settings, PretrainingObjective))
        masking = build(settings.masking)
        schedule, optimizer = build(settings.schedule), build_optimizer(settings.optimizer)
    precision = precision_of(settings.trainer)
    trainer = _trainer(config, precision, folder)
    texts = _texts(config, tokenizer, splits, max_length)
    plan = plan_of(
        trainer,
        len(texts.train),
        settings.batch_size,
        settings.trainer.max_epochs,
        settings.trainer.at_least_steps,
    )
    trainer.fit_loop.max_epochs = plan.epochs
    with _in_pretrain():
        check_plan(trainer, plan, schedule, len(texts.held_out))
    seed_everything(config.seed, workers=True, verbose=False)
    pretrainer, head_is_fresh = _pretrainer(config, spec, objective)
    module = PretrainingModule(
        pretrainer,
        objective=objective,
        optimizer=optimizer,
        schedule=schedule,
        max_tokens=config.data.max_tokens,
        head_is_fresh=head_is_fresh,
    )
    if trainer.is_global_zero:
        if precision.notice:
            log.warning("pretrain.%s", precision.notice)
        if settings.optimizer.show_groups:
            print_groups(group_table(module.parameter_groups()))
    vocabulary = MaskingVocabulary.of(tokenizer) if objective.mlm_weight else None
    return PretrainingRun(
        module=module,
        data=PretrainingDataModule(
            _with_masks(texts.train, masking, vocabulary, config.seed),
            _with_masks(texts.held_out, replace(masking, at_least_one=True), vocabulary, config.seed),
            batch_size=settings.batch_size,
            seed=config.seed,
            num_workers=config.data.num_workers,
        ),
        trainer=trainer,
        tokenizer=tokenizer,
        folder=folder,
        texts=texts,
        seed=config.seed,
        precision=precision,
        resume_from=resume_from,
        cache=cache_folder(config.data.cache_dir) / PRETRAINING if settings.num_cached else None,
        num_cached=settings.num_cached,
        settings=_settings(config),
    )


def build_stage(
    config: DictConfig,
    spec: EncoderSpec,
    tokenizer: FastTokenizer,
    splits: Mapping[str, TokenizedSplit],
    max_length: int,
    folder: Path,
) -> PretrainingRun | None:
    """The stage before fine-tuning, in a folder inside the run's; ``None`` with ``pretrain=none``."""
    if not config.get("pretrain"):
        return None
    resume_from = config.resume_from if is_of_pretraining(config.resume_from) else None
    return build_pretraining(
        config, spec, tokenizer, splits, max_length, folder=folder / PRETRAINING, resume_from=resume_from
    )


def _pretrainer(
    config: DictConfig, spec: EncoderSpec, objective: PretrainingObjective
) -> tuple[Pretrainer, bool]:
    """Encoder and head, and whether the latter is fresh."""
    settings = config.pretrain
    # what is frozen or redrawn afterwards learns here all the same
    spec = replace(spec, freeze_layers=None, cache_frozen=False, reinit_layers=0)
    encoder_config = spec.load_config()
    if objective.contrastive_weight and not objective.supervised and not has_dropout(encoder_config):
        raise ConfigError(
            f"pretrain.contrastive_weight={objective.contrastive_weight}: two views of a text differ by dropout, and "
            f"encoder.name_or_path={spec.name_or_path} has none; give encoder.hidden_dropout, e.g. 0.1"
        )
    return build_pretrainer(
        spec,
        encoder_config,
        masks=objective.mlm_weight > 0,
        pooling=settings.pooling,
        projection_sizes=list(settings.projection_sizes),
    )


def _texts(
    config: DictConfig, tokenizer: FastTokenizer, splits: Mapping[str, TokenizedSplit], max_length: int
) -> PretrainingTexts:
    data = config.data
    source = splits["train"]
    if data.unlabeled_file is not None:
        columns = (data.get("text_column") or "text", data.get("text_pair_column"))
        raw = read_unlabelled(data.unlabeled_file, *columns, cache_dir=data.cache_dir)
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
        cache_dir=data.cache_dir,
    )


def _splits(
    config: DictConfig, tokenizer: FastTokenizer, max_length: int
) -> tuple[dict[str, TokenizedSplit], list[str]]:
    """As fine-tuning would have them, so that what it sets aside stays unseen; unlabelled texts are all trained on."""
    node = config.data.source
    is_unlabelled = "label_column" in node and node.label_column is None
    loaded = build(node).load(config.data.cache_dir)
    if not is_unlabelled and is_labelled(loaded.splits["train"]):
        data = prepare(loaded, tokenizer, **preparation(config, max_length))
        return data.splits, data.notes
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
    return splits, loaded.notes


def _with_masks(
    split: TokenizedSplit, masking: Masking, vocabulary: MaskingVocabulary | None, seed: int
) -> PretrainingSplit:
    if vocabulary is None:
        return PretrainingSplit(split)
    return PretrainingSplit(split, MaskedSplit(split, masking, vocabulary, seed))


def _trainer(config: DictConfig, precision: Precision, folder: Path) -> Trainer:
    """With the stage's callbacks, the run's loggers, and those of its monitors that need no labels, in ``folder``."""
    settings = config.pretrain
    loggers = [_in_folder(node, folder) for node in config.logger.values() if node is not None]
    callbacks = [_in_folder(node, folder) for node in settings.callbacks.values() if node is not None]
    monitors = [config.monitor.get(name) for name in STEP_MONITORS]
    callbacks += [build(node) for node in monitors if node is not None]
    return trainer_with(settings.trainer, precision, callbacks=callbacks, loggers=loggers, folder=folder)


def _in_folder(node: DictConfig, folder: Path) -> Any:
    """A logger or callback that writes into the stage's folder where it would have written into the run's."""
    places = {}
    if "save_dir" in node and Path(node.save_dir) == _output_folder():
        places["save_dir"] = str(folder)
    if "dirpath" in node and node.dirpath is None:
        places["dirpath"] = str(folder / "checkpoints")
    return build(node, **places)


def _output_folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _named(settings: DictConfig, kind: type) -> dict[str, Any]:
    return {field.name: settings[field.name] for field in fields(kind)}


def _settings(config: DictConfig) -> dict[str, Any]:
    """What determines the stage's result, besides its texts and what it starts from."""
    found = entries(config.pretrain, without=_ASIDE)
    found["trainer"] = {key: value for key, value in found["trainer"].items() if key not in _TRAINER_ASIDE}
    encoder = config.encoder
    return {
        "pretrain": found,
        "own_code": own_code(found),
        "max_tokens": config.data.max_tokens,
        "attn_implementation": encoder.attn_implementation,
        "gradient_checkpointing": encoder.gradient_checkpointing,
    }


@contextmanager
def _in_pretrain() -> Iterator[None]:
    """Messages on settings name them by the keys of the stage."""
    try:
        yield
    except ConfigError as error:
        text = re.sub(r"(?<![\w.])(?=(trainer|schedule|optimizer)\.)", "pretrain.", str(error))
        raise ConfigError(text if text.startswith("pretrain.") else f"pretrain.{text}") from error
