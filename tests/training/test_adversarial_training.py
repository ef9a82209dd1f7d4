"""Adversarial training against transformers' own encoders, perturbed through ``inputs_embeds``."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel

from bert_ft.data.packing import pad, padding_mask
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.encoder_config import without_pooler
from bert_ft.nn.losses import CrossEntropy
from bert_ft.training.objective import LossTerms, Objective
from tests.models.families import FAMILIES, VOCAB_SIZE

from .minimizing import (
    BATCH,
    BOTH_SIZES,
    LENGTHS,
    WHOLE,
    assert_close,
    assert_different,
    backward,
    classifier,
    gradients,
    minimized,
)


def twin_of(model):
    """transformers' own encoder with the same weights, for padded batches, and a copy of the head."""
    config = copy.deepcopy(model.encoder.config)
    # ModernBERT's eager attention gives NaN where a window holds padding alone
    attention = "sdpa" if config.model_type == "modernbert" else "eager"
    twin = nn.Module()
    twin.encoder = AutoModel.from_config(
        config, attn_implementation=attention, **without_pooler(config)
    ).double()
    twin.encoder.load_state_dict(model.encoder.state_dict())
    twin.head = copy.deepcopy(model.head)
    return twin.train()


def adversarial_by_hand(twin, epsilon, weight, pooling="mean"):
    """Total, clean and adversarial loss, and each text's gradient norm, through ``inputs_embeds``."""
    mask = padding_mask(BATCH)
    embeddings = twin.encoder.get_input_embeddings()(
        pad(BATCH.input_ids, BATCH, twin.encoder.config.pad_token_id or 0)
    )

    def loss_at(embeddings):
        states = twin.encoder(inputs_embeds=embeddings, attention_mask=mask.long()).last_hidden_state
        if pooling == "cls":
            features = states[:, 0]
        else:
            features = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.cross_entropy(twin.head(features), BATCH.labels)

    clean = loss_at(embeddings)
    (gradient,) = torch.autograd.grad(clean, embeddings, retain_graph=True)
    norms = gradient.flatten(1).norm(dim=1)
    adversarial = loss_at(embeddings + epsilon * gradient / norms[:, None, None])
    return clean + weight * adversarial, clean, adversarial, norms


