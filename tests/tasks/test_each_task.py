"""What holds for every task: its training loss is that of transformers or its formula, and a saved folder predicts the same."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error
from torch.nn import functional as F
from transformers import BertForSequenceClassification

from bert_ft.config.build.task import build_objective
from bert_ft.data.dataset import TokenizedSplit
from bert_ft.data.packing import pack
from bert_ft.data.tokenization import load_tokenizer, tokenize
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier, build_linear
from bert_ft.models.encoder import EncoderSpec, empty_encoder, empty_sequence_classifier
from bert_ft.models.outputs import compute_outputs_and_logits
from bert_ft.models.padded import PaddedClassifier
from bert_ft.tasks.label_sets import LabelSets
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from tests.conftest import make_rows
from tests.models.families import random_batch, tiny_config
from tests.models.test_padded import padded_inputs, randomized
from tests.training.minimizing import gradients
from tests.training.running import compose_run

RNG = np.random.default_rng(0)
LENGTHS = [1, 2, 5, 5, 9, 17]


def texts(*cells):
    return pa.chunked_array([pa.array(cells, pa.string())])


def columns(rows):
    return pa.chunked_array([pa.array([dict(zip("abc", map(float, row), strict=True)) for row in rows])])


# task → its class, its labels of as many rows as there are lengths, and the words that choose it
TASKS = {
    "single_label": (SingleLabel(), texts(*"abcabc"), ["loss.label_smoothing=0"]),
    "votes": (SingleLabel(), columns(RNG.integers(1, 5, (6, 3))), ["loss.label_smoothing=0"]),
    "multi_label": (
        MultiLabel(delimiter=";"),
        texts(*(LabelSets().read(cell, "") for cell in ("a;b", "", "c", "a", "b;c", "a;b;c"))),
        ["task=multi_label", "loss.label_smoothing=0"],
    ),
    "regression": (Regression(), pa.chunked_array([pa.array(RNG.normal(5, 3, 6))]), ["task=regression"]),
    "regression of several": (Regression(), columns(RNG.normal(5, 3, (6, 3))), ["task=regression"]),
    "Gaussian": (
        Regression(variance=True),
        pa.chunked_array([pa.array(RNG.normal(5, 3, 6))]),
        ["task=regression", "task.variance=true"],
    ),
    "ordinal": (Ordinal(order=(1, 2, 3, 4)), texts(*"124431"), ["task=ordinal", "loss=plain"]),
}


def reference_loss(task, model, batch, targets):
    """The loss of padded texts: that of transformers where it has the task."""
    inputs = padded_inputs(model, batch)
    has_own = type(task) in (SingleLabel, MultiLabel, Regression) and not getattr(task, "variance", False)
    if has_own and isinstance(model, LinearClassifier):
        theirs = BertForSequenceClassification(tiny_config("bert", **task.config_entries())).double()
        state = model.saved_state()
        theirs.load_state_dict(state)
        labels = targets.double() if targets.is_floating_point() or targets.ndim > 1 else targets
        loss = theirs.eval()(*inputs, labels=labels if batch.order is None else labels[batch.order]).loss
        loss.backward()
        ours = {value.data_ptr(): name for name, value in model.named_parameters()}
        return loss.detach(), {ours[state[n].data_ptr()]: p.grad for n, p in theirs.named_parameters()}
    logits = batch.as_given(PaddedClassifier(model)(*inputs)).double()
    targets = targets.double() if targets.is_floating_point() else targets
    if task.name == "soft_label":
        loss = -(targets * logits.log_softmax(1)).sum(1).mean()
    elif task.name == "ordinal":
        above = logits.sigmoid().cumprod(1)
        edges = torch.cat([torch.ones(len(logits), 1), above, torch.zeros(len(logits), 1)], 1)
        loss = -(edges[:, :-1] - edges[:, 1:]).gather(1, targets[:, None]).log().mean()
    elif task.name == "regression" and task.variance:
        loss = F.gaussian_nll_loss(logits[:, :1], targets, logits[:, 1:].exp())
    elif task.name == "regression":
        loss = F.mse_loss(logits, targets)
    elif task.name == "multi_label":
        loss = F.binary_cross_entropy_with_logits(logits, targets.double())
    else:
        loss = F.cross_entropy(logits, targets)
    model.zero_grad()
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.parametrize("linear", [True, False], ids=["linear", "residual"])
@pytest.mark.parametrize("name", TASKS)
def test_the_loss_of_packed_texts_is_that_of_padded_ones(name, linear, tmp_path):
    task, labels, words = TASKS[name]
    task = task.fitted(labels)
    targets = task.encode(labels)
    torch.manual_seed(0)
    config = tiny_config("bert", **task.config_entries())
    model = (
        LinearClassifier(empty_sequence_classifier(config))
        if linear
        else ResidualClassifier(empty_encoder(config), hidden_sizes=[16])
    )
    model = randomized(model).double()
    drawn = random_batch(LENGTHS)
    sequences = [drawn.input_ids[drawn.cu_seqlens[i] : drawn.cu_seqlens[i + 1]].numpy() for i in range(6)]
    batch = pack(sequences, range(6), labels=targets)
    expected, expected_gradients = reference_loss(task, model, batch, batch.labels)
    objective = build_objective(compose_run(tmp_path, *words), task, targets)
    for max_tokens in (4096, 10):
        model.zero_grad()
        loss, _ = objective(model, batch, max_tokens)
        loss.backward()
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-6, atol=1e-6)
        found = gradients(model)
        assert len(found) > 40
        for key, gradient in expected_gradients.items():
            if gradient is not None and gradient.any():
                torch.testing.assert_close(found[key], gradient, rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", TASKS)
def test_a_reloaded_folder_predicts_the_same(name, tiny_encoder, tmp_path):
    task, labels, _ = TASKS[name]
    task = task.fitted(labels)
    torch.manual_seed(0)
    classifier = build_linear(EncoderSpec(str(tiny_encoder)), task.config_entries(), dropout=None)
    randomized(classifier)
    tokenizer = load_tokenizer(tiny_encoder)
    lines = [text for text, _ in make_rows(30, seed=1)]
    split = TokenizedSplit.from_columns(
        "x", tokenize(Dataset.from_dict({"text": lines}), tokenizer, 64, tmp_path), lines
    )
    expected = compute_outputs_and_logits(classifier, task, split)[0]
    bundle = load_bundle(save_bundle(tmp_path / "model", classifier, task, tokenizer, max_length=64))
    assert (type(bundle.task), bundle.task.settings()) == (type(task), task.settings())
    for batch_size in (1, 128):
        found = compute_outputs_and_logits(bundle.classifier, bundle.task, split, batch_size=batch_size)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    ours, theirs = bundle.task.decode(found), task.decode(expected)
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize("name", ["single_label", "ordinal"])
def test_metrics_are_those_of_scikit_learn(name):
    """Those of the other tasks are compared where their special cases are."""
    task, labels, _ = TASKS[name]
    task = task.fitted(labels)
    logits = torch.from_numpy(RNG.normal(size=(200, len(task.names))))
    true = RNG.integers(len(task.class_names), size=200)
    predicted = task.class_logits(logits).softmax(1).numpy()
    if name == "single_label":
        ids = predicted.argmax(1)
        expected = {"f1_macro": f1_score(true, ids, average="macro")}
    else:
        ids = (predicted.cumsum(1) < 0.5).sum(1)
        expected = {
            "quadratic_kappa": cohen_kappa_score(true, ids, weights="quadratic"),
            "mae": mean_absolute_error(true, ids),
        }
    expected["accuracy"] = accuracy_score(true, ids)
    assert task.scores(logits, torch.from_numpy(true)) == pytest.approx(expected, rel=1e-6)
