"""Prepared splits as Lightning's data loaders of packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch.utils.data import DataLoader

from bert_ft.data.augmentation import AugmentedSplit
from bert_ft.data.batching import NumberedBatches, RandomBatches, SortedBatches
from bert_ft.data.dataset import SampledWindows
from bert_ft.data.long_texts import LongTexts
from bert_ft.data.prepare import PreparedData
from bert_ft.data.tokenization import FastTokenizer
from bert_ft.errors import ConfigError
from bert_ft.tasks.task import Task
from bert_ft.training.frame_data import PREDICT, prepare_frames, with_labels_of
from bert_ft.training.resumable_data import ResumableDataModule

_MAX_TOKENS = 16384  # of an evaluation batch, as data.max_tokens


class TextDataModule(ResumableDataModule):
    """Data loaders over prepared data.

    Args:
        data: tokenized splits.
        batch_size: sequences in a training batch, on each device.
        eval_batch_size: most sequences in an evaluation batch.
        max_tokens: most tokens in an evaluation batch.
        seed: determines the training order.
        num_workers: processes that make batches; 0 = the training process does.
        augmented: the training split with augmented texts; ``None`` = no augmentation.
        sampled: the training split without some windows of its long texts; ``None`` = it has all.
        tokenizer: tokenizer of the ids, for callbacks that show tokens.

    Attributes:
        is_of_frame: whether the data are those of ``from_frame``, which a module may not fit.

    Example:
        >>> data = bert_ft.TextDataModule.from_frame(frame, tokenizer, batch_size=8)
        >>> next(iter(data.train_dataloader())).num_sequences
        8
    """

    is_of_frame = False

    def __init__(
        self,
        data: PreparedData,
        *,
        batch_size: int,
        eval_batch_size: int,
        max_tokens: int,
        seed: int,
        num_workers: int = 0,
        augmented: AugmentedSplit | None = None,
        sampled: SampledWindows | None = None,
        tokenizer: FastTokenizer | None = None,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        self.data = data
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.max_tokens = max_tokens
        self.augmented = augmented
        self.sampled = sampled
        self.tokenizer = tokenizer

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        tokenizer: FastTokenizer,
        batch_size: int = 32,
        *,
        text: str | Sequence[str] = "text",
        label: str = "label",
        validation: Any = None,
        task: Task | None = None,
        max_length: int | None = None,
        long_texts: LongTexts = LongTexts(),  # noqa: B008 (frozen)
        eval_batch_size: int = 128,
        validation_ratio: float = 0.1,
        seed: int = 0,
        num_workers: int = 0,
        cache_dir: Path | str | None = None,
    ) -> Self:
        """Return the data module of a frame: its rows to train on, some of them set aside for validation.

        ``trainer.predict`` gets all rows of the frame, in order; it needs no labels. Class ids are those of the module
        that is trained.

        Args:
            frame: a frame of pandas or polars, a ``datasets.Dataset``, or a mapping of columns; it isn't changed.
            tokenizer: ``module.tokenizer``.
            batch_size: number of texts in a training batch.
            text: column of the texts; two columns for pairs.
            label: column of the labels.
            validation: a frame of validation rows; ``None``: some of the training rows.
            task: what turns labels into targets; ``None``: one class for each text.
            max_length: maximum number of tokens of a text; ``None``: the tokenizer's ``model_max_length``.
            long_texts: what becomes of longer texts; ``module.long_texts`` if it isn't a cut at the end.
            eval_batch_size: maximum number of texts in a batch of validation or prediction.
            validation_ratio: share of the rows to set aside.
            seed: determines the order of training and the rows that are set aside.
            num_workers: processes that make batches.
            cache_dir: folder of the tokenized texts; ``None``: ``$BERT_FT_CACHE``, else ``~/.cache/bert_ft``.

        Raises:
            ValueError: a column or row can't be used.

        Example:
            >>> data = bert_ft.TextDataModule.from_frame(frame, tokenizer)
            >>> len(data.data.splits["predict"]) == len(frame)
            True
        """
        data = prepare_frames(
            frame,
            tokenizer,
            text=text,
            label=label,
            validation=validation,
            task=task,
            max_length=max_length,
            validation_ratio=validation_ratio,
            seed=seed,
            cache_dir=cache_dir,
            long_texts=long_texts,
        )
        module = cls(
            data,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            max_tokens=_MAX_TOKENS,
            seed=seed,
            num_workers=num_workers,
            tokenizer=tokenizer,
        )
        module.is_of_frame = True
        return module

    def setup(self, stage: str) -> None:
        """Take the class ids of the module that is trained, if the labels come from a frame.

        Raises:
            ConfigError: long texts are cut otherwise than for the module.
        """
        module: Any = getattr(self.trainer, "lightning_module", None)
        if not self.is_of_frame or (task := getattr(module, "task", None)) is None:
            return
        if getattr(module, "long_texts", self.data.long_texts) != self.data.long_texts:
            raise ConfigError(
                f"long_texts={self.data.long_texts}: differs from the module's, {module.long_texts}; give from_frame "
                "long_texts=module.long_texts"
            )
        self.data = with_labels_of(self.data, task)

    def texts(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return the original texts of these rows of a split; the texts of a pair are joined by `` | ``."""
        columns = [
            name for name in ("text", "text_pair") if name in self.data.splits[split].texts.column_names
        ]
        found = self.data.splits[split].texts.select(rows)
        return [" | ".join(str(row[name]) for name in columns) for row in found]

    def sources(self, split: str, rows: Sequence[int]) -> list[str]:
        """Return where each of these rows of a split was read: file name and row number, from 1."""
        found = self.data.splits[split]
        return [f"{Path(found.origin).name} {found.rows[row]}" for row in rows]

    def train_dataloader(self) -> DataLoader:
        split = self.data.splits["train"]
        num_replicas, rank = self.replicas()
        changing = self.augmented or self.sampled
        kind = RandomBatches if changing is None else NumberedBatches
        batches = kind(len(split), self.batch_size, self.seed, num_replicas=num_replicas, rank=rank)
        return self.training_loader(split if changing is None else changing, batches)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Return a loader of all rows of the frame, in order."""
        split = self.data.splits[PREDICT]
        starts = range(0, len(split), self.eval_batch_size)
        batches = [list(range(start, min(start + self.eval_batch_size, len(split)))) for start in starts]
        num_replicas, rank = self.replicas()
        return self.loader(split, batches[rank::num_replicas])

    def _evaluation_loader(self, name: str) -> DataLoader:
        split = self.data.splits[name]
        num_replicas, rank = self.replicas()
        batches = SortedBatches(
            split.lengths, self.eval_batch_size, self.max_tokens, num_replicas=num_replicas, rank=rank
        )
        return self.evaluation_loader(split, batches)
