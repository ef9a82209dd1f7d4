"""The padded classifier, which is exported, against the packed one."""

import pytest
import torch

from bert_ft.data.packing import pad, padding_mask
from bert_ft.models.classifier import LinearClassifier, ResidualClassifier
from bert_ft.models.encoder import empty_encoder, empty_sequence_classifier
from bert_ft.models.padded import PaddedClassifier
from bert_ft.nn.pooling import POOLINGS
from bert_ft.tasks.single_label import SingleLabel

from .families import FAMILIES, random_batch, tiny_config

LABELS = ("a", "b", "c")
TYPED = ("bert", "albert", "electra", "ernie", "deberta", "deberta-v2")


def randomized(classifier):
    """With biases and queries away from the zeros that they start at."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in classifier.named_parameters():
        if name.endswith(("bias", "query.weight", "project.weight")):
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return classifier.eval()


def linear(family, **changes):
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(LABELS).config_entries(), **changes)
    return randomized(LinearClassifier(empty_sequence_classifier(config)))


def residual(family, **architecture):
    torch.manual_seed(0)
    config = tiny_config(family, **SingleLabel(LABELS).config_entries())
    return randomized(ResidualClassifier(empty_encoder(config), hidden_sizes=[16], **architecture))


def padded_inputs(classifier, batch, extra=0):
    """The batch's arrays as a tokenizer would pad them, ``extra`` columns longer than needed."""
    inputs = [pad(batch.input_ids, batch, classifier.config.pad_token_id or 0), padding_mask(batch).long()]
    if batch.token_type_ids is not None:
        inputs.append(pad(batch.token_type_ids, batch))
    values = (classifier.config.pad_token_id or 0, 0, 0)
    return [
        torch.nn.functional.pad(array, (0, extra), value=value)
        for array, value in zip(inputs, values, strict=False)
    ]


def check(classifier, lengths, *, extra=0, token_types=False):
    compare(classifier, random_batch(lengths, token_types=token_types), extra)


def compare(classifier, batch, extra=0):
    with torch.no_grad():
        logits = PaddedClassifier(classifier)(*padded_inputs(classifier, batch, extra))
        # float32 differs by 2e-6 here; in float64 ModernBERT's own softmax overflows at its mask
        torch.testing.assert_close(batch.as_given(logits), classifier(batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family):
    check(linear(family), [1, 4, 4, 9, 30], extra=2, token_types=family in TYPED)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling(family, pooling):
    check(residual(family, pooling=pooling, pooling_layers=2 if family == "bert" else 1), [2, 7, 7, 20])


@pytest.mark.parametrize("lengths", [[1], [64, 1]])
def test_one_text_and_full_length(lengths):
    check(linear("roberta"), lengths)


def test_a_padding_id_within_a_text_is_a_token_like_any_other():
    """RoBERTa's own code would give it the padding's position."""
    classifier = linear("roberta")
    batch = random_batch([6, 6])
    batch.input_ids[2] = classifier.config.pad_token_id
    compare(classifier, batch)


def test_the_classifier_stays_as_it_is():
    classifier = linear("bert")
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    implementation = classifier.config._attn_implementation
    padded = PaddedClassifier(classifier)
    with torch.no_grad():
        for parameter in padded.parameters():
            parameter.zero_()
    assert classifier.config._attn_implementation == implementation
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
