"""All that makes a step on a CPU fast, at once, against transformers' own model on padded batches."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from transformers import AutoModelForSequenceClassification

from bert_ft.data.packing import pad, padding_mask
from bert_ft.kernels import linear as linear_module
from bert_ft.kernels.linear import Linear
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.kernels.used_embedding_rows import decay_unused_rows
from bert_ft.models.classifier import build_linear
from bert_ft.models.encoder import EncoderSpec, empty_sequence_classifier
from bert_ft.models.first_token import computes_first_tokens
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch, tiny_config

LABELS = ("a", "b", "c")
NUM_STEPS = 20
VOCAB_SIZE = 400  # of which the texts use 5 to 98


def batches():
    """Four of them, over and over, so that there is something to learn; lengths as of short texts."""
    for step in range(NUM_STEPS):
        seed = step % 4
        lengths = np.random.default_rng(seed).lognormal(2.5, 0.8, size=8)
        yield random_batch(lengths.clip(3, 64).astype(int).tolist(), seed=seed, token_types=True)


def groups(model):
    return [
        {"params": [p for p in model.parameters() if p.requires_grad and p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.requires_grad and p.ndim <= 1], "weight_decay": 0.0},
    ]


def losses_of(model, forward, lr):
    optimizer = AdamW(groups(model), lr=lr)
    decay_unused_rows(model, optimizer)
    losses = []
    for batch in batches():
        loss = F.cross_entropy(forward(model, batch), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def in_batch_order(model, batch):
    return model.logits(model.features(batch))


def padded(model, batch):
    return model(
        input_ids=pad(batch.input_ids, batch),
        attention_mask=padding_mask(batch).long(),
        token_type_ids=pad(batch.token_type_ids, batch),
    ).logits


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A function of nothing that gives our classifier, all that is fast in it, and transformers' model."""
    folder = tmp_path_factory.mktemp("twins")
    torch.manual_seed(0)
    config = tiny_config(
        "bert",
        **SingleLabel(LABELS).config_entries(),
        vocab_size=VOCAB_SIZE,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    empty_sequence_classifier(config).save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_module, "onednn_is_faster", lambda: True)
        ours = build_linear(
            EncoderSpec(str(folder)), SingleLabel(LABELS).config_entries(), dropout=0.0, keep_head=True
        )
    embedding = ours.encoder.get_input_embeddings()
    used = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
    used[torch.cat([batch.input_ids for batch in batches()])] = True
    assert 0 < used.sum() < VOCAB_SIZE
    ours.encoder.set_input_embeddings(SplitEmbedding(embedding, used))
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).train()
    return partial(copy.deepcopy, (ours, theirs))


def test_losses_equal_transformers_at_every_step(twins):
    ours, theirs = twins()
    assert computes_first_tokens(ours.encoder)
    assert sum(type(module) is Linear for module in ours.modules()) == 3 * 6 + 1  # and the pooler's
    expected = losses_of(theirs, padded, lr=1e-3)
    assert losses_of(ours, in_batch_order, lr=1e-3) == pytest.approx(expected, abs=1e-5)
    assert min(expected) < 0.9 * expected[0]  # they moved


def test_weights_equal_transformers_at_the_end(twins):
    """The rows of the embedding that no text used among them; in float64, where rounding isn't amplified."""
    ours, theirs = (model.double() for model in twins())
    losses_of(theirs, padded, lr=1e-3)
    losses_of(ours, in_batch_order, lr=1e-3)
    expected = theirs.state_dict()
    state = ours.saved_state()
    assert state.keys() == expected.keys()
    for name, value in state.items():
        if not name.endswith("key.bias"):  # its gradient is zero but for rounding, which Adam makes a step of
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["lr", "a token"])
def test_a_small_change_shows(twins, change):
    """The negative control: the comparison would notice."""
    ours, theirs = twins()
    expected = losses_of(theirs, padded, lr=1e-3)
    if change == "lr":
        losses = losses_of(ours, in_batch_order, lr=1.01e-3)
    else:
        row_of = ours.encoder.get_input_embeddings().row_of
        row_of[6] = row_of[5]
        losses = losses_of(ours, in_batch_order, lr=1e-3)
    assert losses != pytest.approx(expected, abs=1e-5)
