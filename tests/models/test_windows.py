"""Long texts in windows: each window is the encoder's own pass, and a text's vector is pooled from its windows."""

import numpy as np
import pytest
import torch
from torch import nn

from bert_ft.data.packing import pack
from bert_ft.errors import ConfigError
from bert_ft.models.classifier import LinearClassifier
from bert_ft.models.encoder import empty_sequence_classifier
from bert_ft.nn.losses import CrossEntropy
from bert_ft.nn.pooling import AttentionPooling, MaxPooling, MeanPooling, build_window_pooling
from bert_ft.training.objective import LossTerms, Objective
from tests.autograd import kept_bytes
from tests.training.minimizing import assert_close, backward, classifier, gradients, minimized

from .families import VOCAB_SIZE, tiny_config

TEXTS = [[9, 9, 3], [5], [9, 9, 9, 9, 1], [2], [9, 7]]  # lengths of the windows of each
PIECES = 20


def windowed_batch(texts=TEXTS, seed=0):
    """The texts as a batch, and each window's ids."""
    rng = np.random.default_rng(seed)
    windows = [[rng.integers(5, VOCAB_SIZE, size=length) for length in text] for text in texts]
    batch = pack(
        [ids for text in windows for ids in text],
        range(len(texts)),
        labels=np.arange(len(texts)) % 3,
        num_windows=np.array([len(text) for text in texts]),
    )
    return batch, windows


def with_windows(over_windows, family="bert", **settings):
    model = classifier(family, **settings)
    model.window_pooling = build_window_pooling(over_windows, model.config.hidden_size).double()
    for parameter in model.window_pooling.parameters():
        nn.init.normal_(parameter)
    return model


def by_hand(model, windows):
    """The vector of each text, from each window alone."""
    vectors = [torch.cat([model.vectors(pack([ids], [0])) for ids in text]) for text in windows]
    pooled = {
        MeanPooling: lambda text: text.mean(0),
        MaxPooling: lambda text: text.amax(0),
        AttentionPooling: lambda text: (model.window_pooling.query(text).softmax(0) * text).sum(0),
    }
    return torch.stack([pooled[type(model.window_pooling)](text) for text in vectors])


@pytest.mark.parametrize("max_tokens", [None, PIECES])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize(("family", "of_tokens"), [("bert", "cls"), ("deberta", "mean")])
def test_features_are_pooled_from_windows_computed_alone(family, of_tokens, pooling, max_tokens):
    model = with_windows(pooling, family, pooling=of_tokens).eval()
    batch, windows = windowed_batch()
    with torch.no_grad():
        found, expected = model.features(batch, max_tokens), by_hand(model, windows)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        assert torch.equal(model(batch, max_tokens), model.logits(found))


TERMS = [
    None,
    LossTerms(contrastive_weight=0.5),
    LossTerms(r_drop_weight=1.0),
    LossTerms(adversarial_epsilon=0.3),
]


@pytest.mark.parametrize("terms", TERMS, ids=["plain", "contrastive", "r_drop", "adversarial"])
def test_a_loss_in_parts_is_that_of_the_whole(terms):
    model = with_windows("attention")
    batch, windows = windowed_batch()
    whole, _ = minimized(model, terms, batch=batch)
    expected = gradients(model)
    assert "window_pooling.query.weight" in expected
    in_parts, _ = minimized(model, terms, batch=batch, max_tokens=PIECES)
    torch.testing.assert_close(in_parts, whole, rtol=1e-12, atol=1e-12)
    assert_close(gradients(model), expected)
    if terms is None:
        loss = CrossEntropy()(model.logits(by_hand(model, windows)), batch.labels)
        assert_close(backward(model, loss), expected)


def test_memory_is_bounded_by_max_tokens():
    """What is kept for the backward pass of a long text is that of one part, and the windows' vectors."""
    model = with_windows("mean", dropout=0.1)

    def kept(num_windows):
        batch, _ = windowed_batch([[9] * num_windows])
        return kept_bytes(lambda: Objective(CrossEntropy())(model, batch, 90))

    per_window = (kept(100) - kept(50)) / 50
    assert per_window < 40 * model.config.hidden_size  # ids, positions and a vector of 8 bytes
    assert kept(10) > 10 * 9 * per_window


def test_a_piece_has_its_windows_numbers():
    batch, _ = windowed_batch()
    batch.window_ids = torch.arange(batch.num_sequences) + 100
    pieces = batch.split(PIECES)
    assert len(pieces) > 2
    assert torch.cat([piece.sequence_ids for piece in pieces]).tolist() == batch.window_ids.tolist()
    assert torch.cat([piece.input_ids for piece in pieces]).tolist() == batch.input_ids.tolist()
    assert all(piece.cu_windows is None and len(piece) == piece.num_sequences for piece in pieces)


def test_texts_of_one_window_are_packed_as_without_windows():
    batch, windows = windowed_batch([[5], [2], [9]])
    plain = pack([text[0] for text in windows], range(3), labels=np.arange(3))
    assert vars(batch).keys() == vars(plain).keys()
    for name, value in vars(plain).items():
        found = vars(batch)[name]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


def test_the_plain_baseline_has_no_weights_of_its_own():
    model = empty_sequence_classifier(tiny_config("bert", num_labels=3))
    assert LinearClassifier(model, "max").architecture == {"window_pooling": "max"}
    with pytest.raises(ConfigError, match=r"model\.window_pooling=attention: .* use mean or max"):
        LinearClassifier(model, "attention")
