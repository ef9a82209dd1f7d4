"""The stage's loss: in pieces as in one, its terms weighted, against transformers' own."""

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import pad, padding_mask
from bert_ft.data.pretraining_batches import PretrainingBatch, text_keys
from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import attention_name, set_dropout
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.nn.contrastive import simcse_loss, supervised_loss
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.pretraining_objective import PretrainingObjective
from tests.models.families import random_batch, tiny_config
from tests.models.test_pretrainer import LENGTHS, masked_batch

MLM = PretrainingObjective()


def pretrainer(dropout=0.0, **parts):
    torch.manual_seed(0)
    config = tiny_config("bert")
    set_dropout(config, dropout, dropout)
    model = AutoModelForMaskedLM.from_config(config, attn_implementation=attention_name(config, "sdpa"))
    return Pretrainer(model.base_model, model, **parts).double().train()


def gradients(model):
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12, msg=name)


def batch_of(text, labels=None):
    text.labels = labels
    return PretrainingBatch(text, text_keys(text))


@pytest.mark.parametrize("max_tokens", [1000, 12])
def test_masked_tokens_are_those_of_transformers(max_tokens):
    ours, batch = pretrainer(), masked_batch()
    reference = AutoModelForMaskedLM.from_config(tiny_config("bert")).double()
    reference.load_state_dict(next(iter(ours._saved)).state_dict())
    found = MLM.masked_tokens(ours, batch, max_tokens)
    labels = torch.where(batch.is_target, batch.text.input_ids, -100)
    expected = reference.eval()(
        input_ids=pad(batch.masked.input_ids, batch.text),
        attention_mask=padding_mask(batch.text).long(),
        labels=pad(labels, batch.text, -100),
    )
    assert found.loss.dtype == torch.float64
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-9, atol=0)
    guesses = expected.logits.argmax(-1)[padding_mask(batch.text)]
    assert found.num_correct == (guesses == batch.text.input_ids)[batch.is_target].sum()
    assert found.num_targets == batch.is_target.sum()
    found.loss.backward()
    expected.loss.backward()
    wanted = {name: p.grad for name, p in reference.base_model.named_parameters() if p.grad is not None}
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            ours.encoder.get_parameter(name).grad, gradient, rtol=1e-6, atol=1e-9, msg=name
        )


def test_without_a_target_loss_and_gradients_are_zero():
    ours, text = pretrainer(), random_batch(LENGTHS)
    batch = MaskedBatch(text, text, torch.zeros(text.num_tokens, dtype=torch.bool))
    found = MLM.masked_tokens(ours, batch, 1000)
    found.loss.backward()
    assert found.loss == found.num_targets == 0
    assert all(not gradient.any() for gradient in gradients(ours).values())


@pytest.mark.parametrize("supervised", [False, True])
def test_views_in_pieces_are_those_of_the_whole(supervised):
    objective = PretrainingObjective(0.0, 1.0, supervised=supervised, temperature=0.2)
    ours = pretrainer(projection_sizes=[8])
    batch = batch_of(random_batch(LENGTHS), torch.tensor([0, 1, 0, 1, 1]))
    results = []
    for max_tokens in (1000, 12):
        views = objective.views(ours, batch, max_tokens, same_label=SingleLabel().same_label)
        views.loss.backward()
        results.append((views.loss.detach(), gradients(ours)))
    torch.testing.assert_close(results[1][0], results[0][0])
    assert_close(results[1][1], results[0][1])
    projected = ours.project(ours.features(batch.text))
    loss, groups = (
        (supervised_loss, (batch.text.labels, batch.text_keys))
        if supervised
        else (simcse_loss, (batch.text_keys,))
    )
    arguments = {"same_label": SingleLabel().same_label} if supervised else {}
    expected = loss(projected, projected, *groups, 0.2, **arguments)
    torch.testing.assert_close(results[0][0], expected.detach())


def test_views_differ_by_dropout_and_copies_are_no_negatives():
    ours, text = pretrainer(dropout=0.1), random_batch([5, 5, 5])
    text.input_ids[5:10] = text.input_ids[:5]
    objective = PretrainingObjective(0.0, 1.0, temperature=0.2)
    views = objective.views(ours, batch_of(text), 1000)
    assert (views.first - views.second).abs().max() > 0.01
    similarity = F.normalize(views.first, dim=-1) @ F.normalize(views.second, dim=-1).T / 0.2
    similarity[0, 1] = similarity[1, 0] = -torch.inf  # texts 0 and 1 are one
    torch.testing.assert_close(views.loss, -similarity.log_softmax(-1).diagonal().mean())


def test_the_sum_is_weighted():
    ours = pretrainer()
    objective = PretrainingObjective(0.5, 2.0)
    masked = objective.masked_tokens(ours, masked_batch(), 1000)
    views = objective.views(ours, batch_of(random_batch(LENGTHS)), 1000)
    total = objective.total(masked, views)
    torch.testing.assert_close(total, 0.5 * masked.loss + 2.0 * views.loss)
    assert objective.total(masked, None) == 0.5 * masked.loss
    assert objective.total(None, views) == 2.0 * views.loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlm_weight": 0.0}, "mlm_weight=0: contrastive_weight is also 0"),
        ({"mlm_weight": -1.0}, r"mlm_weight=-1\.0: must be a number ≥ 0"),
        ({"contrastive_weight": float("nan")}, "contrastive_weight=nan: must be"),
        ({"temperature": 0.0}, r"temperature=0\.0: must be a number > 0"),
    ],
)
def test_what_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        PretrainingObjective(**settings)
