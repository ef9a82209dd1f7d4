"""What the process learns that trials are forked from."""

import os
import signal
import time

import pytest
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertAttention

from bert_ft.config.trial_preparation import _in_a_fork, prepare_for_trials
from bert_ft.errors import UserError
from bert_ft.kernels import dropout, first_token, linear, packed_attention, self_check, split_embedding
from bert_ft.models import encoder as encoders
from tests.kernels.conftest import unchecked
from tests.training.running import small_run

__all__ = ["unchecked"]

ALL = {
    (dropout.check, ()),
    (linear.check, ()),
    (packed_attention.check, ()),
    (split_embedding.check, ()),
    (first_token.check, (BertAttention, BertConfig)),
}


@pytest.fixture(autouse=True)
def nothing_is_tried(monkeypatch, unchecked):
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(encoders, "tried", {})


def fails(*_):
    raise self_check.DeviationError("broken")


def test_kernels_are_checked_before_the_trials(tmp_path, tiny_encoder, reviews):
    prepare_for_trials(small_run(tmp_path, tiny_encoder, reviews))
    assert set(self_check.passed()) == ALL


def test_what_has_passed_is_not_checked_by_a_trial(tmp_path, tiny_encoder, reviews, monkeypatch):
    prepare_for_trials(small_run(tmp_path, tiny_encoder, reviews))
    monkeypatch.setattr(self_check, "_set_apart", fails)
    assert dropout.is_correct()
    assert first_token.is_correct(BertAttention, BertConfig)
    assert not first_token.is_correct(BertAttention, object)  # another encoder's is checked


def test_plain_kernels_are_not_checked(tmp_path, tiny_encoder, reviews):
    prepare_for_trials(small_run(tmp_path, tiny_encoder, reviews, "encoder.kernels=plain"))
    assert self_check.passed() == []


def test_a_kernel_that_fails_is_left_to_the_trials_to_say(
    tmp_path, tiny_encoder, reviews, monkeypatch, caplog
):
    monkeypatch.setattr(linear, "_product", fails)
    prepare_for_trials(small_run(tmp_path, tiny_encoder, reviews))
    assert set(self_check.passed()) == ALL - {(linear.check, ())}
    assert not caplog.records  # it was said in the other process
    assert not self_check.passes("oneDNN linear layer", linear.check)
    assert "oneDNN linear layer failed its self-check" in caplog.text


def test_an_encoder_is_tried_once(tmp_path, tiny_encoder, reviews, monkeypatch):
    monkeypatch.setattr(encoders, "_tried", lambda *given: "no half precision")
    monkeypatch.setattr(encoders, "FAMILIES", {})  # as if nobody knew BERT
    prepare_for_trials(small_run(tmp_path, tiny_encoder, reviews))
    assert encoders.tried == {(str(tiny_encoder), None): "no half precision"}
    monkeypatch.setattr(encoders, "_tried", fails)
    assert encoders._try(str(tiny_encoder), None) == "no half precision"


def test_wrong_data_are_refused(tmp_path, tiny_encoder, reviews):
    with pytest.raises(UserError, match="nowhere"):
        prepare_for_trials(small_run(tmp_path, tiny_encoder, {**reviews, "train": tmp_path / "nowhere.csv"}))


def test_ctrl_c_ends_the_other_process_without_a_traceback(capfd):
    def interrupted(config):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    assert _in_a_fork(interrupted, None, otherwise="interrupted") == "interrupted"
    assert capfd.readouterr().err == ""