def assert_equals_by_hand(model, *, pooling="mean", max_tokens=WHOLE, epsilon=0.5, weight=0.6):
    """Total, terms and gradients of ``model`` are those through ``inputs_embeds``, and none of them is plain."""
    twin = twin_of(model)
    expected, clean, adversarial, _ = adversarial_by_hand(twin, epsilon, weight, pooling)
    expected_gradients = backward(twin, expected)
    plain_gradients = backward(twin, adversarial_by_hand(twin, epsilon, weight, pooling)[1])
    terms = LossTerms(adversarial_epsilon=epsilon, adversarial_weight=weight)
    total, parts = minimized(model, terms, max_tokens=max_tokens)
    assert abs(adversarial.item() - clean.item()) > 1e-3
    assert parts.keys() == {"labels", "adversarial"}
    assert parts["labels"].item() == pytest.approx(clean.item(), rel=1e-9)
    assert parts["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-9)
    assert total.item() == pytest.approx(expected.item(), rel=1e-9)
    found = gradients(model)
    embedding = model.encoder.get_input_embeddings()
    if isinstance(embedding, SplitEmbedding):
        (name,) = [name for name, p in model.named_parameters() if p is embedding.weight]
        order = torch.argsort(embedding.row_of)[: embedding.num_used]
        expected_gradients[name] = expected_gradients[name][order]
        plain_gradients[name] = plain_gradients[name][order]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    expected_gradients = {name: expected_gradients[name] for name in trained & expected_gradients.keys()}
    assert_close(found, expected_gradients)
    assert_different(found, {name: plain_gradients[name] for name in found})


class TestAdversarial:
    @BOTH_SIZES
    @pytest.mark.parametrize("family", FAMILIES)
    def test_equals_transformers_through_inputs_embeds(self, family, max_tokens):
        assert_equals_by_hand(classifier(family), max_tokens=max_tokens)

    @BOTH_SIZES
    @pytest.mark.parametrize("family", ["bert", "electra"])
    def test_with_the_first_tokens_alone(self, family, max_tokens):
        assert_equals_by_hand(classifier(family, pooling="cls"), pooling="cls", max_tokens=max_tokens)

    @BOTH_SIZES
    @pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
    @pytest.mark.parametrize("freeze_layers", [None, 0, 1])
    @pytest.mark.parametrize("family", ["bert", "electra", "deberta"])
    def test_frozen_and_checkpointed_layers(self, family, freeze_layers, checkpointing, max_tokens):
        model = classifier(family, freeze_layers=freeze_layers)
        if checkpointing:
            model.encoder.activation_checkpointing_enable({"use_reentrant": False})
        assert_equals_by_hand(model, max_tokens=max_tokens)

    @BOTH_SIZES
    @pytest.mark.parametrize("family", ["bert", "electra", "deberta-v2"])
    def test_split_embeddings(self, family, max_tokens):
        model = classifier(family)
        used = torch.zeros(VOCAB_SIZE, dtype=torch.bool)
        used[BATCH.input_ids] = True
        used[:5] = True
        assert 0 < used.sum() < VOCAB_SIZE
        model.encoder.set_input_embeddings(
            SplitEmbedding(model.encoder.get_input_embeddings(), used).double()
        )
        assert_equals_by_hand(model, max_tokens=max_tokens)

    def test_a_batch_of_one(self):
        alone = BATCH.split(1)[2]
        for family in ("bert", "deberta"):
            model = classifier(family)
            terms = LossTerms(adversarial_epsilon=1e-4)
            _, parts = minimized(model, terms, batch=alone)
            assert parts["adversarial"] > parts["labels"]

    def test_to_first_order_the_loss_rises_by_epsilon_times_the_gradients_norms(self):
        model = classifier()
        *_, norms = adversarial_by_hand(twin_of(model), 1.0, 1.0)
        _, parts = minimized(model, LossTerms(adversarial_epsilon=1e-6))
        rise = (parts["adversarial"] - parts["labels"]).item() / 1e-6
        assert rise == pytest.approx(norms.sum().item(), rel=1e-3)

    @BOTH_SIZES
    @pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
    def test_each_text_is_moved_by_epsilon(self, autocast, max_tokens):
        """Read off where BERT normalizes the sum of its embeddings."""
        model = classifier(initializer_range=0.1).float()
        seen = []
        handle = model.encoder.embeddings.LayerNorm.register_forward_pre_hook(
            lambda _, given: seen.append(given[0][0].detach())
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            Objective(CrossEntropy(), LossTerms(adversarial_epsilon=0.3))(model, BATCH, max_tokens)
        handle.remove()
        # under checkpoints a first pass runs once more for the gradients
        num_pieces = len(BATCH.split(max_tokens))
        clean, perturbed = torch.cat(seen[:num_pieces]), torch.cat(seen[-num_pieces:])
        moved = (perturbed - clean).split(LENGTHS)
        np.testing.assert_allclose([text.norm().item() for text in moved], 0.3, rtol=1e-4)

    @BOTH_SIZES
    def test_under_autocast_it_is_close_to_float64(self, max_tokens):
        model = classifier(initializer_range=0.1)
        terms = LossTerms(adversarial_epsilon=0.3)
        expected, _ = minimized(model, terms)
        expected_gradients = torch.cat([g.flatten() for g in gradients(model).values()])
        plain, _ = minimized(model)
        plain_gradients = torch.cat([g.flatten() for g in gradients(model).values()])
        model.float().zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total, _ = Objective(CrossEntropy(), terms)(model, BATCH, max_tokens)
        total.backward()
        found = torch.cat([g.double().flatten() for g in gradients(model).values()])
        assert total.dtype == torch.float32
        assert total.item() == pytest.approx(expected.item(), rel=0.02)
        assert F.cosine_similarity(found, expected_gradients, 0) > 0.99
        # of unlike length: twice the loss, and more where it is harder
        assert found.norm().item() == pytest.approx(expected_gradients.norm().item(), rel=0.1)
        assert plain_gradients.norm() < 0.7 * expected_gradients.norm()
        assert plain.item() < 0.7 * expected.item()

    @BOTH_SIZES
    def test_no_hook_is_left(self, max_tokens):
        model = classifier()
        minimized(model, LossTerms(adversarial_epsilon=0.3), max_tokens=max_tokens)
        assert not model.encoder.get_input_embeddings()._forward_hooks

    @pytest.mark.parametrize("failing_pass", [1, 2])
    def test_no_hook_is_left_after_an_exception(self, failing_pass):
        model = classifier()
        passes = []

        def fail(*_):
            passes.append(model.encoder.get_input_embeddings()._forward_hooks)
            if len(passes) == failing_pass:
                assert passes[-1]  # it was there
                raise RuntimeError("broken off")

        model.encoder.encoder.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken off"):
            minimized(model, LossTerms(adversarial_epsilon=0.3))
        assert len(passes) == failing_pass
        assert not model.encoder.get_input_embeddings()._forward_hooks

    @BOTH_SIZES
    def test_looking_for_the_perturbation_leaves_gradients_alone(self, max_tokens):
        model = classifier()
        objective = Objective(CrossEntropy(), LossTerms(adversarial_epsilon=0.3))
        objective(model, BATCH, max_tokens)
        assert gradients(model) == {}
        for parameter in model.parameters():  # of earlier batches of the window
            parameter.grad = torch.ones_like(parameter)
        objective(model, BATCH, max_tokens)
        assert all(torch.equal(gradient, torch.ones_like(gradient)) for gradient in gradients(model).values())
