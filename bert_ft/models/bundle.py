"""The saved folder: a Hugging Face model folder plus ``bert_ft.yaml``, all that a prediction needs.

``bert_linear`` is written so that ``transformers.AutoModelForSequenceClassification`` loads it. Models that
transformers would load with different logits (``bert_residual``, inserted modules, the user's own attention)
are loaded only by this module: see ``bert_ft.data.model_config``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import bert_ft
from bert_ft import layout
from bert_ft.atomic_file import follow_umask
from bert_ft.compat.transformers import attention_of, class_of
from bert_ft.data.git_lfs import refuse_pointers
from bert_ft.data.long_texts import LongTexts
from bert_ft.data.model_config import read_config, write_own_config
from bert_ft.data.targets import LabelNames, label_names
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import CheckpointError
from bert_ft.kernels.linear import replace_linear
from bert_ft.models.attention import is_own
from bert_ft.models.classifier import Classifier, LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.half_precision import mend_half_precision
from bert_ft.models.inserted import insert_parts, inserted_in
from bert_ft.models.output_scale import scaled, unscaled
from bert_ft.models.own_attention import prepare_attention
from bert_ft.models.specification import FORMAT, FORMAT_WITHOUT_WINDOWS, find_bundle, read_specification
from bert_ft.tasks.saved import described, restored
from bert_ft.tasks.task import Task


@dataclass(frozen=True)
class Bundle:
    """A classifier with what its input has to go through.

    Attributes:
        classifier: the model, in evaluation mode.
        task: the task that it was trained for.
        tokenizer: the tokenizer that it was trained with.
        max_length: maximum number of tokens in a text, or in a window of it.
        text_column: the text column of the training data.
        text_pair_column: the column of the second text of a pair; ``None`` for single texts.
        training: the run's own record (free form, plain types).
        label_column: the label column of the training data, or several columns.
        long_texts: how longer texts are cut or divided into windows.
    """

    classifier: Classifier
    task: Task
    tokenizer: PreTrainedTokenizerFast
    max_length: int
    text_column: str
    text_pair_column: str | None
    training: dict[str, Any]
    label_column: LabelNames = "label"
    long_texts: LongTexts = LongTexts()  # noqa: RUF009 (frozen)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs in the order of the logits: for classes, their names."""
        return self.task.names


def save_bundle(
    folder: Path | str,
    classifier: Classifier,
    task: Task,
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    text_column: str = "text",
    text_pair_column: str | None = None,
    training: dict[str, Any] | None = None,
    label_column: LabelNames = "label",
    long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
    validation_scores: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write the folder and return it; files of an earlier bundle in it are overwritten.

    ``validation_scores`` are the ``logits`` and ``targets`` of the validation rows, for later choices of thresholds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    linear = isinstance(classifier, LinearClassifier)
    attention = attention_of(classifier.config)
    inserted = inserted_in(classifier.encoder)
    described_long = long_texts.described()
    is_stock = linear and not inserted and not is_own(attention)
    auto = AutoModelForSequenceClassification if linear else AutoModel
    config = type(classifier.config).from_dict(classifier.config.to_dict())
    config.architectures = [class_of(auto, config).__name__]
    if is_stock:
        config.save_pretrained(folder)
    else:
        write_own_config(folder, config, type(classifier).__name__)
    tokenizer.save_pretrained(str(folder))
    state = {name: value.detach().cpu().contiguous() for name, value in classifier.saved_state().items()}
    scale = task.output_scale() if is_stock else None
    if scale is not None:
        state = scaled(state, cast(LinearClassifier, classifier), scale)
    save_file(state, folder / layout.WEIGHTS_FILE, metadata={"format": "pt"})
    specification = {
        "format": FORMAT if described_long else FORMAT_WITHOUT_WINDOWS,
        "bert_ft": bert_ft.__version__,
        "model": "bert_linear" if linear else "bert_residual",
        "architecture": classifier.architecture,
        **({"attention": attention} if is_own(attention) else {}),
        **({"inserted": inserted} if inserted else {}),
        "task": described(task),
        **({"scaled_outputs": True} if scale is not None else {}),
        "max_length": max_length,
        **({"long_texts": described_long} if described_long else {}),
        "text_column": text_column,
        "text_pair_column": text_pair_column,
        "label_column": label_column if isinstance(label_column, str) else list(label_column),
        "training": training or {},
    }
    if validation_scores:
        save_arrays(dict(validation_scores), folder / layout.VALIDATION_SCORES_FILE)
    (folder / layout.SPECIFICATION_FILE).write_text(
        yaml.safe_dump(specification, sort_keys=False), encoding="utf-8"
    )
    follow_umask(folder)
    return folder


def load_bundle(folder: Path | str, trust: Sequence[str] = ()) -> Bundle:
    """Read a folder that ``save_bundle`` wrote, or the folder of a run or search that contains it as ``model``.

    The classifier is in evaluation mode, on the CPU.

    Nothing in the folder is executed: weights are safetensors, the rest is plain data. The folder
    names the user's own classes and functions that the model was built with; they are imported only if a
    pattern of ``trust`` matches their names.

    Raises:
        CheckpointError: the folder isn't a bundle, is of another format, or is damaged.
        ConfigError: it names a class, or an attention function, that isn't trusted.
    """
    folder = find_bundle(folder)
    specification = read_specification(folder)
    refuse_pointers(f"bundle={folder}", folder)
    try:
        state = load_file(folder / layout.WEIGHTS_FILE)
        config: Any = read_config(folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"bundle={folder} is damaged: {error}") from error
    names = [config.id2label[index] for index in range(config.num_labels)]
    try:
        task = restored(specification["task"], names, trust)
    except CheckpointError as error:
        raise CheckpointError(f"bundle={folder}: {error}") from error
    classifier = _empty_classifier(specification, config, trust)
    try:
        if specification.get("scaled_outputs") and (scale := task.output_scale()) is not None:
            state = unscaled(state, cast(LinearClassifier, classifier), scale)
        classifier.load_saved_state(state)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"bundle={folder}: {layout.WEIGHTS_FILE} doesn't fit {layout.SPECIFICATION_FILE}: {error}"
        ) from error
    mend_half_precision(classifier.encoder)
    replace_linear(classifier.encoder)
    return Bundle(
        classifier=classifier.eval(),
        task=task,
        tokenizer=load_tokenizer(str(folder), key="bundle"),
        max_length=specification["max_length"],
        text_column=specification["text_column"],
        text_pair_column=specification["text_pair_column"],
        training=specification["training"],
        label_column=label_names(specification["label_column"]) or "label",
        long_texts=LongTexts.restored(specification.get("long_texts", {})),
    )


def _empty_classifier(
    specification: dict[str, Any], config: PretrainedConfig, trust: Sequence[str]
) -> Classifier:
    attention = specification.get("attention", "sdpa")
    prepare_attention(config, attention, trust)
    inserted = specification.get("inserted", {})
    if specification["model"] == "bert_linear":
        model = empty_sequence_classifier(config, attention)
        insert_parts(cast(PreTrainedModel, model.base_model), inserted, trust)
        return LinearClassifier(model, **specification["architecture"])
    encoder = empty_encoder(config, attention)
    insert_parts(encoder, inserted, trust)
    return ResidualClassifier(encoder, trust=trust, **specification["architecture"])
