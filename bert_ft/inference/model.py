"""A saved model in Python: texts in, labels, probabilities, vectors and scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bert_ft.data.frames import column_names, labels_of, values_of
from bert_ft.data.packing import TextBatch
from bert_ft.errors import ConfigError, DataError
from bert_ft.garbage import without_collections
from bert_ft.inference.device import choose_device
from bert_ft.inference.scores import known_labels
from bert_ft.inference.text_runner import MAX_TOKENS, TextRunner
from bert_ft.models.bundle import Bundle, bundle_files, bundle_of_files, load_bundle, save_bundle
from bert_ft.tasks.label_values import label_values
from bert_ft.warn import warn_caller

if TYPE_CHECKING:
    from bert_ft.evaluation.evaluation import Evaluation

_PREDICTION = "prediction"


def load(folder: Path | str, *, device: str = "auto", trust: Sequence[str] = ()) -> Model:
    """Return a saved model, ready to predict.

    Args:
        folder: the folder of a run, or its folder ``model``.
        device: ``cpu``, ``cuda``, or ``auto`` for the GPU if there is one.
        trust: patterns of the names of your own classes that the folder may name, e.g. ``my_package.*``.

    Raises:
        ValueError: the folder holds no saved model, is damaged, or was written by a newer version.

    Example:
        >>> model = bert_ft.load("outputs/reviews/model")
        >>> model.predict(["a lovely film", "a dull plot"]).tolist()
        ['positive', 'negative']
    """
    with without_collections():  # the encoder's modules are imported
        return Model(load_bundle(folder, trust), device=device, trust=trust)


class Model:
    """A trained model with its tokenizer; get one from ``bert_ft.load``.

    ``predict``, ``predict_proba`` and ``embed`` take a list of texts (of pairs: tuples), a column of pandas, polars, numpy or
    ``datasets``, a frame with the text columns of the training data, or a generator, which is read in blocks. They return one row
    for each text, in order. Texts of more than ``max_length`` tokens are cut, with a warning once, or read in windows, as in
    training. Several threads may call them at the same time; nothing is printed.

    Example:
        >>> model = bert_ft.load("outputs/reviews")
        >>> model.classes_.tolist(), model.task, model.max_length
        (['negative', 'positive'], 'single_label', 32)
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", trust: Sequence[str] = ()) -> None:
        self._bundle = bundle
        self._device = choose_device(device)
        self._trust = tuple(trust)
        self._classifier = bundle.classifier
        self._runner = TextRunner(bundle, self._device)

    @property
    def task(self) -> str:
        """Name of the task: ``single_label``, ``multi_label``, ``regression``, ``ordinal``, or that of your own."""
        return self._bundle.task.name

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a text."""
        return self._bundle.max_length

    @cached_property
    def classes_(self) -> np.ndarray:
        """The labels: sorted as ``numpy.unique`` sorts them, grades of an ordinal task in their order.

        A task without classes raises ``AttributeError``.
        """
        return self._values[self._order]

    def predict(self, texts: Any, *, batch_size: int = 128) -> np.ndarray:
        """Return the prediction for each text, ``(num_texts,)``.

        That is a label of ``classes_``; with ``task=multi_label`` a list of labels; with ``task=regression`` a number, or
        ``(num_texts, num_columns)`` numbers.

        Args:
            texts: see ``Model``.
            batch_size: maximum number of texts in a batch; the result doesn't depend on it.

        Raises:
            TypeError: a value isn't a text; its position is named, and nothing is predicted (from a generator, nothing more).

        Example:
            >>> model.predict(["a lovely film", "a dull plot"]).tolist()
            ['positive', 'negative']
        """
        outputs = self._outputs(texts, batch_size)
        decoded = self._bundle.task.decode(outputs)
        found = [_as_array(values) for name, values in decoded.items() if name.startswith(_PREDICTION)]
        if not found:  # a task of the user
            found = [_as_array(next(iter(decoded.values())))]
        if len(found) > 1:
            return np.column_stack(found)
        if not self._has_classes or self.task == "multi_label":
            return found[0]
        of_name = dict(zip(self._names, range(len(self._names)), strict=True))
        return self._values[[of_name[name] for name in found[0].tolist()]]

    def predict_proba(self, texts: Any, *, batch_size: int = 128) -> np.ndarray:
        """Return the probability of each label, ``(num_texts, num_labels)``, in the order of ``classes_``.

        Args:
            texts: see ``Model``.
            batch_size: maximum number of texts in a batch; the result doesn't depend on it.

        Raises:
            ValueError: the task has no probabilities.
            TypeError: a value isn't a text.

        Example:
            >>> model.predict_proba(["a lovely film"]).shape
            (1, 2)
        """
        if not self._has_classes:
            raise ConfigError(f"predict_proba: a model of task={self.task} has no probabilities; use predict")
        columns = self._bundle.task.probability_columns(self._outputs(texts, batch_size))
        return np.column_stack(list(columns.values()))[:, self._order]

    def embed(self, texts: Any, *, batch_size: int = 128) -> np.ndarray:
        """Return a vector for each text, ``(num_texts, hidden_size)`` float32: the pooled encoder, before the head.

        It is what the classification head reads, so texts that the model labels alike are close to each other.

        Args:
            texts: see ``Model``.
            batch_size: maximum number of texts in a batch; the result doesn't depend on it.

        Raises:
            TypeError: a value isn't a text.

        Example:
            >>> model.embed(["a lovely film", "a dull plot"]).shape
            (2, 32)
        """

        def features(batch: TextBatch) -> torch.Tensor:
            return batch.as_given(self._classifier.features(batch, MAX_TOKENS)).float()

        width = int(self._classifier.config.hidden_size)
        return self._runner.run(texts, batch_size, features, torch.empty(0, width))

    def evaluate(
        self,
        frame: Any,
        *,
        label: str | None = None,
        group_by: str | None = None,
        cluster_by: str | None = None,
    ) -> Evaluation:
        """Return each metric with its 95% interval, and what else ``bert_ft.evaluate`` measures on a file.

        Rows without a text, or whose label the model doesn't know, are left out, with a warning that counts them.

        Args:
            frame: a frame with the text and label columns of the training data.
            label: name of its column of labels; ``None``: as in the training data.
            group_by: a column whose values are subgroups with metrics of their own.
            cluster_by: a column whose equal values mark rows that belong together, which makes intervals wider.

        Raises:
            ValueError: a column is missing, or no row has a label that the model knows.

        Example:
            >>> frame = pandas.DataFrame({"text": ["a lovely film", "a dull plot"], "label": ["positive", "negative"]})
            >>> print(model.evaluate(frame).metrics["accuracy"])
            1.0000 [0.1581, 1.0000]
        """
        from bert_ft.evaluation.evaluation import evaluated
        from bert_ft.evaluation.scored import Scored
        from bert_ft.evaluation.training_labels import LABELS
        from bert_ft.inference.evaluate_file import cell_text, clusters_of, groups_of
        from bert_ft.inference.read_texts import reason_of

        wanted = self._bundle.label_column if label is None else label
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        existing = column_names(frame)
        others = {"group_by": group_by, "cluster_by": cluster_by}
        of_texts = {
            "text_column": self._bundle.text_column,
            "text_pair_column": self._bundle.text_pair_column,
        }
        for key, name in (*of_texts.items(), *(("label", name) for name in names), *others.items()):
            if name is not None and name not in existing:
                raise DataError(
                    f"evaluate: the frame has no column {name!r}; its columns are {', '.join(map(repr, existing))}; set `{key}`"
                )
        labels = [
            row[0] if isinstance(wanted, str) else dict(zip(names, row, strict=True))
            for row in zip(*(labels_of(frame, name) for name in names), strict=True)
        ]
        texts = list(zip(*(values_of(frame[name]) for name in of_texts.values() if name), strict=True))
        usable = [row for row, text in enumerate(texts) if reason_of(text) is None]
        known = known_labels(self._bundle.task, [labels[row] for row in usable])
        said = f"{len(known.rows)} of {len(labels)} rows have a text and a label that the model knows"
        if known.targets is None:
            raise DataError(f"evaluate: {said}")
        if len(known.rows) < len(labels):
            warn_caller(
                f"{said}; unknown: {dict(known.unknown_counts)}, without one: {known.num_unlabeled}, without a text: "
                f"{len(labels) - len(usable)}"
            )
        rows = [usable[row] for row in known.rows]
        scored = [tuple(text or "" for text in texts[row]) for row in rows]
        given = scored if self._bundle.text_pair_column else [text for (text,) in scored]
        empty = torch.empty(0, self._classifier.num_labels)
        logits = self._runner.run(
            given, 128, lambda batch: self._classifier(batch, MAX_TOKENS).float(), empty
        )
        columns = {key: values_of(frame[name]) for key, name in others.items() if name is not None}
        values = {key: [cell_text(cells[row]) for row in rows] for key, cells in columns.items()}
        return evaluated(
            Scored(self._bundle.task, logits, known.targets),
            training=self._bundle.training.get(LABELS),
            clusters=None if cluster_by is None else clusters_of(values["cluster_by"]),
            groups=None if group_by is None else groups_of(values["group_by"]),
        )

    def save(self, folder: Path | str) -> Path:
        """Write the model into a folder, from which ``bert_ft.load`` and the commands read it; return the folder.

        Example:
            >>> bert_ft.load(model.save("copy")).classes_.tolist()
            ['negative', 'positive']
        """
        return save_bundle(Path(folder).expanduser(), **vars(self._bundle))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._names[:5])) + (", …" if len(self._names) > 5 else "")
        return f"Model(task={self.task}, outputs=[{shown}], max_length={self.max_length})"

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        """Pickle the content of the saved folder, so that the copy needs no folder."""
        return _restored, (bundle_files(self._bundle), self._device.type, self._trust)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(getattr(self._bundle.task, "class_names", self._bundle.task.names))

    @property
    def _has_classes(self) -> bool:
        task = self._bundle.task
        outputs = task.outputs(torch.empty(0, len(task.names))).numpy()
        try:
            return len(task.probability_columns(outputs)) == len(self._names)
        except ConfigError:
            return False

    @cached_property
    def _values(self) -> np.ndarray:
        if not self._has_classes:
            raise AttributeError(f"a model of task={self.task} has no classes")
        return label_values(self._names, self._bundle.label_type)

    @cached_property
    def _order(self) -> np.ndarray:
        """Positions of ``classes_`` among the task's names."""
        in_given_order = self.task in ("ordinal", "multi_label")
        return np.arange(len(self._values)) if in_given_order else np.argsort(self._values, kind="stable")

    def _outputs(self, texts: Any, batch_size: int) -> np.ndarray:
        task, width = self._bundle.task, self._classifier.num_labels
        empty = task.outputs(torch.empty(0, width))
        return self._runner.run(
            texts, batch_size, lambda batch: task.outputs(self._classifier(batch, MAX_TOKENS)), empty
        )


def _restored(files: Mapping[str, bytes], device: str, trust: Sequence[str]) -> Model:
    device = "auto" if device == "cuda" else device  # this machine may have no GPU
    return Model(bundle_of_files(files, trust), device=device, trust=trust)


def _as_array(values: Any) -> np.ndarray:
    if hasattr(values, "to_pylist"):  # of pyarrow
        values = values.to_pylist()
    if isinstance(values, np.ndarray):
        return values
    found = np.empty(len(values), dtype=object)
    found[:] = list(values)
    return found
