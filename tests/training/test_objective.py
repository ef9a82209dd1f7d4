"""What training minimizes, against the same computed by hand from plain passes of the model."""

import copy
import csv

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel

from bert_ft.config.build import build_training
from bert_ft.config.check import problems
from bert_ft.data.packing import pad, padding_mask
from bert_ft.data.prepare import prepare
from bert_ft.data.sources import Files
from bert_ft.errors import ConfigError
from bert_ft.models.bundle import load_bundle
from bert_ft.models.classifier import ResidualClassifier, label_names
from bert_ft.models.encoder import empty_encoder, set_dropout, without_pooler
from bert_ft.models.frozen import freeze
from bert_ft.nn.embedding import SplitEmbedding
from bert_ft.nn.losses import CrossEntropy, Focal, SupervisedContrastive
from bert_ft.training.objective import LossTerms, Objective
from tests.autograd import kept_bytes
from tests.config.test_conf import compose
from tests.models.families import FAMILIES, VOCAB_SIZE, random_batch, tiny_config

from .running import small_run, train

LABELS = ("a", "b", "c")
LENGTHS = [1, 2, 5, 5, 9, 17]
WHOLE, PIECES = 4096, 10  # the longest text is a piece alone
BATCH = random_batch(LENGTHS)
BOTH_SIZES = pytest.mark.parametrize("max_tokens", [WHOLE, PIECES], ids=["whole", "pieces"])


def classifier(family="bert", *, dropout=0.0, pooling="mean", freeze_layers=None, **changes):
    """A residual classifier in float64 and in training mode."""
    torch.manual_seed(0)
    config = tiny_config(family, **label_names(LABELS), **changes)
    set_dropout(config, dropout, dropout)
    model = ResidualClassifier(empty_encoder(config), pooling=pooling, hidden_sizes=[32], dropout=dropout)
    for layer in (model.head.blocks[0].project, model.head.classifier):
        nn.init.normal_(layer.weight, std=0.3)  # as fresh ones they would count for little
    if freeze_layers is not None:
        freeze(model.encoder, freeze_layers)
    return model.double().train()


def minimized(model, terms=None, *, batch=BATCH, max_tokens=WHOLE, loss=None, seed=0):
    """The total and the terms; gradients lie in the model's parameters."""
    model.zero_grad()
    torch.manual_seed(seed)  # of the dropout
    total, parts = Objective(loss or CrossEntropy(), terms)(model, batch, max_tokens)
    total.backward()
    return total.detach(), parts


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def backward(model, total) -> dict[str, torch.Tensor]:
    model.zero_grad()
    total.backward()
    return gradients(model)


def assert_close(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=tolerance, atol=tolerance, msg=name)


def assert_different(found, expected):
    largest = max((found[name] - expected[name]).abs().max().item() for name in found)
    assert largest > 1e-4


@BOTH_SIZES
class TestWithoutTerms:
    @pytest.mark.parametrize(
        "loss",
        [CrossEntropy(label_smoothing=0.1), CrossEntropy(class_weights=[0.5, 2.0, 3.0]), Focal()],
        ids=["smoothing", "class weights", "focal"],
    )
    @pytest.mark.parametrize("family", ["bert", "deberta"])
    def test_it_is_the_loss_of_the_batch(self, family, loss, max_tokens):
        model = classifier(family)
        expected = loss(model(BATCH), BATCH.labels)
        expected_gradients = backward(model, expected)
        total, parts = minimized(model, loss=loss, max_tokens=max_tokens)
        torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=1e-12)
        assert_close(gradients(model), expected_gradients)
        assert parts == {}

    def test_dropout_is_that_of_the_pieces(self, max_tokens):
        model = classifier(dropout=0.3)
        torch.manual_seed(7)
        logits = torch.cat([model(piece) for piece in BATCH.split(max_tokens)])
        expected = F.cross_entropy(logits, BATCH.labels)
        expected_gradients = backward(model, expected)
        total, _ = minimized(model, max_tokens=max_tokens, seed=7)
        torch.testing.assert_close(total, expected.detach(), rtol=1e-12, atol=1e-12)
        assert_close(gradients(model), expected_gradients)
        minimized(model, max_tokens=max_tokens, seed=8)
        assert_different(gradients(model), expected_gradients)


def saved_bytes(model, max_tokens) -> int:
    """What is kept for the backward pass of a whole objective, parameters left out."""
    return kept_bytes(lambda: Objective(CrossEntropy())(model, BATCH, max_tokens))


