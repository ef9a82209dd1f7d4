"""What a saved model says of texts: the outputs that its task reads predictions from."""

from __future__ import annotations

import numpy as np
import torch

from bert_ft.data.batching import SortedBatches
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.models.classifier import Classifier
from bert_ft.tasks.task import Task


def compute_outputs(
    classifier: Classifier,
    task: Task,
    split: TokenizedSplit,
    *,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Return ``(num_rows, num_labels)`` float32, what ``task.decode`` reads, in the order of the rows.

    Args:
        classifier: moved to ``device`` and set to evaluation mode.
        task: that it was trained for; for classes the outputs are their probabilities.
        split: tokenized rows; they are read in order of length.
        batch_size: most sequences in a batch.
        max_tokens: most tokens in a batch (a longer row is one by itself).
        device: where it is computed.
    """
    return compute_outputs_and_logits(
        classifier, task, split, batch_size=batch_size, max_tokens=max_tokens, device=device
    )[0]


def compute_outputs_and_logits(
    classifier: Classifier,
    task: Task,
    split: TokenizedSplit,
    *,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``compute_outputs`` does, and the logits of the same shape, from which metrics are computed."""
    classifier = classifier.to(device).eval()
    outputs = np.empty((len(split), classifier.num_labels), dtype=np.float32)
    all_logits = np.empty_like(outputs)
    with torch.inference_mode():
        for rows in SortedBatches(split.lengths, batch_size, max_tokens):
            logits = classifier(split[rows].to(device))
            outputs[rows] = task.outputs(logits).cpu().numpy()
            all_logits[rows] = logits.float().cpu().numpy()
    return outputs, all_logits
