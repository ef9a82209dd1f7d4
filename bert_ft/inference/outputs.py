"""Labels and probabilities for texts, from a loaded bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bert_ft.data.batching import SortedBatches
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.models.classifier import Classifier


@dataclass(frozen=True)
class Predictions:
    """In the order of the rows.

    Attributes:
        class_ids: ``(num_rows,)`` int64, the most probable class.
        probabilities: ``(num_rows, num_labels)`` float32.
    """

    class_ids: np.ndarray
    probabilities: np.ndarray


def classify(
    classifier: Classifier,
    split: TokenizedSplit,
    *,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> Predictions:
    """Every row's most probable class, and the probability of each.

    Args:
        classifier: moved to ``device`` and set to evaluation mode.
        split: tokenized rows; they are read in order of length.
        batch_size: most sequences in a batch.
        max_tokens: most tokens in a batch (a longer row is one by itself).
        device: where it is computed.
    """
    classifier = classifier.to(device).eval()
    probabilities = np.empty((len(split), classifier.num_labels), dtype=np.float32)
    with torch.inference_mode():
        for rows in SortedBatches(split.lengths, batch_size, max_tokens):
            batch = split[rows]
            probabilities[batch.rows.numpy()] = _softmax(classifier(batch.to(device)))
    return Predictions(probabilities.argmax(axis=1), probabilities)


def _softmax(logits: Tensor) -> np.ndarray:
    return logits.float().softmax(dim=-1).cpu().numpy()