def test_pieces_are_not_kept():
    model = classifier(dropout=0.1)
    assert saved_bytes(model, PIECES) < saved_bytes(model, WHOLE) / 20


@BOTH_SIZES
class TestContrastive:
    TERMS = LossTerms(contrastive_weight=0.7, contrastive_temperature=0.2)

    def by_hand(self, model, temperature=0.2):
        features = model.features(BATCH)
        loss = F.cross_entropy(model.logits(features), BATCH.labels)
        return loss, SupervisedContrastive(temperature)(features, BATCH.labels)

    def test_it_is_added_with_its_weight(self, max_tokens):
        model = classifier()
        loss, contrastive = self.by_hand(model)
        expected_gradients = backward(model, loss + 0.7 * contrastive)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert contrastive.item() > 0.1
        assert total.item() == pytest.approx((loss + 0.7 * contrastive).item(), rel=1e-12)
        assert parts.keys() == {"labels", "contrastive"}
        assert parts["labels"].item() == pytest.approx(loss.item(), rel=1e-12)
        assert parts["contrastive"].item() == pytest.approx(contrastive.item(), rel=1e-12)
        assert not any(part.requires_grad for part in parts.values())
        assert_close(gradients(model), expected_gradients)

    def test_weight_and_temperature_count(self, max_tokens):
        model = classifier()
        loss, contrastive = self.by_hand(model, temperature=0.1)
        found, _ = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert found.item() != pytest.approx((loss + 0.7 * contrastive).item(), rel=1e-3)
        assert minimized(model, LossTerms(contrastive_temperature=0.2))[0].item() == loss.item()


@BOTH_SIZES
class TestRDrop:
    TERMS = LossTerms(r_drop_weight=0.8)

    def by_hand(self, model, max_tokens, seed):
        """Loss and divergence of two passes, the divergence by torch."""
        torch.manual_seed(seed)
        first, second = (torch.cat([model(piece) for piece in BATCH.split(max_tokens)]) for _ in range(2))
        loss = (F.cross_entropy(first, BATCH.labels) + F.cross_entropy(second, BATCH.labels)) / 2
        a, b = first.log_softmax(-1), second.log_softmax(-1)
        kl = [F.kl_div(q, p, reduction="batchmean", log_target=True) for p, q in ((a, b), (b, a))]
        return loss, sum(kl) / 2, (first, second)

    def test_without_dropout_it_adds_nothing(self, max_tokens):
        model = classifier()
        expected, _ = minimized(model, max_tokens=max_tokens)
        expected_gradients = gradients(model)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens)
        assert parts["r_drop"].item() == 0
        assert total.item() == pytest.approx(expected.item(), rel=1e-12)
        assert_close(gradients(model), expected_gradients)

    def test_with_dropout_it_draws_two_passes_together(self, max_tokens):
        model = classifier(dropout=0.3)
        loss, divergence, _ = self.by_hand(model, max_tokens, seed=5)
        expected_gradients = backward(model, loss + 0.8 * divergence)
        total, parts = minimized(model, self.TERMS, max_tokens=max_tokens, seed=5)
        assert divergence.item() > 0.01
        assert total.item() == pytest.approx((loss + 0.8 * divergence).item(), rel=1e-12)
        assert parts["labels"].item() == pytest.approx(loss.item(), rel=1e-12)
        assert parts["r_drop"].item() == pytest.approx(divergence.item(), rel=1e-12)
        assert_close(gradients(model), expected_gradients)

    def test_rows_weigh_as_in_the_loss(self, max_tokens):
        """So that a batch is the mean of its parts by ``weight``."""
        model = classifier(dropout=0.3)
        weights = torch.arange(1.0, 1 + model.num_labels)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            a, b = (
                torch.cat([model(piece) for piece in BATCH.split(max_tokens)]).log_softmax(-1)
                for _ in range(2)
            )
        rows = ((a.exp() - b.exp()) * (a - b)).sum(-1) / 2
        of_rows = weights[BATCH.labels]
        objective = Objective(CrossEntropy(class_weights=weights.tolist()), self.TERMS).double()
        torch.manual_seed(5)
        _, parts = objective(model, BATCH, max_tokens)
        expected = (rows * of_rows).sum() / of_rows.sum()
        assert parts["r_drop"].item() == pytest.approx(expected.item(), rel=1e-9)

    def test_the_gradient_flows_into_both_passes(self, max_tokens):
        """What by_hand gives with one of the passes held fixed isn't it."""
        model = classifier(dropout=0.3)
        minimized(model, self.TERMS, max_tokens=max_tokens, seed=5)
        found = gradients(model)
        for fixed in range(2):
            loss, _, passes = self.by_hand(model, max_tokens, seed=5)
            a, b = (p.detach() if index == fixed else p for index, p in enumerate(passes))
            p, q = a.softmax(-1), b.softmax(-1)
            divergence = ((p - q) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1).mean() / 2
            assert_different(backward(model, loss + 0.8 * divergence), found)


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


