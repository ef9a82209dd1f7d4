"""A compiled encoder against the same one uncompiled, on batches of several shapes; only by torch's tracing."""

import copy

import pytest
import torch
from torch import nn
from transformers import AttentionInterface

from bert_ft.models.attention import PACKED_EAGER, PACKED_SDPA
from bert_ft.models.classifier import ResidualClassifier
from bert_ft.models.compilation import compile_encoder
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import attention_name, set_dropout
from bert_ft.models.encoding import encode
from bert_ft.models.frozen import freeze
from bert_ft.tasks.single_label import SingleLabel
from tests.training.running import train

from .families import random_batch, tiny_config
from .references import assert_equal, gradients_of

pytestmark = [
    pytest.mark.slow,
    # torch's tracer looks at the gradient of whatever comes into a graph, and of a layer's input there is none
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    # and makes an instance of an autograd function for the context that it hands in
    pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated"),
]

SHAPES = ([3, 9, 9], [1, 4, 4, 17, 30], [5], [2, 2, 2, 2, 8, 8, 64])


@pytest.fixture(autouse=True)
def compiler(monkeypatch):
    """torch's compiler with a backend that runs what was traced as it is; afterwards as if it hadn't been used."""
    import torch._dynamo

    original = nn.Module.compile
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", lambda module, **kw: original(module, **kw, backend=backend))
    for name in (PACKED_EAGER, PACKED_SDPA):
        mapping = AttentionInterface._global_mapping
        monkeypatch.setitem(mapping, name, mapping[name])
    torch._dynamo.reset()
    yield traced
    torch._dynamo.reset()


def encoder(family="bert", implementation="sdpa", dropout=0.0):
    torch.manual_seed(0)
    config = tiny_config(family)
    set_dropout(config, dropout, dropout)
    model = empty_encoder(config).double().train()
    model.set_attn_implementation(attention_name(config, implementation))
    return model


def outputs_and_gradients(model, batch):
    model.zero_grad()
    states = encode(model, batch)[0]
    states.square().sum().backward()
    return states.detach(), gradients_of(model)


@pytest.mark.parametrize(
    ("family", "implementation", "freezes"),
    [
        ("bert", "sdpa", False),
        ("bert", "eager", True),
        ("distilbert", "sdpa", False),
        ("modernbert", "sdpa", False),
    ],
)
def test_outputs_and_gradients_are_those_of_the_uncompiled_encoder(compiler, family, implementation, freezes):
    plain = encoder(family, implementation)
    if freezes:
        freeze(plain, 1)
        plain.activation_checkpointing_enable({"use_reentrant": False})
    compiled = copy.deepcopy(plain)
    compile_encoder(compiled)
    for seed, lengths in enumerate(SHAPES):
        batch = random_batch(lengths, seed=seed)
        states, gradients = outputs_and_gradients(compiled, batch)
        expected_states, expected_gradients = outputs_and_gradients(plain, batch)
        torch.testing.assert_close(states, expected_states, rtol=0, atol=1e-10)
        assert_equal(gradients, expected_gradients, rtol=1e-9, atol=1e-9)
    assert compiler  # it was compiled


def test_other_lengths_of_as_many_tokens_compile_nothing_again(compiler):
    """How a batch is divided isn't part of the graphs, nor, from the second size on, is the number of tokens."""
    model = encoder()
    compile_encoder(model)
    for lengths in ([3, 9, 9], [4, 17, 30]):
        encode(model, random_batch(lengths))
    num_traced = len(compiler)
    assert num_traced > 1
    for lengths in ([3, 9, 9], [21], [7, 7, 7], [1, 2, 3, 4, 5, 6], [2, 40], [13, 13, 13, 13]):
        encode(model, random_batch(lengths))
    assert len(compiler) == num_traced

    # and attention stays outside
    targets = {str(node.target) for graph in compiler for node in graph.graph.nodes}
    assert any("linear" in target for target in targets)
    assert not any("scaled_dot_product_attention" in target for target in targets)


def test_the_pooled_first_tokens():
    torch.manual_seed(0)
    config = tiny_config("bert", **SingleLabel(("a", "b")).config_entries())
    set_dropout(config, 0.0, 0.0)
    plain = ResidualClassifier(empty_encoder(config), pooling="cls", dropout=0.0).double().train()
    compiled = copy.deepcopy(plain)
    compile_encoder(compiled.encoder)
    for lengths in SHAPES:
        batch = random_batch(lengths)
        torch.testing.assert_close(compiled(batch), plain(batch), rtol=0, atol=1e-10)


def test_dropout_acts():
    model = encoder(dropout=0.2)
    compile_encoder(model)
    batch = random_batch([3, 9, 9])
    first, second = (encode(model, batch)[0] for _ in range(2))
    assert not torch.equal(first, second)
    dropped = (encode(model.eval(), batch)[0] - encode(encoder(dropout=0.2).eval(), batch)[0]).abs().max()
    assert dropped < 1e-10


def test_a_run_learns(tmp_path, tiny_encoder, reviews, compiler):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=4", "trainer.compile=true")
    assert compiler
    assert metrics["test"]["accuracy"] >= 0.9
