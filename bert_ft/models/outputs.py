"""Outputs of a saved model for texts, from which its task decodes predictions."""

from __future__ import annotations

import numpy as np
import torch

from bert_ft.data.batching import SortedBatches
from bert_ft.data.dataset import TokenizedRows
from bert_ft.models.classifier import Classifier
from bert_ft.tasks.task import Task


def compute_outputs_and_logits(
    classifier: Classifier,
    task: Task,
    split: TokenizedRows,
    *,
    batch_size: int = 128,
    max_tokens: int = 2048,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Return the input of ``task.decode`` and float32 logits, for metrics, ``(num_rows, num_labels)`` each, in the order of the rows.

    Args:
        classifier: the model; it is moved to ``device`` and set to evaluation mode.
        task: the task of the model; for classes the outputs are probabilities.
        split: tokenized rows; they are processed in order of length.
        batch_size: maximum number of sequences in a batch.
        max_tokens: maximum number of tokens in a batch; a longer row is a batch of its own, of which as many windows are
            computed at once.
        device: device to compute on.
    """
    classifier = classifier.to(device).eval()
    all_logits = np.empty((len(split), classifier.num_labels), dtype=np.float32)
    outputs = task.outputs(torch.from_numpy(all_logits[:0])).numpy()  # their width and type
    outputs = np.empty((len(split), *outputs.shape[1:]), dtype=outputs.dtype)
    with torch.inference_mode():
        for rows in SortedBatches(split.lengths, batch_size, max_tokens):
            logits = classifier(split[rows].to(device), max_tokens)
            outputs[rows] = task.outputs(logits).cpu().numpy()
            all_logits[rows] = logits.float().cpu().numpy()
    return outputs, all_logits