def test_all_terms_together():
    model = classifier(dropout=0.2)
    terms = LossTerms(
        contrastive_weight=0.3, r_drop_weight=0.5, adversarial_epsilon=0.4, adversarial_weight=0.7
    )
    total, parts = minimized(model, terms, max_tokens=PIECES)
    assert set(parts) == {"labels", "contrastive", "r_drop", "adversarial"}
    assert all(part > 0 for part in parts.values())
    weighted = (
        parts["labels"] + 0.3 * parts["contrastive"] + 0.5 * parts["r_drop"] + 0.7 * parts["adversarial"]
    )
    torch.testing.assert_close(total, weighted, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("terms", "passes"),
    [
        ({}, 1),
        ({"contrastive_weight": 1.0}, 1),
        ({"r_drop_weight": 1.0}, 2),
        ({"adversarial_epsilon": 1.0}, 2),
        ({"adversarial_epsilon": 1.0, "adversarial_weight": 0.0}, 1),
        ({"r_drop_weight": 1.0, "adversarial_epsilon": 1.0}, 3),
    ],
)
def test_what_is_off_costs_no_pass(terms, passes):
    model = classifier()
    count = []
    model.encoder.register_forward_pre_hook(lambda *_: count.append(1))
    _, parts = minimized(model, LossTerms(**terms))
    assert len(count) == passes
    assert bool(parts) == (terms != {} and terms.get("adversarial_weight") != 0)


def test_weight_is_what_the_mean_has_divided_by():
    labels = torch.tensor([0, 2, 2, 1])
    assert Objective(CrossEntropy()).weight(labels) == 4
    assert Objective(nn.CrossEntropyLoss()).weight(labels) == 4
    weighted = Objective(CrossEntropy(class_weights=[0.5, 1.0, 4.0]))
    assert float(weighted.weight(labels)) == 0.5 + 4 + 4 + 1


@pytest.mark.parametrize("name", list(vars(LossTerms())))
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_terms_out_of_range(name, value):
    with pytest.raises(ConfigError, match=rf"loss\.{name}={value} must be at least 0"):
        LossTerms(**{name: value})


def recorded(folder, column="train/loss") -> list[float]:
    with (folder / "csv/version_0/metrics.csv").open() as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


EPOCH = "trainer.max_epochs=1"


@pytest.fixture(scope="module")
def plain_losses(tmp_path_factory, tiny_encoder, reviews):
    folder = tmp_path_factory.mktemp("plain")
    train(folder, tiny_encoder, reviews, EPOCH)
    return recorded(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        (["loss=r_drop"], {"labels", "r_drop"}),
        (["loss=supervised_contrastive"], {"labels", "contrastive"}),
        (["loss=adversarial"], {"labels", "adversarial"}),
        (["loss=adversarial", "data.max_tokens=64"], {"labels", "adversarial"}),
        (["loss=adversarial", "encoder.freeze_layers=1"], {"labels", "adversarial"}),
        (["loss=adversarial", "trainer.precision=16"], {"labels", "adversarial"}),
        (["loss=adversarial", "loss.r_drop_weight=1"], {"labels", "adversarial", "r_drop"}),
        (["loss=focal"], set()),
        (["loss.label_smoothing=0.3"], set()),
        (["loss.class_weights=balanced"], set()),
        (["loss.class_weights=[1.0,3.0]"], set()),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_runs_differ_in_training_and_are_judged_alike(
    tmp_path, tiny_encoder, reviews, plain_losses, overrides, columns
):
    """Whatever was minimized, what is reported is plain cross entropy, recomputed here from the saved folder."""
    _, metrics = train(tmp_path / "run", tiny_encoder, reviews, EPOCH, *overrides)
    losses = recorded(tmp_path / "run")
    assert len(losses) == len(plain_losses) == 10
    assert all(abs(loss - plain) > 1e-5 for loss, plain in zip(losses, plain_losses, strict=True))
    header = (tmp_path / "run/csv/version_0/metrics.csv").read_text().splitlines()[0].split(",")
    found = {name.removeprefix("train/loss_") for name in header if name.startswith("train/loss_")}
    assert found == columns
    for name in columns:
        values = recorded(tmp_path / "run", f"train/loss_{name}")
        assert len(values) == 10
        assert min(values) > 0

    bundle = load_bundle(tmp_path / "run/model")
    splits = prepare(
        Files(**{f"{name}_file": str(path) for name, path in reviews.items()}).load(tmp_path),
        bundle.tokenizer,
        max_length=bundle.max_length,
        seed=0,
        cache_dir=tmp_path,
    ).splits
    tolerance = 0.02 if "trainer.precision=16" in overrides else 1e-6
    for split, reported in ((splits["validation"], metrics["val"]), (splits["test"], metrics["test"])):
        with torch.no_grad():
            logits = torch.cat([bundle.classifier(split[row]) for row in range(len(split))])
        expected = F.cross_entropy(logits, torch.from_numpy(split.labels)).item()
        assert reported["loss"] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=r_drop", "loss.r_drop_weight=0"],
        ["loss=supervised_contrastive", "loss.contrastive_weight=0"],
        ["loss=adversarial", "loss.adversarial_epsilon=0"],
        ["loss=adversarial", "loss.adversarial_weight=0"],
    ],
    ids=str,
)
def test_a_term_switched_off_leaves_no_trace(tmp_path, tiny_encoder, reviews, plain_losses, overrides):
    train(tmp_path, tiny_encoder, reviews, EPOCH, *overrides)
    assert recorded(tmp_path) == plain_losses


