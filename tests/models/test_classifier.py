"""The classifiers against transformers' own."""

import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from bert_ft.data.packing import pad, padding_mask
from bert_ft.errors import ConfigError
from bert_ft.models.attention import SequenceLayout
from bert_ft.models.classifier import (
    LinearClassifier,
    ResidualClassifier,
    build_linear,
    build_residual,
)
from bert_ft.models.encoder import EncoderSpec, empty_encoder, empty_sequence_classifier
from bert_ft.tasks.single_label import SingleLabel

from .families import FAMILIES, random_batch, tiny_config

LABELS = ("a", "b", "c")
LENGTHS = [1, 4, 4, 9, 30]


def linear_twins(family: str, **changes):
    """Our linear classifier and transformers' model, same weights, float64."""
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(LABELS).config_entries(), **changes)
    reference = AutoModelForSequenceClassification.from_config(copy.deepcopy(config)).double()
    ours = empty_sequence_classifier(config).double()
    ours.load_state_dict(reference.state_dict())
    return LinearClassifier(ours), reference


def reference_loss(reference, batch):
    return reference(
        input_ids=pad(batch.input_ids, batch, reference.config.pad_token_id),
        attention_mask=padding_mask(batch).long(),
        labels=batch.labels,
    )


@pytest.mark.parametrize("lengths", [[9, 1, 4], [4, 4, 2], [3, 2, 3, 1]])
def test_logits_come_in_the_order_of_the_texts(lengths):
    ours, _ = linear_twins("bert")
    ours.eval()
    batch = random_batch(lengths, token_types=True)  # numbered as given
    one_by_one = {piece.rows.item(): ours(piece)[0] for piece in batch.split(1)}
    expected = torch.stack([one_by_one[row] for row in range(len(lengths))])
    torch.testing.assert_close(ours(batch), expected, rtol=0, atol=1e-9)
    assert torch.equal(ours(batch)[batch.rows], ours.logits(ours.features(batch)))


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_logits_loss_and_gradients_equal_transformers(family):
    ours, reference = linear_twins(family)
    ours.eval()
    reference.eval()
    batch = random_batch(LENGTHS)
    logits = ours(batch)
    torch.nn.functional.cross_entropy(logits, batch.labels).backward()
    expected = reference_loss(reference, batch)
    expected.loss.backward()
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-9)
    state = dict(reference.named_parameters())
    for name, parameter in ours.saved_state().items():
        if name in state:
            assert torch.equal(parameter, state[name]), name
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    prefix = reference.base_model_prefix
    for name, parameter in reference.named_parameters():
        ours_name = f"encoder{name.removeprefix(prefix)}" if name.startswith(f"{prefix}.") else f"head.{name}"
        if parameter.grad is None:
            assert gradients[ours_name] is None, name
        else:
            torch.testing.assert_close(gradients[ours_name], parameter.grad, rtol=0, atol=1e-9, msg=name)


def test_modernbert_with_mean_pooling():
    ours, reference = linear_twins("modernbert", classifier_pooling="mean")
    batch = random_batch(LENGTHS)
    with torch.no_grad():
        expected = reference_loss(reference.eval(), batch).logits
        torch.testing.assert_close(ours.eval()(batch), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("build", [LinearClassifier, ResidualClassifier])
def test_saved_state_round_trip(build):
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(LABELS).config_entries())
    first, second = (
        build(empty_sequence_classifier(config))
        if build is LinearClassifier
        else build(empty_encoder(config))
        for _ in range(2)
    )
    batch = random_batch(LENGTHS)
    assert not torch.equal(first.eval()(batch), second.eval()(batch))
    second.load_saved_state(first.saved_state())
    assert torch.equal(first(batch), second(batch))


def test_linear_state_has_transformers_names():
    ours, reference = linear_twins("roberta")
    assert ours.saved_state().keys() == reference.state_dict().keys()


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_the_order_and_the_company_of_sequences_do_not_matter(pooling):
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(LABELS).config_entries())
    model = ResidualClassifier(empty_encoder(config), pooling=pooling, hidden_sizes=[16]).double().eval()
    batch = random_batch([9, 4, 9, 30])
    together = model(batch)
    apart = torch.cat([model(piece) for piece in batch.split(1)])
    torch.testing.assert_close(together, batch.as_given(apart), rtol=0, atol=1e-9)


def test_pooling_layers_is_the_mean_of_the_last_layers():
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(LABELS).config_entries())
    model = ResidualClassifier(empty_encoder(config), pooling="cls", pooling_layers=2).eval()
    batch = random_batch([6])
    with torch.no_grad():
        states = model.encoder(
            batch.input_ids[None],
            position_ids=batch.position_ids[None],
            layout=SequenceLayout(batch.lengths, 4),
            output_hidden_states=True,
        ).hidden_states
        expected = (states[-1][0, 0] + states[-2][0, 0]) / 2
        torch.testing.assert_close(model.features(batch)[0], expected)


def test_pooling_layers_out_of_range():
    with pytest.raises(ConfigError, match=r"model\.pooling_layers=4: this encoder has 1 to 3 layers"):
        ResidualClassifier(empty_encoder(tiny_config("bert")), pooling_layers=4)


def test_the_residual_head_starts_as_the_plain_one():
    """With blocks of the encoder's width, logits at the start are those of dropout + linear."""
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(LABELS).config_entries())
    model = ResidualClassifier(empty_encoder(config), hidden_sizes=[32, 32]).eval()
    features = torch.randn(5, 32)
    torch.testing.assert_close(model.logits(features), model.head.classifier(features))


def test_builders_load_the_encoder_and_name_the_labels(tmp_path):
    saved = empty_encoder(tiny_config("bert"))
    saved.save_pretrained(tmp_path)
    spec = EncoderSpec(str(tmp_path))
    linear = build_linear(spec, SingleLabel(LABELS).config_entries(), dropout=0.25)
    residual = build_residual(
        spec,
        SingleLabel(LABELS).config_entries(),
        pooling="mean",
        pooling_layers=1,
        head={"hidden_sizes": [8], "dropout": 0.2},
    )
    for model in (linear, residual):
        assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
        assert model.num_labels == 3
        loaded = model.encoder.state_dict()
        for name, value in saved.state_dict().items():
            assert torch.equal(loaded[name], value), name
        assert all(module.training for module in model.modules())
    assert linear.head.dropout.p == 0.25
    assert residual.head.dropout.p == 0.2


def test_linear_with_an_unknown_family():
    model = empty_sequence_classifier(tiny_config("bert"))
    model.config.__class__ = type("Config", (type(model.config),), {"model_type": "strange"})
    with pytest.raises(ConfigError, match=r"'strange'.*use model=bert_residual"):
        LinearClassifier(model)
