"""The parts of a ``ClassificationModule`` for a Lightning script of the user's own, with the defaults of ``conf/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bert_ft import layout
from bert_ft.data.long_texts import LongTexts
from bert_ft.data.tokenization import FastTokenizer, load_tokenizer
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.models.bundle import Bundle, bundle_files, bundle_of_files, load_bundle
from bert_ft.models.classifier import Classifier, build_residual
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.encoder_config import max_positions
from bert_ft.nn.losses import CrossEntropy
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.learning_rate import default_lr
from bert_ft.optim.schedules import Linear
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.task import Task
from bert_ft.training.encoder_module import MultiplierSchedule
from bert_ft.training.objective import Objective, PlainLoss

CHECKPOINT_KEY = "bert_ft_model"  # of a checkpoint: all files of the saved folder but the weights
MAX_LENGTH = 128  # as data.max_length
_MAX_TOKENS = 16384  # as data.max_tokens


@dataclass(frozen=True)
class Pretrained:
    """A classifier to train, with its task and tokenizer.

    Attributes:
        max_length: maximum number of tokens of a text, or of a window of it.
        long_texts: how longer texts are cut or divided into windows.
    """

    classifier: Classifier
    task: Task
    tokenizer: FastTokenizer
    max_length: int
    long_texts: LongTexts = LongTexts()  # noqa: RUF009 (frozen)

    def files(self) -> dict[str, str]:
        """Return the files of the saved folder except the weights, as texts that a checkpoint can hold."""
        parts = self.classifier, self.task, self.tokenizer, self.max_length
        bundle = Bundle(*parts, "text", None, {}, long_texts=self.long_texts)
        return {
            name: content.decode("latin-1")
            for name, content in bundle_files(bundle, with_weights=False).items()
        }

    @classmethod
    def of_files(cls, files: Mapping[str, str], trust: Sequence[str]) -> Pretrained:
        """Return what ``files`` described; its weights are arbitrary."""
        return _of_bundle(
            bundle_of_files({name: text.encode("latin-1") for name, text in files.items()}, trust)
        )


def pretrained(
    name_or_path: str | Path,
    labels: Sequence[Any] | None,
    max_length: int | None,
    trust: Sequence[str],
    long_texts: LongTexts | None = None,
) -> Pretrained:
    """Return a saved model with its own head, or an encoder with a new one for ``labels``.

    Raises:
        ConfigError: there are no labels for a new head, or they are equal.
        CheckpointError: the encoder or the saved model can't be read.
    """
    if labels is None:
        if max_length is not None or long_texts is not None:
            raise ConfigError("max_length, long_texts: a saved model has its own; leave them out")
        return _saved(name_or_path, trust)
    names = tuple(str(label).lower() if isinstance(label, bool) else str(label) for label in labels)
    if isinstance(labels, str) or len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"labels={labels!r}: give a list of two or more different labels")
    spec = EncoderSpec(str(name_or_path), trust=trust)
    config = spec.load_config()
    limit = max_positions(config)
    if max_length is None:
        max_length = MAX_LENGTH if limit is None else min(MAX_LENGTH, limit)
    elif limit is not None and max_length > limit:
        raise ConfigError(f"max_length={max_length}: the encoder has positions for {limit} tokens; lower it")
    task = SingleLabel(names)
    head = {"hidden_sizes": [384], "dropout": 0.1}
    classifier = build_residual(
        spec, task.config_entries(), pooling="mean", pooling_layers=1, head=head, trust=trust
    )
    tokenizer = load_tokenizer(spec.resolve())
    tokenizer.model_max_length = max_length
    return Pretrained(classifier, task, tokenizer, max_length, long_texts or LongTexts())


def _saved(folder: str | Path, trust: Sequence[str]) -> Pretrained:
    try:
        return _of_bundle(load_bundle(folder, trust))
    except CheckpointError as error:
        places = (Path(folder), Path(folder, layout.MODEL_FOLDER))
        if any((place / layout.SPECIFICATION_FILE).exists() for place in places):
            raise
        raise ConfigError(f"{folder}: isn't a saved model, so its head is new; give labels=[...]") from error


def _of_bundle(bundle: Bundle) -> Pretrained:
    bundle.tokenizer.model_max_length = bundle.max_length
    parts = bundle.classifier.train(), bundle.task, bundle.tokenizer, bundle.max_length
    return Pretrained(*parts, bundle.long_texts)


def parts_of(
    found: Pretrained,
    optimizer: LayerwiseOptimizer | float | None,
    schedule: MultiplierSchedule | None,
) -> dict[str, Any]:
    """Return the arguments of ``ClassificationModule``."""
    is_of_classes = found.task.target_kind == CrossEntropy.target_kind
    loss = CrossEntropy(label_smoothing=0.1) if is_of_classes else PlainLoss(found.task)
    return {
        "classifier": found.classifier,
        "task": found.task,
        "objective": Objective(loss, task=found.task),
        "optimizer": _optimizer(found.classifier, optimizer),
        "schedule": schedule or Linear(warmup_ratio=0.1),
        "max_tokens": _MAX_TOKENS,
    }


def _optimizer(classifier: Classifier, given: LayerwiseOptimizer | float | None) -> LayerwiseOptimizer:
    if isinstance(given, LayerwiseOptimizer):
        return given
    config: Any = classifier.config
    lr = default_lr(config.hidden_size, config.num_hidden_layers) if given is None else float(given)
    return LayerwiseOptimizer(
        algorithm=partial(torch.optim.AdamW, betas=(0.9, 0.999), eps=1e-8, fused=True),
        lr=lr,
        layer_decay=0.9,
        weight_decay=0.01,
        head_lr=1e-3,
    )
