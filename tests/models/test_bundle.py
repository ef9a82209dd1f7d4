"""The saved folder: written, read back, and refused when something is wrong with it."""

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import CheckpointError
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec
from bert_ft.tasks.single_label import SingleLabel

from .families import random_batch

LABELS = ("no", "yes", "ça dépend")
HEAD = {"hidden_sizes": [16, 32], "dropout": 0.2}


def build(kind: str, encoder: EncoderSpec):
    if kind == "linear":
        return build_linear(encoder, SingleLabel(LABELS).config_entries(), dropout=None)
    return build_residual(
        encoder, SingleLabel(LABELS).config_entries(), pooling="attention", pooling_layers=2, head=HEAD
    )


@pytest.fixture(params=["linear", "residual"])
def saved(request, tiny_encoder, tmp_path):
    classifier = build(request.param, EncoderSpec(str(tiny_encoder)))
    folder = save_bundle(
        tmp_path / "model",
        classifier,
        SingleLabel(LABELS),
        load_tokenizer(tiny_encoder),
        max_length=48,
        text_column="review",
        training={"weights": "raw"},
    )
    return folder, classifier


def test_round_trip(saved):
    folder, classifier = saved
    bundle = load_bundle(folder)
    batch = random_batch([3, 9, 9], vocab_size=50)
    with torch.no_grad():
        assert torch.equal(bundle.classifier(batch), classifier.eval()(batch))
    assert bundle.labels == LABELS
    assert bundle.max_length == 48
    assert (bundle.text_column, bundle.text_pair_column) == ("review", None)
    assert bundle.training == {"weights": "raw"}
    assert not bundle.classifier.training
    assert bundle.tokenizer("a good film")["input_ids"] == load_tokenizer(folder)("a good film")["input_ids"]


def test_saving_leaves_the_classifier_as_it_was(saved, tmp_path, tiny_encoder):
    folder, classifier = saved
    before = classifier.config.to_dict()
    save_bundle(
        tmp_path / "again", classifier, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=48
    )
    assert classifier.config.to_dict() == before
    again = load_file(tmp_path / "again/model.safetensors")
    assert all(
        torch.equal(value, again[name]) for name, value in load_file(folder / "model.safetensors").items()
    )


def test_not_a_bundle(tmp_path):
    with pytest.raises(CheckpointError, match=r"isn't a saved folder: it has no bert_ft\.yaml"):
        load_bundle(tmp_path)


def test_the_folder_of_a_run_or_a_search(saved, tmp_path):
    """A search's ``model`` is a link to that of its best trial."""
    folder, classifier = saved
    (tmp_path / "search").mkdir()
    (tmp_path / "search/model").symlink_to("../model")
    batch = random_batch([3, 9], vocab_size=50)
    for above in (folder.parent, tmp_path / "search"):
        assert torch.equal(load_bundle(above).classifier(batch), classifier.eval()(batch))
        assert EncoderSpec(str(above)).resolve() == str(above / "model")
    with pytest.raises(CheckpointError, match=r"bundle=.*none: no such folder"):
        load_bundle(tmp_path / "none")


def test_another_format(saved):
    folder, _ = saved
    path = folder / "bert_ft.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"format": 9}))
    with pytest.raises(CheckpointError, match="has format 9; this version of bert_ft reads formats 1, 2, 3"):
        load_bundle(folder)


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "other: 1"])
def test_a_damaged_specification(saved, content):
    folder, _ = saved
    (folder / "bert_ft.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"bert_ft\.yaml is damaged"):
        load_bundle(folder)


def test_a_specification_cannot_construct_anything(saved):
    """yaml is read safely: a tag from a stranger is refused, not run."""
    folder, _ = saved
    (folder / "bert_ft.yaml").write_text("format: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(CheckpointError, match="damaged"):
        load_bundle(folder)


def test_truncated_weights(saved):
    folder, _ = saved
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_bundle(folder)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_weights_that_do_not_fit(saved, change):
    folder, _ = saved
    path = folder / "model.safetensors"
    state = load_file(path)
    if change == "missing":
        state.pop(next(name for name in state if name.startswith("bert.encoder")))
    else:
        state["bert.more"] = torch.zeros(1)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model\.safetensors doesn't fit bert_ft\.yaml"):
        load_bundle(folder)
