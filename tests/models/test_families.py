"""Every family of the table, and some others, as a run uses it: one tiny model each, on which everything is checked."""

import dataclasses
import inspect
import re

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from bert_ft.data.packing import pad, padding_mask
from bert_ft.data.tokenization import load_tokenizer
from bert_ft.errors import ConfigError
from bert_ft.inference import onnx
from bert_ft.inference.onnx import export_onnx
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.models.classifier import ResidualClassifier, build_linear, build_residual
from bert_ft.models.encoder import EncoderSpec, empty_encoder
from bert_ft.models.encoder_config import max_positions, set_dropout
from bert_ft.models.encoding import encode, num_encoder_layers
from bert_ft.models.families import FAMILIES, family_of
from bert_ft.models.layer_names import layer_names
from bert_ft.models.padding_check import fault_in_half
from bert_ft.models.sub_blocks import encoder_sub_blocks
from bert_ft.optim.groups import parameter_groups
from bert_ft.optim.layers import layer_of
from bert_ft.tasks.single_label import SingleLabel

from .capturing import captured
from .families import random_batch
from .tiny_families import ALL, TABLE, random_encoder, randomize, tiny_family

TASK = SingleLabel(("a", "b", "c"))
LENGTHS = [1, 4, 4, 9, 30]
FAST = {"bert", "xlm-roberta", "modernbert", "deberta", "mpnet", "xlnet"}


