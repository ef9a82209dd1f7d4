"""The heads of families that run padded, against transformers' own forward (packed ones: test_classifier, test_pretrainer)."""

import copy

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from bert_ft.data.masking import MaskedBatch
from bert_ft.data.packing import pad, padding_mask
from bert_ft.models.classifier import LinearClassifier
from bert_ft.models.encoder import empty_sequence_classifier
from bert_ft.models.encoder_config import attention_name
from bert_ft.models.families import FAMILIES
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch
from .tiny_families import PADDED, randomize, tiny_family

LENGTHS = [1, 4, 4, 9, 30]


def of_padded(attribute):
    names = [name for name in PADDED if getattr(FAMILIES[name], attribute) is not None]
    return pytest.mark.parametrize(
        "family", [pytest.param(name, marks=() if name == "mpnet" else pytest.mark.slow) for name in names]
    )


def config_of(family, **changes):
    config = tiny_family(family, **changes)
    for key, value in FAMILIES[family].fixed:
        setattr(config, key, value)
    return config


def padded(config, batch):
    ids, mask = pad(batch.input_ids, batch, config.pad_token_id or 0), padding_mask(batch).long()
    inputs = {"input_ids": ids, "attention_mask": mask}
    if FAMILIES[config.model_type].first_attends_to_all:  # transformers' classifier does so by itself
        inputs["global_attention_mask"] = (torch.arange(ids.shape[1]) == 0).long()[None].expand_as(ids)
    return inputs


@of_padded("classify")
def test_classification_heads(family):
    torch.manual_seed(0)
    config, batch = config_of(family, **SingleLabel(("a", "b", "c")).config_entries()), random_batch(LENGTHS)
    reference = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    randomize(reference)
    ours = empty_sequence_classifier(config)
    ours.load_state_dict(reference.state_dict())
    inputs = padded(config, batch)
    inputs.pop("global_attention_mask", None)
    with torch.no_grad():
        expected = reference.double().eval()(**inputs).logits
        # in float64 two roads to one sum differ by 1e-15
        torch.testing.assert_close(LinearClassifier(ours.double()).eval()(batch), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


@of_padded("predict_tokens")
def test_masked_lm_heads(family):
    torch.manual_seed(0)
    config, batch = config_of(family), random_batch(LENGTHS)
    model = AutoModelForMaskedLM.from_config(config, attn_implementation=attention_name(config, "sdpa"))
    randomize(model)
    model.double().eval()
    every = MaskedBatch(batch, batch, torch.ones(batch.num_tokens, dtype=torch.bool))
    with torch.no_grad():
        expected = model(**padded(config, batch)).logits[padding_mask(batch)]
        found = Pretrainer(model.base_model, model).token_logits(every)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
