"""Compute something of texts in memory, a block at a time, in the order of the texts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from bert_ft.data.batching import SortedBatches
from bert_ft.data.dataset import TokenizedRows
from bert_ft.data.packing import TextBatch
from bert_ft.data.tokenization import TextsInMemory
from bert_ft.errors import ConfigError
from bert_ft.inference.given_texts import blocks_of
from bert_ft.models.bundle import Bundle
from bert_ft.warn import warn_caller

MAX_TOKENS = 2048  # of a batch, as in conf/predict.yaml


class TextRunner:
    """Run a saved model's classifier on texts; several threads may do so at the same time.

    Args:
        bundle: the model; its classifier is moved to ``device``.
        device: device to compute on.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        bundle.classifier.to(device).eval()
        self._bundle = bundle
        self._device = device
        self._texts = TextsInMemory(
            bundle.tokenizer,
            bundle.max_length,
            is_pair=bundle.text_pair_column is not None,
            long_texts=bundle.long_texts,
        )
        self._process = os.getpid()
        self._has_warned = False
        self._lock = threading.Lock()

    def run(
        self, texts: Any, batch_size: int, compute: Callable[[TextBatch], torch.Tensor], empty: torch.Tensor
    ) -> np.ndarray:
        """Return ``compute`` of each text, ``(num_texts, ...)``.

        Args:
            texts: see ``blocks_of``.
            batch_size: maximum number of texts in a batch.
            compute: a batch → a row for each of its texts, as they were given.
            empty: the result for no texts.

        Raises:
            ConfigError: the size of a batch isn't positive.
            NotATextError: a value isn't a text.
        """
        bundle = self._bundle
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: must be at least 1")
        found = [empty.numpy()]
        num_rows = num_cut = 0
        with torch.inference_mode(), self._usable_threads():
            for block in blocks_of(texts, bundle.text_column, bundle.text_pair_column):
                rows = TokenizedRows(columns=self._texts.tokenize(block), index=np.arange(len(block[0])))
                results = np.empty((len(rows), *found[0].shape[1:]), dtype=found[0].dtype)
                for batch in SortedBatches(rows.lengths, batch_size, MAX_TOKENS):
                    results[batch] = compute(rows[batch].to(self._device)).cpu().numpy()
                found.append(results)
                num_rows += len(rows)
                num_cut += int((rows.num_truncated > 0).sum())
        if num_cut:
            self._warn_of_cut(num_cut, num_rows)
        return np.concatenate(found)

    def _warn_of_cut(self, num_cut: int, num_rows: int) -> None:
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            warn_caller(
                f"{num_cut:,} of {num_rows:,} texts have more than {self._bundle.max_length} tokens and were cut, as in training "
                "(said once)"
            )

    @contextmanager
    def _usable_threads(self) -> Iterator[None]:
        """In a process forked from the one that loaded the model, compute with one thread: the others weren't forked.

        Waiting for them would never end (https://github.com/pytorch/pytorch/issues/17199).
        """
        num_threads = torch.get_num_threads()
        if os.getpid() == self._process or num_threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(num_threads)
