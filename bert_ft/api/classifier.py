"""``bert_ft.Classifier``: fine-tuning as an estimator of scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from bert_ft.api.training_rows import Rows

_FITTED = "_"  # what attributes of a fitted estimator end with
# what an estimator doesn't need of a run; settings of the caller come after them
_QUIET = (
    "test=false",
    "report=false",
    "advice=false",
    "logger=none",
    "monitor=none",
    "keep=model",
    "callbacks.last_checkpoint=null",
    "callbacks.random_state=null",
    "trainer.devices=1",
    "data.test_ratio=0",
)
_CLASS_TASKS = ("single_label", "ordinal")


class Classifier(ClassifierMixin, BaseEstimator):
    """A text classifier with the interface of scikit-learn's estimators.

    ``fit`` fine-tunes the encoder as the command ``bert_ft.train`` does; ``predict``, ``predict_proba`` and ``score`` use the kept
    weights. It can be cloned, pickled, and searched with ``GridSearchCV``.

    Args:
        encoder: ``minilm``, ``bert_base`` or another choice of the group ``encoder``, a name on the hub, or a folder.
        folder: folder of the run, empty or new at each ``fit``; ``None``: a temporary one, removed after training.
        verbose: print the data report, a progress bar and the results.
        **settings: any key or group of the configuration, e.g. ``averaging="swa"``, ``**{"optimizer.lr": 2e-4}``.

    Attributes:
        classes_: the labels, as ``numpy.unique`` gives them.
        model_: the trained ``bert_ft.Model``.
        metrics_: content of ``metrics.json``; ``metrics_["val"]`` has the scores on the validation rows.

    Example:
        >>> settings = {"optimizer.lr": 3e-3, "trainer.max_epochs": 3, "data.max_length": 32}
        >>> classifier = bert_ft.Classifier(encoder="tiny_encoder", **settings)
        >>> classifier.fit(texts, labels).predict(["a lovely film"]).tolist()
        ['positive']
    """

    def __init__(
        self,
        encoder: str = "minilm",
        *,
        folder: str | Path | None = None,
        verbose: bool = False,
        **settings: Any,
    ) -> None:
        self.encoder = encoder
        self.folder = folder
        self.verbose = verbose
        for key, value in settings.items():
            setattr(self, key, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor, keys of the configuration among them.

        Example:
            >>> bert_ft.Classifier("minilm", **{"optimizer.lr": 2e-4}).get_params()["optimizer.lr"]
            0.0002
        """
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith(_FITTED) and not name.endswith(_FITTED)
        }

    def set_params(self, **params: Any) -> Self:
        """Set arguments of the constructor; keys of the configuration are checked by ``fit``.

        Example:
            >>> bert_ft.Classifier("minilm").set_params(**{"optimizer.lr": 1e-5}).get_params()["optimizer.lr"]
            1e-05
        """
        for name, value in params.items():
            if name.startswith(_FITTED) or name.endswith(_FITTED) or hasattr(type(self), name):
                raise ValueError(f"{name}={value!r}: isn't a parameter of {type(self).__name__}")
            setattr(self, name, value)
        return self

    def fit(
        self,
        X: Any,  # noqa: N803 (scikit-learn's name)
        y: Any = None,
        *,
        text: str | Sequence[str] = "text",
        label: str = "label",
        validation: Any = None,
    ) -> Self:
        """Fine-tune the encoder, from its own weights each time, and return the classifier.

        Args:
            X: texts, or pairs of texts as tuples; or a frame of pandas or polars, or a ``datasets.Dataset``, with labels.
            y: a label for each text; ``None``: ``X`` has a column of them.
            text: column of the texts in a frame; two columns for pairs.
            label: column of the labels in a frame.
            validation: ``(texts, labels)`` or a frame: rows by which the best weights are chosen. ``None``: a tenth of the training
                rows (``data.validation_ratio``).

        Raises:
            ValueError: texts and labels don't fit each other, a setting is unknown or out of its limits.
            KeyboardInterrupt: you stopped it; with ``folder``, the run can be resumed from there.

        Example:
            >>> reviews = pandas.DataFrame({"review": texts, "stars": [5 if label == "positive" else 1 for label in labels]})
            >>> classifier.fit(reviews, text="review", label="stars").classes_.tolist()
            [1, 5]
            >>> classifier.fit(texts, labels).classes_.tolist()
            ['negative', 'positive']
        """
        from bert_ft.api.training_rows import check_classes, rows_of

        if y is not None and isinstance(y, str):
            raise TypeError(f"fit: the labels are one text {y!r}; for the column of a frame pass label={y!r}")
        rows = rows_of(X, y, text, label, "the training rows")
        validated = None
        if validation is not None:
            of_frame = not isinstance(validation, tuple)
            texts, labels = (validation, None) if of_frame else validation
            validated = rows_of(texts, labels, text, label, "the validation rows")
        check_classes(rows, "the training rows", sets_aside=validated is None)
        with TemporaryDirectory(prefix="bert_ft_", ignore_cleanup_errors=True) as temporary:
            self._train(rows, validated, temporary)
        return self

    def _train(self, rows: Rows, validated: Rows | None, temporary: str) -> None:
        from bert_ft.api.job import train
        from bert_ft.api.override_words import encoder_words, override, words_of
        from bert_ft.config.build.fine_tuning import GivenData
        from bert_ft.config.composition import DATA_IN_MEMORY
        from bert_ft.data.frames import Frames
        from bert_ft.errors import ConfigError
        from bert_ft.inference.model import load
        from bert_ft.tasks.label_values import type_of_labels

        settings = {
            name: value
            for name, value in self.get_params().items()
            if name not in ("encoder", "folder", "verbose")
        }
        if settings.get("task", "single_label") not in _CLASS_TASKS:
            raise ConfigError(
                f"task={settings['task']}: isn't a task of one class per text; use bert_ft.fine_tune"
            )
        columns: dict[str, Any] = {
            "text_column": rows.text_column,
            "text_pair_column": rows.text_pair_column,
            "label_column": rows.label_column,
        }
        words = [
            *_QUIET,
            override("data.cache_dir", os.path.join(temporary, "cache")),
            DATA_IN_MEMORY,
            *(override(f"data.{name}", value) for name, value in columns.items()),
            *encoder_words(str(self.encoder)),
            *words_of(settings),
        ]
        source = Frames(rows.table, None if validated is None else _like(rows, validated), **columns)
        given = GivenData(source, type_of_labels(rows.labels))
        folder = Path(temporary, "run") if self.folder is None else Path(self.folder)
        trained = train(words, folder, given=given, verbose=bool(self.verbose))
        self.model_ = load(trained.folder, trust=trained.trust)
        self.classes_ = self.model_.classes_
        self.metrics_ = trained.record

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the label of each text, ``(num_texts,)``, as it was given to ``fit``.

        Example:
            >>> classifier.predict(["a lovely film", "a dull plot"]).tolist()
            ['positive', 'negative']
        """
        check_is_fitted(self)
        return self.model_.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the probability of each label, ``(num_texts, num_classes)``, in the order of ``classes_``.

        Example:
            >>> classifier.predict_proba(["a lovely film"]).shape
            (1, 2)
        """
        check_is_fitted(self)
        return self.model_.predict_proba(X)

    def save(self, folder: str | Path) -> Path:
        """Write the trained model into a folder for ``bert_ft.load`` and the commands; return the folder.

        Example:
            >>> bert_ft.load(classifier.save("model")).classes_.tolist()
            ['negative', 'positive']
        """
        check_is_fitted(self)
        return self.model_.save(folder)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _like(rows: Rows, validated: Rows) -> Any:
    """Return the validation rows as a table with the columns of the training rows."""
    ours = (rows.text_column, rows.text_pair_column, rows.label_column)
    theirs = (validated.text_column, validated.text_pair_column, validated.label_column)
    if ours == theirs:
        return validated.table
    table = validated.table
    texts = zip(ours[:2], theirs[:2], strict=True)
    columns = {name: table[other] for name, other in texts if name is not None and other is not None}
    return columns | {rows.label_column: validated.labels}
