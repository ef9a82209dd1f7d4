"""What is private in torch and used: each test fails where torch has changed it. Flash Attention's numbers: tests/cuda."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from bert_ft.compat import torch as compat


def random_tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in [(3,), (2, 4), ()]]


def test_a_recomputation_is_in_a_backward_pass():
    seen = []

    def square(x):
        seen.append(compat.is_in_backward())
        return x * x

    checkpoint(square, torch.ones(2, requires_grad=True), use_reentrant=False).sum().backward()
    assert seen == [False, True], "torch changed how it numbers backward passes"
    assert not compat.is_in_backward(), "torch changed how it numbers backward passes"


def test_differences():
    values, others = random_tensors(0), random_tensors(1)
    found = compat.differences(values, others)
    for difference, value, other in zip(found, values, others, strict=True):
        assert torch.equal(difference, value - other), "torch changed _foreach_sub"


@pytest.mark.parametrize("factor", [0.3, torch.tensor(0.3)], ids=["number", "tensor"])
def test_tensors_are_multiplied_in_place(factor):
    values = random_tensors(0)
    compat.multiply_in_place(values, factor)
    for found, value in zip(values, random_tensors(0), strict=True):
        assert torch.equal(found, value * factor), "torch changed _foreach_mul_"


def test_the_norm_of_each_in_a_precision_of_its_own():
    values = [value.bfloat16() for value in random_tensors(0)]
    found = compat.l2_norms(values, torch.float32)
    assert {norm.dtype for norm in found} == {torch.float32}, "torch changed the dtype of _foreach_norm"
    expected = [value.float().norm() for value in values]
    torch.testing.assert_close(found, expected, msg="torch changed _foreach_norm")


def test_tensors_move_towards_others_in_place():
    values, ends = random_tensors(0), random_tensors(1)
    compat.interpolate_in_place(values, ends, 0.25)
    for found, value, end in zip(values, random_tensors(0), ends, strict=True):
        torch.testing.assert_close(found, 0.75 * value + 0.25 * end, msg="torch changed _foreach_lerp_")


def test_flash_attention_takes_its_arguments():
    """Of tensors without values, which any machine has."""
    states = torch.empty(6, 2, 8, device="meta", dtype=torch.bfloat16)
    ends = torch.empty(3, device="meta", dtype=torch.int32)
    found = compat.flash_attention((states,) * 3, ends, 4, dropout=0.1, scaling=0.35, reach=-1)
    assert found.shape == states.shape, "torch changed _flash_attention_forward"
    arguments = [one.name for one in torch.ops.aten._flash_attention_forward.default._schema.arguments]
    changed = "torch changed the arguments of _flash_attention_forward"
    assert arguments[5:9] == ["max_q", "max_k", "dropout_p", "is_causal"], changed


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_module_has_its_hooks_in_tables(kind):
    module = nn.Linear(1, 1)
    assert not any(compat.hooks_of(module)), "torch changed where a module has its hooks"

    def hook(*arguments):
        return None

    getattr(module, f"register_{kind}_hook")(hook)
    found = [each for table in compat.hooks_of(module) for each in table.values()]
    assert found == [hook], "torch changed where a module has its hooks"


class Keeping(compat.KeepsFloat32):
    in_float32 = ("kept", "absent")

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.tensor([0.1]))
        self.register_buffer("absent", None)
        self.register_buffer("other", torch.tensor([0.1]))


@pytest.mark.parametrize("within", [False, True], ids=["itself", "within another module"])
def test_a_module_keeps_float32(within):
    keeping = Keeping()
    (nn.Sequential(keeping) if within else keeping).bfloat16()
    assert torch.equal(keeping.kept, torch.tensor([0.1])), "torch changed how modules are converted"
    assert keeping.other.dtype == torch.bfloat16, "torch changed how modules are converted"
    assert keeping.absent is None
    assert keeping.to("meta").kept.is_meta, "torch changed how modules are moved"
    assert keeping.double().kept.dtype == torch.float64
