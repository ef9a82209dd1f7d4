"""The split embedding against ``nn.Embedding`` trained with the whole table."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from bert_ft.kernels.split_embedding import SplitEmbedding

VOCAB_SIZE, DIM = 12, 4
USED = torch.tensor([id_ in (0, 2, 3, 7, 11) for id_ in range(VOCAB_SIZE)])
USED_IDS = USED.nonzero().flatten()


def whole_table(padding_idx=None, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Embedding(VOCAB_SIZE, DIM, padding_idx=padding_idx, dtype=dtype)


def used_ids(num_ids: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return USED_IDS[torch.randint(len(USED_IDS), (num_ids,), generator=generator)]


@pytest.mark.parametrize(("shape", "padding_idx"), [((20,), None), ((4, 5), 3), ((20,), 4), ((0,), None)])
def test_values_and_gradients(shape, padding_idx):
    whole = whole_table(padding_idx)
    split = SplitEmbedding(whole, USED)
    ids = used_ids(20)[: torch.Size(shape).numel()].view(shape)
    gradient = torch.randn(*shape, DIM, dtype=torch.float64)
    for embedding in (whole, split):
        embedding(ids).backward(gradient)
    assert torch.equal(split(ids), whole(ids))
    torch.testing.assert_close(split.weight.grad, whole.weight.grad[USED], rtol=0, atol=1e-12)
    assert split.unused.grad is None


def step(embedding, optimizer, seed):
    """One step on some of the used rows."""
    optimizer.zero_grad()
    torch.manual_seed(seed)
    embedding(used_ids(6, seed)).mul(torch.randn(6, DIM, dtype=torch.float64)).sum().backward()
    optimizer.step()


def train(embedding, *, fused=False, follow=True):
    """30 steps with a falling rate; weight decay changes once, and the state is read in between."""
    other = nn.Parameter(torch.ones(1, dtype=torch.float64))
    groups = [{"params": [other], "lr": 0.7}, {"params": [embedding.weight], "weight_decay": 0.3}]
    optimizer = AdamW(groups, lr=0.1, fused=fused)
    if follow and isinstance(embedding, SplitEmbedding):
        embedding.follow(optimizer)
    scheduler = LambdaLR(optimizer, lambda done: 1 - done / 40)
    for number in range(30):
        if number == 10:
            optimizer.param_groups[1]["weight_decay"] = 0.05
        if number % 7 == 3:
            embedding.state_dict()
        step(embedding, optimizer, number)
        scheduler.step()
    return embedding.state_dict()["weight"]


@pytest.mark.parametrize(("padding_idx", "fused"), [(None, False), (3, True), (4, False)])
def test_adamw_moves_all_rows_as_it_moves_the_whole_table(padding_idx, fused):
    expected = train(whole_table(padding_idx), fused=fused)
    ours = train(SplitEmbedding(whole_table(padding_idx), USED), fused=fused)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_unused_rows_stay_without_following():
    """The negative control of the test above."""
    whole = whole_table()
    ours = train(SplitEmbedding(whole, USED), follow=False)
    assert torch.equal(whole.weight, whole_table().weight)  # the one that was split isn't trained
    assert torch.equal(ours[~USED], whole.weight[~USED])
    expected = train(whole)
    torch.testing.assert_close(ours[USED], expected[USED], rtol=0, atol=1e-12)
    assert (ours - expected)[~USED].abs().max() > 0.1


def adamw(embedding):
    optimizer = AdamW(embedding.parameters(), lr=0.1, weight_decay=0.3)
    if isinstance(embedding, SplitEmbedding):
        embedding.follow(optimizer)
    return optimizer


def test_a_step_without_gradient_decays_nothing():
    """AdamW leaves out a parameter without a gradient, such as one frozen meanwhile."""
    tables = []
    for embedding in (whole_table(), SplitEmbedding(whole_table(), USED)):
        optimizer = adamw(embedding)
        step(embedding, optimizer, 0)
        optimizer.zero_grad()
        optimizer.step()
        tables.append(embedding.state_dict()["weight"])
    torch.testing.assert_close(tables[1], tables[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("evaluates", ["eval", "no_grad", "inference_mode"])
def test_evaluation_reads_unused_rows_decayed(evaluates):
    whole, split = whole_table(), SplitEmbedding(whole_table(), USED)
    for embedding in (whole, split):
        optimizer = adamw(embedding)
        for seed in range(3):
            step(embedding, optimizer, seed)
        if evaluates == "eval":
            embedding.eval()
    ids = torch.arange(VOCAB_SIZE).view(3, 4).flip(0)
    with torch.inference_mode(evaluates == "inference_mode"), torch.set_grad_enabled(evaluates == "eval"):
        expected = whole(ids)
        for _ in range(2):  # settled once, not at each reading
            torch.testing.assert_close(split(ids), expected, rtol=0, atol=1e-12)


def test_training_on_an_unused_row_names_the_token():
    split = SplitEmbedding(whole_table(), USED)
    with pytest.raises(RuntimeError, match="token 5 is trained on, but wasn't among"):
        split(torch.tensor([[0, 2], [5, 6]]))


def test_the_state_is_the_whole_table_and_goes_round():
    """From and to a plain embedding, below a parent, with pending decay."""
    model = nn.ModuleDict({"words": SplitEmbedding(whole_table(), USED)})
    assert list(model.state_dict()) == ["words.weight"]
    assert torch.equal(model.state_dict()["words.weight"], whole_table().weight)
    optimizer = adamw(model["words"])
    step(model["words"], optimizer, 0)
    plain = nn.ModuleDict({"words": nn.Embedding(VOCAB_SIZE, DIM, dtype=torch.float64)})
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model.state_dict()["words.weight"], plain["words"].weight)
    ids = torch.arange(VOCAB_SIZE)
    assert torch.equal(model.eval()["words"](ids), plain["words"](ids))
    step(model.train()["words"], optimizer, 1)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()["words"](ids), plain["words"](ids))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r'Missing key\(s\).*"weight"'),
        ({"weight": torch.zeros(VOCAB_SIZE + 1, DIM)}, "size mismatch for weight"),
        ({"weight": torch.zeros(VOCAB_SIZE, DIM + 1)}, "size mismatch for weight"),
        ({"weight": torch.zeros(VOCAB_SIZE, DIM), "bias": torch.zeros(1)}, r'Unexpected key\(s\).*"bias"'),
    ],
    ids=["missing", "longer", "wider", "another"],
)
def test_a_state_that_does_not_fit(state, message):
    with pytest.raises(RuntimeError, match=message):
        SplitEmbedding(whole_table(), USED).load_state_dict(state)


def test_a_frozen_embedding_stays_frozen():
    whole = whole_table().requires_grad_(False)
    split = SplitEmbedding(whole, USED)
    ids = used_ids(5)
    assert not split(ids).requires_grad
    assert not any(parameter.requires_grad for parameter in split.parameters())
    other = nn.Parameter(torch.ones(1))
    optimizer = AdamW([other], lr=0.1, weight_decay=0.3)
    split.follow(optimizer)
    other.sum().backward()
    optimizer.step()
    assert torch.equal(split.state_dict()["weight"], whole.weight)


def test_a_copy_is_equal_and_apart():
    split = SplitEmbedding(whole_table(), USED)
    optimizer = adamw(split)
    step(split, optimizer, 0)
    other = copy.deepcopy(split)
    before = split.state_dict()["weight"]
    assert torch.equal(other.state_dict()["weight"], before)
    step(split, optimizer, 1)
    assert torch.equal(other.state_dict()["weight"], before)
    assert not torch.equal(split.state_dict()["weight"], before)
