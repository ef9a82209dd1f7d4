"""Runs with ``data.tokenizer``: added tokens, lower case, another folder, through every stage up to the saved folder."""

import csv
import json
import logging

import numpy as np
import onnxruntime
import optuna
import pytest
import torch
from optuna.trial import TrialState
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizer

from bert_ft.errors import UserError
from bert_ft.inference.onnx import export_onnx
from bert_ft.kernels.split_embedding import SplitEmbedding
from bert_ft.models.bundle import load_bundle
from bert_ft.predict import main as predict
from bert_ft.pretrain import main as pretrain
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule
from tests import commands
from tests.conftest import make_rows, write_csv

from .running import (
    SMALL,
    compose_run,
    file_overrides,
    interrupted,
    reloaded_logits,
    small_run,
    small_stage,
    train,
)

pytestmark = pytest.mark.slow

ADDED = ["data.tokenizer.added_tokens=[blockbuster,turkey,unused]"]
STILL = ["encoder.hidden_dropout=0", "encoder.attention_dropout=0", "model.head.dropout=0"]


@pytest.fixture(scope="module")
def size(tiny_encoder):
    return len(AutoTokenizer.from_pretrained(tiny_encoder))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """``reviews``, where only an added word tells the labels apart."""
    folder = tmp_path_factory.mktemp("films")
    words = {"positive": "Blockbuster", "negative": "Turkey"}
    files = {}
    for seed, (name, count) in enumerate({"train": 160, "validation": 40, "test": 40}.items()):
        neutral = [
            (" ".join(word for word in text.split()[:3] if word in ("film", "plot", "the", "music")), label)
            for text, label in make_rows(count, seed)
        ]
        rows = [(f"{text} {words[label]} {index}", label) for index, (text, label) in enumerate(neutral)]
        files[name] = write_csv(folder / f"{name}.csv", rows)
    return files


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, films):
    folder = tmp_path_factory.mktemp("added")
    _, metrics = train(folder, tiny_encoder, films, *ADDED, "trainer.max_epochs=4")
    return folder, metrics


def losses(folder):
    with (folder / "csv/version_0/metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def grown(folder):
    return load_bundle(folder / "model").classifier.encoder.get_input_embeddings().weight


def test_it_learns_the_added_words(finished):
    _, metrics = finished
    assert metrics["test"]["accuracy"] > 0.9


@pytest.mark.parametrize("model", ["bert_residual", "bert_linear"])
def test_the_saved_folder_gives_the_reported_metrics(tmp_path, finished, films, tiny_encoder, size, model):
    folder, metrics = finished
    if model == "bert_linear":
        folder = tmp_path
        _, metrics = train(folder, tiny_encoder, films, *ADDED, "model=bert_linear")
    bundle = load_bundle(folder / "model")
    assert len(bundle.tokenizer) == bundle.classifier.config.vocab_size == size + 3
    assert bundle.tokenizer.tokenize("a Blockbuster")[-1].strip() == "blockbuster"
    logits, labels = reloaded_logits(folder, films, "test")
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert metrics["test"]["loss"] == pytest.approx(loss, abs=1e-5)


def test_it_predicts_and_is_exported(finished, films, tmp_path):
    folder, metrics = finished
    overrides = [
        f"bundle={folder / 'model'}",
        f"input={films['test']}",
        f"output={tmp_path / 'y.csv'}",
        "accelerator=cpu",
    ]
    predict(compose_run(tmp_path, *overrides, job="predict"))
    with (tmp_path / "y.csv").open() as file:
        right = [row["prediction"] == row["label"] for row in csv.DictReader(file)]
    assert sum(right) / len(right) == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)

    bundle = load_bundle(folder / "model")
    session = onnxruntime.InferenceSession(export_onnx(bundle, tmp_path / "model.onnx"))
    encoded = bundle.tokenizer(["the Turkey film", "Blockbuster"], padding=True, return_tensors="np")
    names = {entry.name for entry in session.get_inputs()}
    logits = session.run(["logits"], {name: encoded[name].astype(np.int64) for name in names})[0]
    assert logits.argmax(1).tolist() == [bundle.labels.index("negative"), bundle.labels.index("positive")]


