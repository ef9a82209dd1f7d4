"""``encoder.gradient_checkpointing`` over a partly frozen encoder: it keeps less and changes nothing."""

import pytest
import torch
from torch import nn

from bert_ft.models.classifier import build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.encoding import encode
from bert_ft.tasks.single_label import SingleLabel
from tests.autograd import kept_bytes

from .families import FAMILIES, random_batch, tiny_config
from .references import assert_equal, gradients_of

LABELS = ("a", "b", "c")
CHECKPOINTED = sorted(set(FAMILIES) - {"albert"})  # which transformers can't checkpoint
LENGTHS = [1, 4, 4, 9, 30]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A function of a family that gives the folder of an encoder with dropout."""
    folders = {}

    def folder_of(family):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            torch.manual_seed(0)
            empty_encoder(tiny_config(family)).save_pretrained(folders[family])
        return folders[family]

    return folder_of


def pair(folder, freeze_layers, build=build_residual, **options):
    """Two classifiers of the same weights, the second with gradient checkpointing; dropout is 0.2."""
    models = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        spec = EncoderSpec(
            str(folder),
            hidden_dropout=0.2,
            attention_dropout=0.2,
            freeze_layers=freeze_layers,
            gradient_checkpointing=checkpointing,
        )
        models.append(build(spec, SingleLabel(LABELS).config_entries(), **options).train())
    return models


def gradients(model, batch, seed=1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)  # of the dropout
    nn.functional.cross_entropy(model(batch), batch.labels).backward()
    found = gradients_of(model)
    model.zero_grad()
    return found


RESIDUAL = {"pooling": "mean", "pooling_layers": 1, "head": {}}


PAIRS = [*((family, 2) for family in CHECKPOINTED), ("bert", None), ("bert", 0), ("modernbert", 1)]


@pytest.mark.parametrize(("family", "freeze_layers"), PAIRS)
def test_gradients_are_the_same_and_less_is_kept(checkpoint, family, freeze_layers):
    plain, checkpointed = pair(checkpoint(family), freeze_layers, **RESIDUAL)
    batch = random_batch(LENGTHS)
    kept = saved_bytes(checkpointed, batch)
    assert kept < saved_bytes(plain, batch) / 2
    expected, found = gradients(plain, batch), gradients(checkpointed, batch)
    assert found.keys() == {n for n, p in plain.named_parameters() if p.requires_grad}
    assert_equal(found, expected, atol=0)
    other = gradients(plain, batch, seed=2)  # dropout is on
    assert not all(torch.equal(gradient, other[name]) for name, gradient in found.items())
    checkpointed.requires_grad_(True)
    assert kept <= saved_bytes(checkpointed, batch)  # the more layers are frozen the less


def saved_bytes(model, batch) -> int:
    """The bytes that autograd keeps of the encoder's forward pass, parameters left out."""
    return kept_bytes(lambda: encode(model.encoder, batch))


def test_with_transformers_own_head(checkpoint):
    plain, checkpointed = pair(checkpoint("bert"), 1, build_linear, dropout=0.1)
    batch = random_batch(LENGTHS)
    expected, found = gradients(plain, batch), gradients(checkpointed, batch)
    assert_equal(found, expected, atol=0)


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta"])
def test_layers_run_again_in_the_backward_pass(checkpoint, family):
    batch = random_batch(LENGTHS)
    for model, expected in zip(pair(checkpoint(family), 1, **RESIDUAL), (1, 2), strict=True):
        encoder = model.encoder
        top = (encoder.layers if family == "modernbert" else encoder.encoder.layer)[-1]
        (norm, *_) = [module for module in top.modules() if isinstance(module, nn.Linear)]
        calls = []
        norm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gradients(model, batch)
        assert len(calls) == expected
