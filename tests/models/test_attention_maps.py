"""Attention maps against transformers' own eager attention on padded batches; the encoder stays untouched."""

import copy

import numpy as np
import pytest
import torch
from torch.optim import AdamW
from transformers import AutoConfig, AutoModel

from bert_ft.kernels.dropout import replace_dropout
from bert_ft.kernels.linear import replace_linear
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.attention_maps import attention_maps, eager_twin
from bert_ft.models.encoder import empty_encoder
from bert_ft.models.encoder_config import without_pooler
from bert_ft.models.encoding import encode
from bert_ft.models.first_token import prepare_first_tokens

from .families import FAMILIES, VOCAB_SIZE, random_batch, tiny_config
from .references import padded_reference

pytestmark = pytest.mark.slow

# padding that sees no token at all, as behind a much shorter text under ModernBERT's windows, is NaN in transformers
LENGTHS = [33, 37, 40]


def as_in_training(family, **changes):
    """An encoder with all that training does to one, dropout on."""
    torch.manual_seed(0)
    encoder = empty_encoder(tiny_config(family, **changes)).train()
    replace_dropout(encoder)
    replace_linear(encoder)
    prepare_first_tokens(encoder)
    used = torch.arange(VOCAB_SIZE) % 3 > 0
    encoder.set_input_embeddings(SplitEmbedding(encoder.get_input_embeddings(), used))
    if encoder.supports_gradient_checkpointing:
        encoder.activation_checkpointing_enable({"use_reentrant": False})
        encoder.disable_input_require_grads()
    return encoder


def reference_maps(encoder, batch):
    """Of each sequence, from one padded batch through transformers' own code, in evaluation mode."""
    config = copy.deepcopy(encoder.config)
    model = AutoModel.from_config(config, attn_implementation="eager", **without_pooler(config))
    model.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        maps = padded_reference(model.to(encoder.dtype).eval(), batch, output_attentions=True).attentions
    maps = torch.stack(maps, dim=1)  # (sequences, layers, heads, longest, longest)
    return [maps[row, :, :, :length, :length] for row, length in enumerate(batch.lengths)]


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_transformers_and_leave_the_encoder_untouched(family):
    encoder = as_in_training(family).double()
    encoder.get_submodule("embeddings").eval()  # as a frozen part may be
    batch = random_batch(LENGTHS, token_types=True)
    expected, before = reference_maps(encoder, batch), snapshot(encoder)
    twin = eager_twin(encoder)
    for text, reference in zip(batch.split(1), expected, strict=True):
        found = attention_maps(twin, text)
        assert found.shape == (encoder.config.num_hidden_layers, 4, text.num_tokens, text.num_tokens)
        torch.testing.assert_close(found, reference, rtol=0, atol=1e-9)
        assert float(found.std()) > 0.01  # far from looking at everything alike
    after = snapshot(encoder)
    state = after.pop("state")
    for name, value in before.pop("state").items():
        assert torch.equal(state[name], value), name
    assert torch.equal(after.pop("random"), before.pop("random"))
    assert after == before


def snapshot(encoder):
    return {
        "state": {name: value.clone() for name, value in encoder.state_dict(keep_vars=True).items()},
        "modes": [module.training for module in encoder.modules()],
        "hooks": [list(module._forward_hooks) for module in encoder.modules()],
        "attributes": [sorted(vars(module)) for module in encoder.modules()],
        "attention": encoder.config._attn_implementation,
        "random": torch.get_rng_state(),
    }


def test_windows_show():
    """ModernBERT's local layers look no further than 8 tokens."""
    found = attention_maps(eager_twin(as_in_training("modernbert")), random_batch([40]))
    positions = torch.arange(40)
    far = (positions[:, None] - positions).abs() > 8
    reach = [float(layer[:, far].max()) for layer in found]
    assert [value > 0 for value in reach] == [True, False, True, False]


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_of_an_encoder_that_is_transformers_own(attn_implementation):
    config = tiny_config("bert")
    model = AutoModel.from_config(config, attn_implementation=attn_implementation, **without_pooler(config))
    batch = random_batch([12])
    (expected,) = reference_maps(model, batch)
    torch.testing.assert_close(attention_maps(eager_twin(model), batch), expected)


class TestTheEncoder:
    def test_has_the_same_tensors_as_its_twin(self):
        encoder = as_in_training("bert")
        ours, twins = dict(encoder.named_parameters()), dict(eager_twin(encoder).named_parameters())
        assert ours.keys() == twins.keys()
        for name, value in ours.items():
            assert (value is twins[name]) == (not name.endswith(".unused")), name

    def test_hooks_of_others_do_not_see_it(self):
        encoder, seen = as_in_training("bert"), []
        for module in encoder.modules():
            module.register_forward_hook(lambda *_: seen.append("forward"))
        encoder.register_forward_pre_hook(lambda *_: seen.append("before"))
        attention_maps(eager_twin(encoder), random_batch([9]))
        assert seen == []
        with torch.no_grad():
            encode(encoder, random_batch([9]))
        assert {"forward", "before"} == set(seen)

    def test_may_have_transformers_own_hooks(self):
        """They are installed when hidden states are first asked for, and the module remembers that."""
        encoder, batch = as_in_training("bert"), random_batch([9])
        with torch.no_grad():
            encode(encoder, batch, num_layers=2)
        assert encoder._output_capturing_hooks_installed
        (expected,) = reference_maps(encoder, batch)
        torch.testing.assert_close(attention_maps(eager_twin(encoder), batch), expected)
        with torch.no_grad():
            assert len(encode(encoder, batch, num_layers=2)) == 2

    def test_may_be_compiled(self):
        encoder = as_in_training("bert")

        def refuse(*_, **__):
            raise AssertionError("the compiled encoder was called")

        encoder._compiled_call_impl = refuse
        assert attention_maps(eager_twin(encoder), random_batch([9])) is not None
        assert encoder._compiled_call_impl is refuse

    def test_keeps_its_pending_decay(self):
        """The twin sees unused rows decayed; the encoder decays them later."""
        encoder = as_in_training("bert")
        embedding = encoder.get_input_embeddings()
        optimizer = AdamW([embedding.weight], lr=0.5, weight_decay=0.9)
        embedding.follow(optimizer)
        embedding.weight.grad = torch.zeros_like(embedding.weight)
        optimizer.step()
        unused = embedding.unused.clone()
        batch = random_batch([10])
        batch.input_ids = torch.from_numpy(np.flatnonzero(np.arange(VOCAB_SIZE) % 3 == 0)[2:12])
        found = attention_maps(eager_twin(encoder), batch)
        assert torch.equal(embedding.unused, unused)
        again = attention_maps(eager_twin(encoder), batch)
        torch.testing.assert_close(again, found, rtol=0, atol=0)
        embedding.settle()
        torch.testing.assert_close(embedding.unused, 0.55 * unused)
        torch.testing.assert_close(attention_maps(eager_twin(encoder), batch), found)


@pytest.mark.parametrize(("family", "settings"), [("fnet", {}), ("longformer", {"attention_window": 16})])
def test_a_family_without_attention_of_all_to_all(family, settings):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    settings = settings | sizes | {"max_position_embeddings": 128, "vocab_size": VOCAB_SIZE}
    model = AutoModel.from_config(AutoConfig.for_model(family, **settings))
    assert attention_maps(eager_twin(model), random_batch([20])) is None
