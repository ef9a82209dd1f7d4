"""The outputs of grades: one score of the text, and a threshold for each grade."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from bert_ft.models.last_layer import last_linear, share_score
from tests.training.minimizing import classifier


@pytest.mark.parametrize("fused", [False, True])
def test_outputs_differ_by_their_biases_and_the_weights_stay_those_of_a_plain_layer(fused):
    model = classifier("bert").float()
    before = last_linear(model.head)[1].weight.detach().clone()
    share_score(model)
    layer = last_linear(model.head)[1]
    assert set(model.state_dict()) == set(classifier("bert").state_dict())
    torch.testing.assert_close(layer.weight[0], before.mean(0))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    features = torch.randn(50, layer.in_features, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(features), torch.arange(50) % layer.out_features).backward()
        optimizer.step()
    assert (layer.weight == layer.weight[:1]).all()
    assert not torch.allclose(layer.weight[0], before.mean(0), atol=0.1)
    found = layer(features)
    torch.testing.assert_close(found, linear(features, layer.weight, layer.bias), rtol=1e-6, atol=1e-6)
    assert torch.allclose(found.diff(dim=1), layer.bias.diff(), atol=1e-5)
    assert len(layer.bias.unique()) == layer.out_features
    other = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(other)  # of a model whose outputs had weights of their own
    assert (layer.weight == layer.weight[:1]).all()
