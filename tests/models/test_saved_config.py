"""What other tools make of a saved folder: the right logits, or a refusal."""

import json
import os

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, BertModel, pipeline

from bert_ft.data.packing import pack
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.inserted import insert_parts
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch
from .test_inserted import HERE, shifted

LABELS = ("no", "yes", "maybe")
BATCH = random_batch([3, 9, 9], vocab_size=50)
EMBEDDING = "embeddings.word_embeddings.weight"
REFUSAL = r"has model type `bert_ft \(load it with the package bert_ft\)`"


def saved(kind, encoder, folder):
    entries, spec = SingleLabel(LABELS).config_entries(), EncoderSpec(str(encoder))
    if kind == "residual":
        classifier = build_residual(
            spec, entries, pooling="mean", pooling_layers=1, head={"hidden_sizes": [16]}
        )
    else:
        classifier = build_linear(spec, entries, dropout=None)
        if kind == "inserted":
            insert_parts(classifier.encoder, shifted(0.5, "ffn"), [HERE])
    save_bundle(folder, classifier, SingleLabel(LABELS), load_tokenizer(encoder), max_length=48)
    return classifier.eval()


def as_before(folder, version):
    """Give the folder the files that an earlier format had."""
    config = json.loads((folder / "config.json").read_text())["encoder"]
    (folder / "config.json").write_text(json.dumps(config))
    text = (folder / "bert_ft.yaml").read_text()
    (folder / "bert_ft.yaml").write_text(text.replace("format: 3", f"format: {version}"))


@pytest.mark.parametrize("kind", ["residual", "inserted"])
@pytest.mark.parametrize(
    "load",
    [
        AutoConfig.from_pretrained,
        AutoModel.from_pretrained,
        AutoModelForSequenceClassification.from_pretrained,
        lambda folder: pipeline("text-classification", folder),
        SentenceTransformer,
    ],
)
def test_no_auto_class_takes_it_for_another_model(kind, load, tiny_encoder, tmp_path):
    saved(kind, tiny_encoder, tmp_path)
    with pytest.raises(ValueError, match=REFUSAL):
        load(str(tmp_path))


@pytest.mark.parametrize("version", [3, 2])
def test_the_encoder_inside_is_loaded_here_and_by_its_own_class(version, tiny_encoder, tmp_path):
    classifier = saved("residual", tiny_encoder, tmp_path)
    if version == 2:
        as_before(tmp_path, 2)
    wanted = classifier.encoder.state_dict()
    stock, info = BertModel.from_pretrained(tmp_path, add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    for found in (stock, EncoderSpec(str(tmp_path)).load()):
        state = found.state_dict()
        assert state.keys() == wanted.keys()
        assert all(torch.equal(state[name], value) for name, value in wanted.items())
    spec = EncoderSpec(str(tmp_path))
    adapted, head_is_fresh = spec.load_masked_lm(spec.load_config())
    assert head_is_fresh
    assert torch.equal(adapted.base_model.embeddings.word_embeddings.weight, wanted[EMBEDDING])
    bundle = load_bundle(tmp_path)
    assert torch.equal(bundle.classifier(BATCH), classifier(BATCH))
    assert bundle.labels == LABELS


def test_the_encoder_inside_can_be_saved_as_a_plain_one(tiny_encoder, tmp_path):
    classifier = saved("residual", tiny_encoder, tmp_path / "model")
    BertModel.from_pretrained(tmp_path / "model", add_pooling_layer=False).save_pretrained(tmp_path / "plain")
    state = AutoModel.from_pretrained(tmp_path / "plain", add_pooling_layer=False).state_dict()
    assert all(torch.equal(state[name], value) for name, value in classifier.encoder.state_dict().items())


def test_transformers_loads_the_linear_model_with_the_same_logits(tiny_encoder, tmp_path):
    classifier = saved("linear", tiny_encoder, tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[2, 9, 11, 12, 3]])
    with torch.no_grad():
        expected = stock(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        found = classifier(pack([ids[0].numpy()], [0]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_all_files_follow_the_umask(umask, mode, tiny_encoder, tmp_path):
    before = os.umask(umask)
    try:
        saved("linear", tiny_encoder, tmp_path / "model")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {mode}
