"""A saved model that says different labels of different texts, and its predictions of one text at a time."""

from pathlib import Path

import numpy as np
import torch

from bert_ft.data.packing import pack
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.models.bundle import Bundle, load_bundle, save_bundle
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec
from bert_ft.tasks.single_label import SingleLabel
from tests.conftest import make_rows

TEXTS = [text for text, _ in make_rows(30, seed=5)] + ['with "quotes", commas\nand a line', "NA", "7"]


def make_bundle(encoder: Path, folder: Path, labels: tuple[str, ...] = ("no", "yes")) -> Bundle:
    """Save a model with a random head into the folder."""
    torch.manual_seed(0)  # of the head: with others a text may lie so near the border that rounding decides
    task = SingleLabel(labels)
    classifier = build_linear(EncoderSpec(str(encoder)), task.config_entries(), dropout=None)
    # an untrained encoder says nearly the same of every text: centre the logits, so that labels differ
    tokenizer = load_tokenizer(encoder)
    batch = pack([np.array(tokenizer(text)["input_ids"]) for text in TEXTS[:30]], range(30))
    with torch.no_grad():
        classifier.head.classifier.bias -= classifier.eval()(batch).mean(dim=0)
    return load_bundle(save_bundle(folder, classifier, task, tokenizer, max_length=64))


def probabilities_of(bundle: Bundle, texts: list[str]) -> np.ndarray:
    """``(num_texts, num_labels)``, one text at a time through transformers' tokenizer and the classifier."""
    found = []
    for text in texts:
        ids = np.array(bundle.tokenizer(text, truncation=True, max_length=64)["input_ids"])
        with torch.no_grad():
            found.append(bundle.classifier(pack([ids], [0])).softmax(dim=-1)[0].numpy())
    return np.array(found)
