"""The comparison before a kernel is used: what it finds, what it logs, and that it leaves no trace."""

import logging
import random

import numpy as np
import pytest
import torch
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertAttention

from bert_ft.kernels import dropout, first_token, linear, packed_attention, split_embedding
from bert_ft.kernels.self_check import DeviationError, compare, forget, passes, require_close

pytestmark = pytest.mark.usefixtures("unchecked")

CHECKS = {
    "dropout": (dropout.check,),
    "linear": (linear.check,),
    "packed attention": (packed_attention.check,),
    "split embedding": (split_embedding.check,),
    "first tokens": (first_token.check, BertAttention, BertConfig),
}


def generators():
    return torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("given", CHECKS.values(), ids=CHECKS)
def test_the_kernels_of_this_machine_pass_and_draw_no_random_number(given, caplog):
    torch.manual_seed(3)
    torch.randn(1)  # half of a pair of normal numbers: the other one is kept for the next call
    before = generators()
    assert passes("kernel", *given)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == generators()[1:]
    assert not caplog.records


@pytest.mark.parametrize("given", CHECKS.values(), ids=CHECKS)
def test_the_context_of_a_check_does_not_matter(given):
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
        with torch.no_grad():
            assert passes("kernel", *given)
        forget()
        with torch.inference_mode():
            assert passes("kernel", *given)


def test_a_failure_is_said_once(caplog):
    calls = []

    def check():
        calls.append(1)
        raise DeviationError("output is off\nby a lot")

    for _ in range(3):
        assert not passes("slide rule", check, instead="an abacus")
    assert len(calls) == 1
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == (
        "encoder.kernels=fast: the slide rule failed its self-check (output is off); using an abacus"
    )


@pytest.mark.parametrize(
    ("error", "said"), [(AttributeError("no_such_operator"), "no_such_operator"), (KeyError, "(KeyError)")]
)
def test_any_exception_is_a_failure_and_leaves_the_generator_as_it_was(caplog, error, said):
    def check():
        torch.rand(5)
        raise error

    before = torch.get_rng_state()
    assert not passes("kernel", check)
    assert said in caplog.text
    assert torch.equal(torch.get_rng_state(), before)


def test_the_arguments_belong_to_what_is_remembered():
    calls = []
    for word in ("one", "two", "one"):
        assert passes("kernel", calls.append, word)
    assert calls == ["one", "two"]


WRONG = {
    "output": lambda x: 2 * x + 0.001,
    "gradient 1": lambda x: 2 * x.detach() + 3 * x - 3 * x.detach(),
}


@pytest.mark.parametrize("name", WRONG)
def test_compare_finds(name):
    with pytest.raises(DeviationError, match=f"^{name} is off by up to"):
        compare(WRONG[name], lambda x: 2 * x, torch.rand(3))


def test_compare_takes_equal_functions_and_finds_another_shape():
    compare(lambda x, y: x * y, lambda x, y: y * x, torch.rand(3, 2), torch.rand(3, 2))
    with pytest.raises(DeviationError, match=r"output of shape \(1, 3\) instead of \(3,\)"):
        compare(lambda x: x[None], lambda x: x, torch.rand(3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.001])
def test_require_close(value):
    require_close("it", torch.ones(2), torch.ones(2))
    with pytest.raises(DeviationError, match="it is off by up to"):
        require_close("it", torch.tensor([1.0, value]), torch.ones(2))