def test_both_sizes_are_said_once(tmp_path, tiny_encoder, films, size, caplog):
    with caplog.at_level(logging.INFO):
        train(tmp_path, tiny_encoder, films, *ADDED, "debug=fast", "pretrain=mlm")
    said = [record for record in caplog.records if "data.tokenizer" in record.getMessage()]
    assert [record.levelname for record in said] == ["INFO"]
    assert f"grows from {size} to {size + 3} rows" in said[0].getMessage()


def test_only_rows_in_use_are_trained_and_the_kernels_agree(tmp_path, tiny_encoder, films, size, monkeypatch):
    split = []
    original = SplitEmbedding.__init__

    def note(self, embedding, used):
        split.append(used)
        original(self, embedding, used)

    monkeypatch.setattr(SplitEmbedding, "__init__", note)
    for kernels in ("fast", "plain"):
        more = [*ADDED, *STILL, f"encoder.kernels={kernels}", "trainer.max_epochs=2"]
        train(tmp_path / kernels, tiny_encoder, films, *more)
    used = next(each for each in split if len(each) == size + 3)
    assert used[-3:].tolist() == [True, True, False]
    assert losses(tmp_path / "fast") == pytest.approx(losses(tmp_path / "plain"), abs=1e-5)
    assert torch.allclose(grown(tmp_path / "fast"), grown(tmp_path / "plain"), atol=1e-4)


def test_it_resumes_to_the_last_bit(finished, tmp_path, tiny_encoder, films, monkeypatch):
    whole, _ = finished
    arguments = (tmp_path, tiny_encoder, films, *ADDED, "trainer.max_epochs=4")
    last = interrupted(monkeypatch, "on_train_batch_end", lambda module: module.global_step == 25, *arguments)
    train(*arguments, f"resume_from={last}")
    ended = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    expected = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, ended[name]) for name, value in expected.items())


def test_frozen_and_cached(tmp_path, tiny_encoder, films, size, caplog):
    kept = ["encoder.freeze_layers=0", "encoder.cache_frozen=true", *STILL]
    with caplog.at_level(logging.INFO):
        train(tmp_path / "cached", tiny_encoder, films, *ADDED, *kept)
    assert "encoder.freeze_layers freezes them" in caplog.text
    train(tmp_path / "computed", tiny_encoder, films, *ADDED, *kept[:1], *STILL)
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "computed"), abs=1e-4)
    old = load_bundle(tmp_path / "cached/model").classifier.encoder.get_input_embeddings().weight[:size]
    assert torch.equal(old, AutoModelForMaskedLM.from_pretrained(tiny_encoder).get_input_embeddings().weight)


@pytest.mark.parametrize("stage", ["mlm", "contrastive"])
def test_a_stage_before_hands_the_rows_over(tmp_path, tiny_encoder, films, size, stage, monkeypatch):
    more = [*ADDED, f"pretrain={stage}", "pretrain.batch_size=16", "pretrain.trainer.max_epochs=1"]
    handed_over = []
    original = ClassificationModule.on_fit_start

    def note(module):
        encoder = module.classifier.encoder
        handed_over.append(encoder.get_input_embeddings().state_dict()["weight"].clone())
        return original(module)

    monkeypatch.setattr(ClassificationModule, "on_fit_start", note)
    for _ in range(2):  # the second time from the cache
        config = small_run(tmp_path / str(len(handed_over)), tiny_encoder, films, *more, "debug=fast")
        config.data.cache_dir = str(tmp_path / "cache")
        config.pretrain.num_cached = 3
        main(config)
    assert handed_over[0].shape[0] == size + 3
    assert torch.equal(*handed_over)
    assert json.loads((tmp_path / "1/pretraining/metrics.json").read_text())["from_cache"]
    mean = handed_over[0][:size].mean(0)
    assert (handed_over[0][size] - mean).abs().max() > 1e-5  # drawn within 1e-6, it has learnt
    # another tokenizer isn't served what the cache has
    other = [word.replace("turkey", "dud") for word in more]
    config = small_run(tmp_path / "other", tiny_encoder, films, *other, "debug=fast")
    config.data.cache_dir = str(tmp_path / "cache")
    config.pretrain.num_cached = 3
    main(config)
    assert not json.loads((tmp_path / "other/pretraining/metrics.json").read_text())["from_cache"]


