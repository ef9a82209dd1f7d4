"""A frozen lower part: what stops training, what that saves, and that starting from its states changes nothing."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.models.attention import PACKED_EAGER
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier, build_residual
from bert_ft.models.encoder import EncoderSpec, empty_encoder, empty_sequence_classifier
from bert_ft.models.encoding import encode
from bert_ft.models.first_token import computes_first_tokens
from bert_ft.models.frozen import check_freezing, freeze, frozen_states
from bert_ft.optim.groups import parameter_groups
from bert_ft.optim.layers import layer_of
from bert_ft.tasks.single_label import SingleLabel
from tests.autograd import kept_bytes

from .families import FAMILIES, WITH_BERT_LAYERS, random_batch, tiny_config
from .references import assert_equal, gradients_of

LABELS = ("a", "b", "c")
LENGTHS = [1, 4, 4, 9, 30]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def classifier(family: str, seed: int = 0, *, pooling="cls", pooling_layers=1, **changes):
    """A residual classifier in float64 and in training mode, without dropout of its own."""
    torch.manual_seed(seed)
    config = tiny_config(family, **SingleLabel(LABELS).config_entries(), **changes)
    return ResidualClassifier(
        empty_encoder(config), pooling=pooling, pooling_layers=pooling_layers, dropout=0.0
    ).double()


def gradients(model: nn.Module, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    nn.functional.cross_entropy(model(batch), batch.labels).backward()
    return gradients_of(model)


def with_states(model, batch, num_layers):
    states = frozen_states(model.encoder, batch, num_layers)
    return dataclasses.replace(batch, states=states, num_layers_done=num_layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_frozen_stays_and_what_is_not_is_trained(family):
    total = tiny_config(family).num_hidden_layers
    depths = (0, total) if family == "albert" else range(total + 1)
    for num_layers in depths:
        model = classifier(family)
        check_freezing(model.config, num_layers, cache=False)
        freeze(model.encoder, num_layers)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        settings = {"num_layers": total, "lr": 0.01, "layer_decay": 1.0, "weight_decay": 0.1}
        groups = parameter_groups(model.named_parameters(), **settings)
        names = {group["name"].split("/")[0] for group in groups}
        if family != "albert":
            assert names == {"head", *(f"layer.{index}" for index in range(num_layers, total))}
        optimizer = torch.optim.AdamW(groups)
        for seed in range(2):
            gradients(model, random_batch(LENGTHS, seed=seed))
            optimizer.step()
        for name, parameter in model.named_parameters():
            changed = not torch.equal(parameter, before[name])
            assert changed == (layer_of(name, total) > num_layers), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_upper_part_has_the_gradients_of_the_unfrozen_model(family):
    whole, frozen = classifier(family).eval(), classifier(family).eval()
    freeze(frozen.encoder, 0 if family == "albert" else 2)
    batch = random_batch(LENGTHS)
    expected, found = gradients(whole, batch), gradients(frozen, batch)
    assert found.keys() < expected.keys()
    assert_equal(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta"])
def test_nothing_below_the_boundary_is_kept_for_the_backward_pass(family):
    batch, kept = random_batch(LENGTHS), []
    total = tiny_config(family).num_hidden_layers
    for num_layers in (None, *range(total + 1)):
        model = classifier(family)
        if num_layers is not None:
            freeze(model.encoder, num_layers)
        kept.append(kept_bytes(lambda encoder=model.encoder: encode(encoder, batch)))
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == len(kept)
    # at the top only the encoder's own final norm is left, where it has one
    assert kept[-1] == 0 or family == "modernbert"


# every pair of values
SETTINGS = [("cls", 0, False), ("cls", 1, True), ("cls", 3, True), ("mean", 0, True), ("mean", 1, False)]
SETTINGS += [("mean", 3, False)]


@pytest.mark.parametrize(
    ("family", "pooling", "num_layers", "checkpointing"),
    [("bert", *setting) for setting in SETTINGS]
    + [(family, *SETTINGS[1 + index % 5]) for index, family in enumerate(WITH_BERT_LAYERS)],
)
def test_states_in_the_batch_change_neither_logits_nor_gradients(family, pooling, num_layers, checkpointing):
    model = classifier(family, pooling=pooling, **NO_DROPOUT).train()
    freeze(model.encoder, num_layers)
    if checkpointing:
        model.encoder.activation_checkpointing_enable({"use_reentrant": False})
    batch = random_batch(LENGTHS, token_types=True)
    attached = with_states(model, batch, num_layers)
    assert computes_first_tokens(model.encoder) == (pooling == "cls")
    torch.testing.assert_close(model(attached), model(batch), rtol=0, atol=1e-12)
    assert_equal(gradients(model, attached), gradients(model, batch))


def plain_head():
    config = tiny_config("roberta", **SingleLabel(LABELS).config_entries())
    return LinearClassifier(empty_sequence_classifier(config)).double()


def eager():
    model = classifier("bert")
    model.encoder.set_attn_implementation(PACKED_EAGER)
    return model


# pooling over layers reaches down to the highest frozen one
DEEP = [
    (partial(classifier, "bert", pooling="mean", pooling_layers=k), n)
    for n, k in ((0, 3), (1, 3), (2, 2), (3, 1))
]


@pytest.mark.parametrize(("build", "num_layers"), [(plain_head, 2), (eager, 1), *DEEP])
def test_other_classifiers_take_states(build, num_layers):
    model, batch = build().eval(), random_batch(LENGTHS)
    torch.testing.assert_close(model(with_states(model, batch, num_layers)), model(batch), rtol=0, atol=1e-12)


def test_states_are_cut_and_moved_with_their_batch():
    model = classifier("bert").eval()
    attached = with_states(model, random_batch(LENGTHS), 1)
    pieces = attached.split(10)
    assert len(pieces) > 1
    assert torch.equal(torch.cat([piece.states for piece in pieces]), attached.states)
    assert {piece.num_layers_done for piece in pieces} == {1}
    together = torch.cat([model(piece) for piece in pieces])
    torch.testing.assert_close(together, model(attached), rtol=0, atol=1e-12)
    assert attached.to("meta").states.device.type == "meta"
    assert attached.to("meta").num_layers_done == 1


def test_frozen_states_have_no_dropout_no_gradient_and_leave_the_modes_and_the_generator_alone():
    model = classifier("electra").train()
    model.encoder.encoder.layer[1].eval()
    modes = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    batch = random_batch(LENGTHS)
    first, second = (frozen_states(model.encoder, batch, 2) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(generator, torch.get_rng_state())


def test_the_loaded_encoder_is_frozen(tmp_path):
    empty_encoder(tiny_config("bert")).save_pretrained(tmp_path)
    loaded = EncoderSpec(str(tmp_path), freeze_layers=2).load()
    trained = {name for name, p in loaded.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in loaded.named_parameters() if ".layer.2." in name}
    assert all(p.requires_grad for p in EncoderSpec(str(tmp_path)).load().parameters())


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("bert", {"freeze_layers": 4}, r"encoder\.freeze_layers=4: this encoder has 3 layers"),
        (
            "bert",
            {"freeze_layers": 2, "reinit_layers": 2},
            r"encoder\.freeze_layers=2: with encoder\.reinit_layers=2, some of the 3 layers",
        ),
        (
            "albert",
            {"freeze_layers": 1},
            r"encoder\.freeze_layers=1: the 3 layers of an albert share their weights",
        ),
        ("distilbert", {"freeze_layers": 9}, r"encoder\.freeze_layers=9: this encoder has 3 layers"),
        (
            "modernbert",
            {"freeze_layers": 1, "cache_frozen": True},
            r"encoder\.cache_frozen=true: modernbert can't .* \(bert, camembert, electra.*set it to false",
        ),
    ],
)
def test_what_an_encoder_cannot_have(tmp_path, family, options, message):
    tiny_config(family).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=message):
        EncoderSpec(str(tmp_path), **options).load_config()


def test_pooling_over_layers_that_are_not_kept(tmp_path):
    empty_encoder(tiny_config("bert")).save_pretrained(tmp_path)
    spec = EncoderSpec(str(tmp_path), freeze_layers=2, cache_frozen=True)
    message = r"model\.pooling_layers=3: .*with encoder\.freeze_layers=2 it can be at most 2"
    with pytest.raises(ConfigError, match=message):
        build_residual(spec, SingleLabel(LABELS).config_entries(), pooling="mean", pooling_layers=3, head={})
    build_residual(spec, SingleLabel(LABELS).config_entries(), pooling="mean", pooling_layers=2, head={})
