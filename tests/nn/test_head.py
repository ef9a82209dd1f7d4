"""The residual head: what it starts as, what it computes, what it refuses."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bert_ft.errors import ConfigError
from bert_ft.nn.head import ResidualBlock, ResidualHead


def features(width=16, rows=6):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


def scrambled(block):
    """``block`` with no parameter left at its initial value."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in block.parameters():
            param.normal_(generator=generator)
    return block


@pytest.mark.parametrize("out_features", [16, 8])
def test_block_is_its_formula(out_features):
    block = scrambled(ResidualBlock(16, out_features, dropout=0.5)).double().eval()
    weights = dict(block.named_parameters())
    x = features().double()
    normed = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = normed * weights["norm.weight"] + weights["norm.bias"]
    inner = normed @ weights["expand.weight"].T + weights["expand.bias"]
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    skip = x if out_features == 16 else x @ weights["skip.weight"].T
    expected = skip + inner @ weights["project.weight"].T + weights["project.bias"]
    torch.testing.assert_close(block(x), expected)


def test_a_block_starts_as_the_identity_or_by_keeping_all_distances():
    assert torch.equal(ResidualBlock(16, 16, dropout=0.5)(features()), features())
    widened = ResidualBlock(16, 32, dropout=0.5)(features())
    torch.testing.assert_close(torch.cdist(widened, widened), torch.cdist(features(), features()))


def test_head_starts_as_the_plain_head():
    torch.manual_seed(0)
    head = ResidualHead(16, 3, hidden_sizes=[16, 16], dropout=0.1).eval()
    plain = ResidualHead(16, 3, hidden_sizes=[], dropout=0.1).eval()
    plain.classifier = copy.deepcopy(head.classifier)
    assert len(list(plain.parameters())) == 2
    assert torch.equal(head(features()), plain(features()))


def test_plain_head_is_dropout_and_linear():
    head = ResidualHead(16, 3, hidden_sizes=[], dropout=0.4)
    torch.manual_seed(0)
    logits = head(features())
    torch.manual_seed(0)
    expected = F.linear(F.dropout(features(), 0.4), head.classifier.weight, head.classifier.bias)
    assert torch.equal(logits, expected)


def test_classifier_starts_as_huggings_faces():
    torch.manual_seed(0)
    classifier = ResidualHead(768, 100, hidden_sizes=[], dropout=0.0).classifier
    # 76,800 draws: the standard error of their deviation is 0.02 / sqrt(2 * 76,800) = 5e-5
    assert classifier.weight.std().item() == pytest.approx(0.02, abs=3e-4)
    assert not classifier.bias.any()


def test_blocks_follow_the_hidden_sizes():
    head = ResidualHead(16, 3, hidden_sizes=[24, 24, 8], dropout=0.1)
    assert head(features()).shape == (6, 3)
    assert [block.project.out_features for block in head.blocks] == [24, 24, 8]
    assert [isinstance(block.skip, nn.Identity) for block in head.blocks] == [False, True, False]


def test_every_parameter_learns_from_the_second_step_on():
    """At the first step the zero projection hides what stands before it in the block."""
    torch.manual_seed(0)
    head = ResidualHead(16, 3, hidden_sizes=[16, 8], dropout=0.0)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(head(features()), labels).backward()
        optimizer.step()
    assert all(param.grad.any() for param in head.parameters())


@pytest.mark.parametrize(
    "module", [ResidualBlock(16, 16, 0.5), ResidualHead(16, 3, hidden_sizes=[], dropout=0.5)]
)
def test_dropout_acts_in_training_only(module):
    scrambled(module).train()
    assert not torch.equal(module(features()), module(features()))
    module.eval()
    assert torch.equal(module(features()), module(features()))


@pytest.mark.parametrize(
    ("hidden_sizes", "dropout", "message"),
    [
        ([], 1.0, r"model\.head\.dropout=1\.0: must be a number ≥ 0 and < 1"),
        ([16, -1], 0.1, r"model\.head\.hidden_sizes=\[.*\]: must be a list of integers ≥ 1"),
    ],
)
def test_out_of_range(hidden_sizes, dropout, message):
    with pytest.raises(ConfigError, match=message):
        ResidualHead(16, 3, hidden_sizes=hidden_sizes, dropout=dropout)