def test_a_stage_alone_leaves_a_folder_to_go_on_from(tmp_path, tiny_encoder, films, size, caplog):
    pretrain(small_stage(tmp_path / "alone", tiny_encoder, films, "pretrain.trainer.max_epochs=1", *ADDED))
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "alone/model")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.get_output_embeddings().out_features == size + 3
    caplog.clear()
    train(tmp_path / "next", tmp_path / "alone/model", films, "debug=fast")
    assert "data.tokenizer" not in caplog.text
    assert grown(tmp_path / "next").shape[0] == size + 3


def test_capital_letters(tmp_path, tiny_encoder, films, caplog):
    more = ["data.tokenizer.lowercase=false", "data.tokenizer.added_tokens=[Blockbuster,Turkey]"]
    _, metrics = train(tmp_path, tiny_encoder, films, *more, "trainer.max_epochs=4")
    assert "data.tokenizer.lowercase=false: the vocabulary has no capital letters" in caplog.text
    assert metrics["test"]["accuracy"] > 0.9
    logits, labels = reloaded_logits(tmp_path, films, "test")
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert metrics["test"]["loss"] == pytest.approx(loss, abs=1e-5)
    tokenizer = load_bundle(tmp_path / "model").tokenizer
    assert tokenizer.unk_token not in tokenizer.tokenize("Turkey")
    assert tokenizer.tokenize("Film") == [tokenizer.unk_token]


def test_another_folder(tmp_path, tiny_encoder, reviews, size, caplog):
    own = AutoTokenizer.from_pretrained(tiny_encoder).get_vocab()
    words = sorted(own, key=own.__getitem__)
    words = [*words[:5], *reversed(words[5:]), "blockbuster"]
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(tmp_path / "other")
    more = [f"data.tokenizer.name_or_path={tmp_path / 'other'}", "debug=fast"]
    train(tmp_path / "run", tiny_encoder, reviews, *more)
    assert "is lost" in caplog.text
    bundle = load_bundle(tmp_path / "run/model")
    assert bundle.classifier.config.vocab_size == size + 1
    assert bundle.tokenizer.get_vocab() == {word: index for index, word in enumerate(words)}


def test_a_search_chooses_among_tokens(tmp_path, tiny_encoder, films):
    folder = tmp_path / "search"
    overrides = [
        "hydra/sweeper=optuna",
        "search=none",
        "hydra/sweeper/sampler=grid",  # tries each value, whatever the seed
        "data.tokenizer.lowercase=choice(true,false)",
        *ADDED,
        *SMALL,
        *file_overrides(films),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "logger=none",
        "trainer.max_epochs=2",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.keep_top_k=null",
        "hydra.sweeper.report=false",
        "hydra/sweeper/pruner=none",
        f"hydra.sweep.dir={folder}",
    ]
    done = commands.run("bert_ft.train", "--multirun", *overrides, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    lower = {trial.number: trial.params["data.tokenizer.lowercase"] for trial in study.trials}
    assert len(set(lower.values())) == 2
    for number, value in lower.items():
        tokens = load_bundle(folder / str(number) / "model").tokenizer.tokenize("Turkey")
        assert (tokens == ["[UNK]"]) is (value is False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tokenizer.name_or_path=nowhere", r"data\.tokenizer\.name_or_path=nowhere: no tokenizer"),
        (
            "data.tokenizer.added_tokens=[a b ,a b]",
            r"data\.tokenizer\.added_tokens: 'a b' is the same token as",
        ),
    ],
)
def test_what_is_refused_before_data_is_read(tmp_path, tiny_encoder, override, message):
    nothing = {"train": tmp_path / "train.csv"}
    nothing["train"].write_text("not,what\nis,asked\n")
    with pytest.raises(UserError, match=message):
        main(small_run(tmp_path / "run", tiny_encoder, nothing, override))
