"""Layer-wise learning rates of whole classifiers of every family, as the optimizer of a run gets them."""

import re

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.encoding import num_encoder_layers
from bert_ft.optim.layerwise import LayerwiseOptimizer
from bert_ft.optim.schedules import Cosine
from bert_ft.tasks.single_label import SingleLabel

from .families import FAMILIES, tiny_config

LR, DECAY, HEAD_LR, WEIGHT_DECAY = 1e-3, 0.8, 4e-3, 0.05


def classifier_of(family, kind):
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(("a", "b")).config_entries())
    if kind == "linear":
        return LinearClassifier(empty_sequence_classifier(config))
    return ResidualClassifier(empty_encoder(config), pooling="attention", hidden_sizes=[16])


def expected_lr(name, family, num_layers):
    """Read only from the name: a layer is the only number in it."""
    if not name.startswith("encoder.") or "pooler" in name:
        return HEAD_LR
    if "final_norm" in name:
        return LR
    number = re.search(r"\.(\d+)\.", name)
    layer = num_layers - 1 if family == "albert" else int(number[1]) if number else -1
    below_head = num_layers - layer
    if "embedding" in name or number is None:
        below_head = num_layers + 1
    return LR * DECAY**below_head


@pytest.mark.parametrize(("family", "kind"), [*((name, "linear") for name in FAMILIES), ("bert", "residual")])
def test_every_parameter_learns_at_the_rate_of_its_layer(family, kind):
    model = classifier_of(family, kind)
    layers = num_encoder_layers(model.encoder)
    settings = LayerwiseOptimizer(torch.optim.AdamW, LR, DECAY, WEIGHT_DECAY, HEAD_LR)
    optimizer = settings.build(settings.groups(model.named_parameters(), layers))
    groups = {id(param): group for group in optimizer.param_groups for param in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(groups)
    assert groups.keys() == {id(param) for param in model.parameters()}
    multiplier = Cosine(warmup_steps=2).multiplier(10)
    scheduler = LambdaLR(optimizer, multiplier)
    for step in range(4):
        for name, param in model.named_parameters():
            lr = expected_lr(name, family, layers) * multiplier(step)
            assert groups[id(param)]["lr"] == pytest.approx(lr, rel=1e-12), name
            assert groups[id(param)]["weight_decay"] == (WEIGHT_DECAY if param.ndim > 1 else 0.0), name
        optimizer.step()
        scheduler.step()
    rates = [expected_lr(name, family, layers) for name, _ in model.named_parameters()]
    with_norm = any("final_norm" in name for name, _ in model.named_parameters())
    assert len(set(rates)) == (3 if family == "albert" else layers + 2 + with_norm)