def objective_of(folder, encoder, files, *overrides):
    """The objective of a run that is built and not started."""
    return build_training(small_run(folder, encoder, files, *overrides)).module.objective


def test_balanced_weights_are_those_of_the_training_rows(tmp_path, tiny_encoder, reviews):
    with reviews["train"].open() as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    expected = compute_class_weight("balanced", classes=np.array(["negative", "positive"]), y=labels)
    assert expected[0] != expected[1]
    objective = objective_of(tmp_path, tiny_encoder, reviews, "loss.class_weights=balanced")
    assert objective.loss.class_weights.tolist() == pytest.approx(expected.tolist())


def test_settings_reach_the_objective(tmp_path, tiny_encoder, reviews):
    objective = objective_of(
        tmp_path,
        tiny_encoder,
        reviews,
        "loss=focal",
        "loss.gamma=3",
        "loss.class_weights=[1.0,2.0]",
        "loss.contrastive_weight=0.1",
        "loss.contrastive_temperature=0.2",
        "loss.r_drop_weight=0.3",
        "loss.adversarial_epsilon=0.4",
        "loss.adversarial_weight=0.5",
    )
    assert (type(objective.loss), objective.loss.gamma) == (Focal, 3)
    assert objective.loss.class_weights.tolist() == [1.0, 2.0]
    assert objective.contrastive.temperature == 0.2
    assert objective.terms == LossTerms(0.1, 0.2, 0.3, 0.4, 0.5)


def test_another_number_of_class_weights(tmp_path, tiny_encoder, reviews):
    message = (
        r"loss\.class_weights=\[1\.0, 2\.0, 3\.0\]: 3 weights for the 2 labels negative, positive; give one"
    )
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, "loss.class_weights=[1.0,2.0,3.0]")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("loss=adversarial", "loss.adversarial_epsilon=1.0: encoder.cache_frozen=true"),
        (
            "data.augmentation.token_dropout=0.1",
            "data.augmentation.token_dropout=0.1: encoder.cache_frozen=true",
        ),
        ("data.augmentation.token_swap=0.1", "data.augmentation.token_swap=0.1: encoder.cache_frozen=true"),
        (
            "data.augmentation.span_masking=0.1",
            "data.augmentation.span_masking=0.1: encoder.cache_frozen=true",
        ),
    ],
)
def test_kept_states_go_with_nothing_that_changes_their_input(override, key):
    cached = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
    (found,) = problems(compose(*cached, override))
    assert key in found
    assert problems(compose(*cached)) == problems(compose(override)) == []


def test_such_a_run_is_refused(tmp_path, tiny_encoder, reviews):
    cached = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
    with pytest.raises(ConfigError, match=r"loss\.adversarial_epsilon=1\.0: encoder\.cache_frozen=true"):
        train(tmp_path, tiny_encoder, reviews, "loss=adversarial", *cached)
