"""The exported graph in ONNX Runtime against the bundle's own classifier; the command that writes it."""

import importlib.util
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from bert_ft.data.packing import pack
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError, DataError
from bert_ft.export import main
from bert_ft.inference import onnx as onnx_export
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import Bundle, load_bundle, save_bundle
from bert_ft.models.classifier import build_residual
from bert_ft.models.encoder import EncoderSpec
from bert_ft.tasks.single_label import SingleLabel
from tests.models.families import MAX_LENGTH, random_batch
from tests.models.test_padded import LABELS, TYPED, linear, padded_inputs, residual

BATCHES = ([1], [7], [MAX_LENGTH], [5, 5, 5], [1, 4, 4, 9, 30], [2, MAX_LENGTH])
SLOW = pytest.mark.slow


def bundle_of(classifier, *, token_types: bool) -> Bundle:
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if token_types else [])]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), model_input_names=names
    )
    return Bundle(classifier, SingleLabel(LABELS), tokenizer, MAX_LENGTH, "text", None, {})


def start(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check(classifier, path, *, token_types=False, optimize=False):
    """Export, and compare logits on every batch, also with more padding than it needs."""
    bundle = bundle_of(classifier, token_types=token_types)
    assert export_onnx(bundle, path, optimize=optimize) == path
    session = start(path)
    names = bundle.tokenizer.model_input_names
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [
        (name, ["batch", "length"]) for name in names
    ]
    (output,) = session.get_outputs()
    assert (output.name, output.type, output.shape) == ("logits", "tensor(float)", ["batch", len(LABELS)])
    for seed, lengths in enumerate(BATCHES):
        batch = random_batch(lengths, seed=seed, token_types=token_types)
        with torch.no_grad():
            expected = classifier.logits(classifier.features(batch)).numpy()
        for extra in {0, min(3, MAX_LENGTH - max(lengths))}:
            arrays = [array.numpy() for array in padded_inputs(classifier, batch, extra)]
            (logits,) = session.run(None, dict(zip(names, arrays, strict=True)))
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def operators(path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize(
    "family",
    [
        "bert",
        *(pytest.param(name, marks=SLOW) for name in ("roberta", "distilbert", "electra")),
    ],
)
def test_linear(family, optimize, tmp_path):
    path = tmp_path / "model.onnx"
    check(linear(family), path, token_types=family in TYPED, optimize=optimize)
    domains = {entry.domain for entry in onnx.load(path).opset_import}
    if not optimize:
        assert domains == {""}  # any runtime
    else:
        assert {"MultiHeadAttention", "BiasGelu", "SkipLayerNormalization"} <= operators(path)
        assert "Softmax" not in operators(path)


@SLOW
def test_a_sliding_window(tmp_path):
    check(linear("modernbert"), tmp_path / "model.onnx")


def test_a_family_that_onnxruntime_has_no_operators_for(tmp_path):
    bundle = bundle_of(linear("modernbert"), token_types=False)
    with pytest.raises(
        ConfigError, match=r"optimize=true: .* 'modernbert' .*albert, bert.*set optimize=false"
    ):
        export_onnx(bundle, tmp_path / "model.onnx", optimize=True)
    assert list(tmp_path.iterdir()) == []


@SLOW
@pytest.mark.parametrize(
    ("pooling", "optimize"),
    [("cls", False), ("mean", False), ("max", False), ("attention", False), ("max", True)],
)
def test_residual(pooling, optimize, tmp_path):
    classifier = residual("bert", pooling=pooling, pooling_layers=2)
    check(classifier, tmp_path / "model.onnx", token_types=True, optimize=optimize)


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    torch.manual_seed(0)
    classifier = build_residual(
        EncoderSpec(str(tiny_encoder)),
        SingleLabel(LABELS).config_entries(),
        pooling="mean",
        pooling_layers=1,
        head={"hidden_sizes": [], "dropout": 0.1},
    )
    return save_bundle(
        tmp_path / "model", classifier, SingleLabel(LABELS), load_tokenizer(tiny_encoder), max_length=32
    )


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command line; its exit code, output and errors."""

    def run(*overrides):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["export", *map(str, overrides)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_command_writes_what_takes_the_tokenizers_arrays(folder, run, tmp_path):
    path = tmp_path / "model.onnx"
    code, output, errors = run(f"bundle={folder}", f"output={path}")
    assert (code, errors) == (0, "")
    assert output == f"{path.stat().st_size / 1e6:.1f} MB written: {path}\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model", "model.onnx"]
    bundle = load_bundle(folder)
    texts = ["a good film", "dull", "the plot and the music of the story"]
    (logits,) = start(path).run(None, dict(bundle.tokenizer(texts, padding=True, return_tensors="np")))
    batch = pack([np.array(bundle.tokenizer(text)["input_ids"]) for text in texts], range(3))
    with torch.no_grad():
        np.testing.assert_allclose(logits, bundle.classifier(batch).numpy(), rtol=0, atol=1e-4)


def test_a_file_that_is_there_is_kept(folder, run, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("mine")
    code, _, errors = run(f"bundle={folder}", f"output={path}")
    assert (code, errors) == (2, f"output={path}: exists already; give a new file or remove this one\n")
    assert path.read_text() == "mine"


def test_a_missing_extra(folder, run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else found(name, *rest)
    )
    code, _, errors = run(f"bundle={folder}", "output=model.onnx")
    assert code == 2
    assert errors.startswith(
        "output=model.onnx: an export needs the extra `onnx` (onnxscript can't be found)"
    )
    assert errors.endswith("pip install 'bert_ft[onnx]'\n")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["bundle=nowhere", "output=model.onnx"], "bundle=nowhere: no such folder"),
        (["bundle=nowhere", "output=no/model.onnx"], "output=no/model.onnx: there is no folder no"),
        (["output=model.onnx"], "bundle: required; give a text"),
        (["bundle=x", "output=model.onnx", "optimize=2"], "optimize=2: must be a boolean"),
    ],
)
def test_refusals(run, tmp_path, overrides, message):
    code, _, errors = run(*overrides)
    assert code == 2
    assert errors.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_one_file_cannot_hold(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match=r"output=.*model\.onnx: the weights take .* GB, and one ONNX file"):
        export_onnx(load_bundle(folder), tmp_path / "model.onnx")


def test_a_failed_export_leaves_nothing(folder, tmp_path, monkeypatch):
    def fail(bundle, path, optimize):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(onnx_export, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        export_onnx(load_bundle(folder), tmp_path / "model.onnx")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_missing_extra_is_a_config_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(ConfigError, match=r"bert_ft\[onnx\]"):
        onnx_export.check_export(tmp_path / "model.onnx")
