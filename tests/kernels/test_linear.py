"""Linear layers by oneDNN against ``F.linear`` in float64, and when they are used."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bert_ft.kernels import linear as module
from bert_ft.kernels.linear import Linear, linear, onednn_is_faster, replace_linear

IN, OUT = 48, 20


def operands(*shape, bias=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [shape, (OUT, IN), *([(OUT,)] if bias else [])]
    return [torch.randn(*sizes, generator=generator).requires_grad_() for sizes in shapes]


@pytest.fixture
def products(monkeypatch):
    """A list with an element for each product by oneDNN, since results don't show whether it was used."""
    calls = []
    plain = module._product
    monkeypatch.setattr(module, "_product", lambda *given: (calls.append(1), plain(*given))[1])
    return calls


def assert_equals_torch(tensors, gradient, call=linear):
    """``call`` in float32 and torch in float64: the result, and the gradients of whatever has one."""
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    output = call(*tensors)
    wide = [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in tensors]
    expected = F.linear(*wide)
    # float32 sums of 48 to 60 products of the order of 1
    close = {"rtol": 1e-5, "atol": 2e-5, "check_dtype": False}
    torch.testing.assert_close(output, expected, **close)
    assert output.dtype == torch.float32
    assert output.requires_grad == bool(trained)
    if trained:
        ours = torch.autograd.grad(output, trained, gradient)
        theirs = torch.autograd.grad(
            expected, [tensor for tensor in wide if tensor.requires_grad], gradient.double()
        )
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our, their, **close)


@pytest.mark.parametrize("shape", [(IN,), (1, IN), (30, IN), (3, 20, IN), (2, 3, 4, IN)], ids=str)
def test_equals_torch(shape, products):
    assert_equals_torch(operands(*shape), torch.randn(*shape[:-1], OUT))
    assert len(products) == 3


def test_equals_torch_without_bias(products):
    assert_equals_torch(operands(3, 20, IN, bias=False), torch.randn(3, 20, OUT))
    assert len(products) == 3


@pytest.mark.parametrize("shape", [(0, IN), (2, 0, IN)])
def test_no_rows(shape):
    tensors = operands(*shape)
    assert_equals_torch(tensors, torch.empty(*shape[:-1], OUT))


def test_strides():
    """Inputs, weight and gradient that don't lie in rows; a sum's gradient is one number for all."""
    _, weight, bias = operands(30, IN)
    by_column = torch.randn(IN, 30).t().requires_grad_()
    every_other = torch.randn(30, 2 * IN)[:, ::2].requires_grad_()
    swapped = torch.randn(20, 3, IN).transpose(0, 1).requires_grad_()
    for inputs in (by_column, every_other, swapped):
        assert not inputs.is_contiguous()
        shape = (*inputs.shape[:-1], OUT)
        assert_equals_torch([inputs, weight, bias], torch.ones(()).expand(shape))
        assert_equals_torch(
            [inputs, weight, bias], torch.randn(shape[::-1]).permute(*range(len(shape))[::-1])
        )
    turned = torch.randn(IN, OUT).t().requires_grad_()
    assert_equals_torch([by_column, turned, bias], torch.randn(30, OUT))


@pytest.mark.parametrize("trained", [(0,), (1,), (2,), (0, 2), (1, 2), ()], ids=str)
def test_gradients_of_some(trained, products):
    tensors = operands(30, IN)
    for index, tensor in enumerate(tensors):
        tensor.requires_grad_(index in trained)
    assert_equals_torch(tensors, torch.randn(30, OUT))
    assert len(products) == 1 + len({0, 1} & set(trained))  # none for what isn't asked for


def test_falls_back_for_float64_and_under_autocast(products):
    tensors = operands(30, IN)
    wide = [tensor.double() for tensor in tensors]
    assert torch.equal(linear(*wide), F.linear(*wide))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = linear(*tensors)
        assert torch.equal(output, F.linear(*tensors))
    assert output.dtype == torch.bfloat16
    assert not products


def test_falls_back_while_compiling(products):
    tensors = operands(30, IN)
    with torch.no_grad():
        compiled = torch.compile(linear, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*tensors), F.linear(*tensors))
    assert not products


class Special(nn.Linear):
    """Another library's layer, which may have a forward pass of its own."""


def new_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 4, bias=False)), Special(4, 4), nn.Bilinear(4, 4, 2)
    )


def test_replace_linear(monkeypatch, products):
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    model, plain = new_model(), new_model()
    replace_linear(model)
    products.clear()  # those of the self-check
    types = [type(child) for child in (model[0], model[1][0], model[2], model[3])]
    assert types == [Linear, Linear, Special, nn.Bilinear]
    assert model.state_dict().keys() == plain.state_dict().keys()
    inputs = torch.randn(5, 8)
    torch.testing.assert_close(model[:3](inputs), plain[:3](inputs))
    assert len(products) == 2


def test_replace_linear_where_torch_is_as_fast(monkeypatch):
    monkeypatch.setattr(module, "onednn_is_faster", lambda: False)
    model = new_model()
    replace_linear(model)
    assert not any(isinstance(child, Linear) for child in model.modules())


AMD, INTEL = ("vendor_id\t: AuthenticAMD\n", "vendor_id\t: GenuineIntel\n")


@pytest.mark.parametrize(
    ("capability", "onednn", "cpuinfo", "expected"),
    [
        ("AVX512", True, AMD, True),
        ("AVX512", True, INTEL, False),
        ("AVX512", True, None, False),  # another system than Linux
        ("AVX512", False, AMD, False),
        ("AVX2", True, AMD, False),
    ],
)
def test_where_onednn_is_faster(monkeypatch, tmp_path, capability, onednn, cpuinfo, expected):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(module, "Path", {"/proc/cpuinfo": path}.__getitem__)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert onednn_is_faster.__wrapped__() is expected


def test_a_torch_without_the_operator(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert onednn_is_faster.__wrapped__() is False
