"""The encoder of a stage in the classifier: tensor by tensor, or an error."""

import pytest
import torch
from transformers import AutoTokenizer

from bert_ft.errors import CheckpointError
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.classifier import build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.models.weight_transfer import hand_over
from bert_ft.tasks.single_label import SingleLabel

LABELS = ["a", "b"]


@pytest.fixture(scope="module", params=["with a head", "bare"])
def trained(request, tmp_path_factory, tiny_encoder):
    """The folder of a stage that has changed every weight, and its encoder's state."""
    spec = EncoderSpec(str(tiny_encoder))
    model = spec.load_masked_lm(spec.load_config())[0] if request.param == "with a head" else None
    pretrainer = Pretrainer(spec.load() if model is None else model.base_model, model)
    with torch.no_grad():
        for parameter in pretrainer.parameters():
            parameter.add_(torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("trained")
    pretrainer.save(folder, AutoTokenizer.from_pretrained(tiny_encoder))
    return folder, {name: value.clone() for name, value in pretrainer.encoder.state_dict().items()}


def residual(spec):
    head = {"hidden_sizes": [8], "dropout": 0.1}
    return build_residual(
        spec, SingleLabel(LABELS).config_entries(), pooling="mean", pooling_layers=1, head=head
    )


def linear(spec):
    return build_linear(spec, SingleLabel(LABELS).config_entries(), dropout=None)


@pytest.mark.parametrize("build", [residual, linear])
def test_every_tensor_of_the_encoder_is_handed_over_and_none_of_the_head(trained, tiny_encoder, build):
    folder, state = trained
    classifier = build(EncoderSpec(str(tiny_encoder)))
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    hand_over(folder, classifier.encoder)
    after = classifier.encoder.state_dict()
    own = {name for name in after if name.startswith("pooler.")}
    assert bool(own) is (build is linear)
    assert after.keys() - own == state.keys()
    for name, value in state.items():
        assert torch.equal(after[name], value), name
        assert not torch.equal(before[f"encoder.{name}"], value), name
    kept = {name for name in before if not name.startswith("encoder.")} | {f"encoder.{name}" for name in own}
    assert all(torch.equal(classifier.state_dict()[name], before[name]) for name in kept)


def test_split_embeddings_take_their_rows(trained, tiny_encoder):
    folder, state = trained
    classifier = residual(EncoderSpec(str(tiny_encoder)))
    embedding = classifier.encoder.get_input_embeddings()
    used = torch.arange(embedding.num_embeddings) % 3 == 0
    classifier.encoder.set_input_embeddings(SplitEmbedding(embedding, used))
    hand_over(folder, classifier.encoder)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(classifier.encoder.state_dict()[name], state[name])


def test_layers_are_reinitialized(trained, tiny_encoder):
    folder, state = trained
    classifier = residual(EncoderSpec(str(tiny_encoder), reinit_layers=1))
    hand_over(folder, classifier.encoder, reinit_layers=1)
    found = classifier.encoder.state_dict()
    same = {name for name, value in state.items() if torch.equal(found[name], value)}
    assert same == {name for name in state if ".layer.1." not in name}


def test_another_encoder_is_refused(trained, tmp_path, tiny_encoder):
    folder, _ = trained
    config = EncoderSpec(str(tiny_encoder)).load_config()
    config.num_hidden_layers = 3
    with pytest.raises(CheckpointError, match=r"has 0 unexpected tensors and lacks 16 \(encoder\.layer\.2\."):
        hand_over(folder, empty_encoder(config))
    config.num_hidden_layers, config.hidden_size = 2, 16
    with pytest.raises(CheckpointError, match="has a different shape"):
        hand_over(folder, empty_encoder(config))