def each(families):
    names = [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in families]
    return pytest.mark.parametrize("family", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def family(request):
    return request.param


@pytest.fixture(scope="module")
def spec(family, tmp_path_factory):
    """A checkpoint of the family."""
    encoder = random_encoder(family)
    if family == "mobilebert":  # with another vector it is refused: see test_padding_check
        with torch.no_grad():
            encoder.get_input_embeddings().weight[0] = 0
    folder = tmp_path_factory.mktemp("checkpoint")
    encoder.save_pretrained(folder)
    return EncoderSpec(str(folder))


@pytest.fixture
def encoder(spec):
    """The encoder of that checkpoint, in evaluation mode, without anything from us."""
    return dataclasses.replace(spec, kernels="plain").load().eval()


def classifier_of(spec):
    torch.manual_seed(0)
    head = {"hidden_sizes": [16], "dropout": 0.1}
    return build_residual(spec, TASK.config_entries(), pooling="mean", pooling_layers=1, head=head)


@pytest.fixture(scope="module")
def trained(spec):
    """A classifier after some steps, in evaluation mode, and the names of the parameters that the steps changed."""
    classifier = classifier_of(spec)
    before = {name: value.clone() for name, value in classifier.named_parameters()}
    assert np.isfinite(train(classifier)).all()
    changed = {name for name, value in classifier.named_parameters() if not torch.equal(value, before[name])}
    return classifier.eval(), changed


@pytest.fixture(scope="module")
def bundle(trained, tmp_path_factory, tiny_encoder):
    """The saved folder of that classifier, loaded."""
    return saved(trained[0], tmp_path_factory.mktemp("model"), tiny_encoder)


def saved(classifier, folder, tokenizer):
    return load_bundle(save_bundle(folder, classifier, TASK, load_tokenizer(tokenizer), max_length=30))


def train(classifier, steps=3, autocast=False):
    """The losses of some steps of a run's optimizer."""
    layers, names = num_encoder_layers(classifier.encoder), layer_names(classifier.encoder)
    groups = parameter_groups(
        classifier.named_parameters(),
        num_layers=layers,
        lr=1e-3,
        layer_decay=1.0 if names is None else 0.9,
        weight_decay=0.01,
        names=names,
    )
    optimizer, batch, losses = torch.optim.AdamW(groups, lr=1e-3), random_batch(LENGTHS), []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(classifier(batch).float(), batch.as_given(batch.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@each(ALL)
def test_it_trains_predicts_independently_of_the_batch_and_is_reloaded(family, trained, bundle):
    classifier, changed = trained
    in_layer = {int(number[1]) for name in changed if (number := re.search(r"\.(\d+)\.", name))}
    assert any(name.startswith("head.") for name in changed)
    assert len(in_layer) >= (1 if family == "albert" else num_encoder_layers(classifier.encoder))
    batch = random_batch(LENGTHS)
    with torch.no_grad():
        logits = classifier(batch)
        alone = torch.cat([classifier(piece) for piece in batch.split(1)])
        # float32 rounds products of other shapes otherwise; padding that is mixed in changes logits by 0.1
        torch.testing.assert_close(logits, alone, rtol=0, atol=2e-5)
        assert torch.equal(bundle.classifier(batch), logits)


@each(ALL)
def test_it_trains_in_16_bits_or_is_refused_by_name(spec, family):
    config = spec.load_config()
    if family == "xmod":
        with pytest.raises(ConfigError, match=r"trainer\.precision=16: transformers' xmod.*set it to 32"):
            spec.check_half_precision(config, "trainer.precision=16")
        assert fault_in_half(spec.load(config)) is not None
        return
    spec.check_half_precision(config, "trainer.precision=16")
    assert np.isfinite(train(classifier_of(spec), steps=2, autocast=True)).all()


@pytest.mark.slow  # seconds for each export
@each(
    [name for name in ALL if name not in {"bert", "roberta", "distilbert", "electra", "modernbert"}]
)  # in test_onnx
def test_its_onnx_file_gives_the_same_logits(family, bundle, tmp_path):
    path = tmp_path / "model.onnx"
    if not family_of(bundle.classifier.config).exports:
        with pytest.raises(ConfigError, match=rf"{re.escape(family)}.*can't be exported"):
            export_onnx(bundle, path)
        return
    export_onnx(bundle, path)
    session = onnxruntime.InferenceSession(str(path))
    wanted = {entry.name for entry in session.get_inputs()}
    for lengths in ([1, 4, 9, 30], [7], [5, 5]):
        batch = random_batch(lengths)
        ids = pad(batch.input_ids, batch, bundle.classifier.config.pad_token_id or 0)
        inputs = {"input_ids": ids, "attention_mask": padding_mask(batch).long()}
        if "token_type_ids" in wanted:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        (logits,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, bundle.classifier(batch), rtol=0, atol=5e-5)


@pytest.mark.slow
@each(["longformer"])
def test_a_graph_of_a_family_that_is_not_in_the_table_is_tried(family, bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, family, dataclasses.replace(FAMILIES[family], exports=True))
    monkeypatch.setattr(onnx, "FAMILIES", {})
    with pytest.raises(ConfigError, match=rf"transformers' {family} can't be exported.*predict with"):
        export_onnx(bundle, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("*onnx*"))


@pytest.mark.slow
@each(["bert"])
def test_a_graph_that_gives_other_logits_is_refused(spec, tmp_path, tiny_encoder, monkeypatch):
    bundle, write = saved(classifier_of(spec), tmp_path / "model", tiny_encoder), onnx._write

    def write_another(bundle, path, optimize):
        randomize(bundle.classifier.head)
        write(bundle, path, optimize)

    monkeypatch.setattr(onnx, "FAMILIES", {})
    monkeypatch.setattr(onnx, "_write", write_another)
    message = "transformers' bert can't be exported: the graph gives different logits"
    with pytest.raises(ConfigError, match=message):
        export_onnx(bundle, tmp_path / "model.onnx")


@each(TABLE)
def test_its_row_is_true(family, encoder):
    row = FAMILIES[family]
    if "token_type_ids" in inspect.signature(encoder.forward).parameters:
        batch = random_batch([3, 7], token_types=True)
        batch.token_type_ids.zero_()
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            untyped = encode(encoder, random_batch([3, 7]))[0]
            patch.setitem(FAMILIES, family, dataclasses.replace(row, token_types=True))
            typed = encode(encoder, batch)[0]
        assert row.token_types is torch.allclose(typed, untyped, atol=1e-5)
    else:
        assert row.token_types is False
    names, num_layers = layer_names(encoder), num_encoder_layers(encoder)
    assert names is not None
    depths = {name: layer_of(f"encoder.{name}", num_layers, names) for name, _ in encoder.named_parameters()}
    for name, depth in depths.items():  # an independent reading: the first number is the layer's
        number = re.search(r"(?:^|\.)(\d+)\.", name)
        if family == "albert":  # whose layers share their weights
            assert depth == (num_layers if "albert_layers" in name else 0), name
        elif number:
            assert depth == int(number[1]) + 1, name
        else:
            is_top = "pooler" in name or re.match(r"(encoder\.)?(final_norm|norm|ln|LayerNorm)\.", name)
            is_low = name.startswith("encoder.LayerNorm") and family.startswith("deberta")
            assert depth == (num_layers + 1 if is_top and not is_low else 0), name
    longest = max_positions(encoder.config)
    if longest is not None:
        with torch.no_grad():
            encode(encoder, random_batch([longest]))


@each(TABLE)
def test_its_dropout_rates_act(family):
    row, batch = FAMILIES[family], random_batch([5, 9])
    has = (bool(row.hidden_dropout), bool(row.attention_dropout))
    for key, wanted in (("hidden_dropout", (0.5, None)), ("attention_dropout", (None, 0.5))):
        if not getattr(row, key):
            with pytest.raises(ConfigError, match=rf"encoder\.{key}=.*{re.escape(family)} has no such rate"):
                set_dropout(tiny_family(family), *wanted)
    for rates in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)):
        config = tiny_family(family)
        set_dropout(config, *(rate if known else None for rate, known in zip(rates, has, strict=True)))
        for key, value in row.fixed:
            setattr(config, key, value)
        encoder = empty_encoder(config).train()
        randomize(encoder)
        differs = not torch.equal(encode(encoder, batch)[0], encode(encoder, batch)[0])
        assert differs == any(rate and known for rate, known in zip(rates, has, strict=True))


@each([name for name in TABLE if FAMILIES[name].classify is not None])
def test_the_rate_before_the_last_layer_of_its_head(spec, family):
    if FAMILIES[family].head_dropout is None:
        with pytest.raises(ConfigError, match=r"model\.dropout=0\.25.*set encoder\.hidden_dropout"):
            build_linear(spec, TASK.config_entries(), dropout=0.25)
        return
    classifier = build_linear(spec, TASK.config_entries(), dropout=0.25)
    assert 0.25 in [getattr(module, "p", None) for module in classifier.head.modules()]
    assert classifier(random_batch([5, 9])).shape == (2, 3)


@each(TABLE)
def test_what_is_monitored_is_one_vector_for_each_token(family, encoder):
    row, batch, blocks = FAMILIES[family], random_batch([3, 7]), encoder_sub_blocks(encoder)
    assert {block.kind for block in blocks} == {kind for kind, names in vars(row.sub_blocks).items() if names}
    with torch.no_grad():
        seen = captured(blocks, lambda: encode(encoder, batch))
    for name, value in seen.items():
        assert value.shape[:2] == ((1, batch.num_tokens) if row.packed else (2, 7)), name


@each(TABLE)
def test_its_embedding_can_be_split(family, encoder):
    embedding, batch = encoder.get_input_embeddings(), random_batch([3, 7])
    if type(embedding) is not torch.nn.Embedding:
        return  # left as it is
    with torch.no_grad():
        expected = encode(encoder, batch)[0]
        used = torch.zeros(embedding.num_embeddings, dtype=torch.bool)
        used[batch.input_ids] = True
        used[encoder.config.pad_token_id or 0] = True
        encoder.set_input_embeddings(SplitEmbedding(embedding, used))
        assert torch.equal(encode(encoder, batch)[0], expected)
    assert ResidualClassifier(encoder).saved_state().keys()


def test_the_tests_know_every_family():
    assert TABLE.keys() == FAMILIES.keys()
