"""Runs whose attention is a function of the user's, up to the saved folder and its predictions."""

import csv
import json
import sys

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState

from bert_ft.errors import ConfigError, UserError
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from bert_ft.pretrain import main as pretrain
from bert_ft.train import main
from tests import commands

from .running import SMALL, file_overrides, reloaded_logits, small_run, small_stage, train
from .test_own_classes_page import FILES

pytestmark = pytest.mark.slow

NEAR = "my_package.attention.near"
OWN = [f"encoder.attn_implementation={NEAR}", "trust=[my_package.*]"]
PACKED = '''

from bert_ft.models.attention import takes_packed


@takes_packed
def packed(module, query, key, value, attention_mask, scaling, dropout=0.0, *, cu_seqlens, **kwargs):
    """``near`` on packed tokens, one text after the other."""
    sizes = cu_seqlens.diff().tolist()
    texts = zip(*(states.split(sizes, dim=2) for states in (query, key, value)))
    return torch.cat([near(module, *text, 0.0, scaling, dropout)[0] for text in texts], dim=1), None
'''


@pytest.fixture(scope="module")
def attention(package):
    """The page's example, and the same for packed tokens, in ``my_package``."""
    (package / "my_package/attention.py").write_text(dict(FILES)["my_package/attention.py"] + PACKED)
    yield package
    sys.modules.pop("my_package.attention", None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, reviews, attention):
    folder = tmp_path_factory.mktemp("near")
    _, metrics = train(folder, tiny_encoder, reviews, *OWN)
    return folder, metrics


def losses(folder):
    with (folder / "csv/version_0/metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_it_trains_by_it(finished, tmp_path, tiny_encoder, reviews):
    folder, metrics = finished
    train(tmp_path, tiny_encoder, reviews)
    near, plain = losses(folder), losses(tmp_path)
    assert len(near) == len(plain) == 30
    assert all(abs(one - other) > 1e-6 for one, other in zip(near, plain, strict=True))
    assert sum(near[-5:]) < 0.8 * sum(near[:5])
    assert metrics["test"]["accuracy"] > 0.6
    assert "attention" not in yaml.safe_load((tmp_path / "model/bert_ft.yaml").read_text())


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_packed_and_padded_train_alike(tmp_path, tiny_encoder, reviews, attention, pooling):
    still = [
        "encoder.hidden_dropout=0",
        "encoder.attention_dropout=0",
        "model.head.dropout=0",
        f"model.pooling={pooling}",
    ]
    found = []
    for name in ("near", "packed"):
        own = [*OWN[1:], f"encoder.attn_implementation=my_package.attention.{name}"]
        train(tmp_path / name, tiny_encoder, reviews, *still, *own)
        found.append(losses(tmp_path / name))
    assert found[0][:5] == pytest.approx(found[1][:5], abs=1e-4)


def test_the_saved_folder_gives_the_reported_metrics(finished, reviews):
    folder, metrics = finished
    assert yaml.safe_load((folder / "model/bert_ft.yaml").read_text())["attention"] == NEAR
    assert "my_package" not in (folder / "model/config.json").read_text()
    for split in ("validation", "test"):
        logits, labels = reloaded_logits(folder, reviews, split, trust=["my_package.*"])
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        assert metrics["val" if split == "validation" else "test"]["loss"] == pytest.approx(loss, abs=1e-5)


def test_predict_with_trust_and_without(finished, reviews, attention, tmp_path):
    folder, metrics = finished
    words = [f"bundle={folder / 'model'}", f"input={reviews['validation']}", f"output={tmp_path / 'y.csv'}"]
    refused = commands.run("bert_ft.predict", *words, cwd=attention)
    assert refused.returncode == 2
    assert f"encoder.attn_implementation={NEAR}: isn't among the trusted" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "y.csv").exists()
    done = commands.run("bert_ft.predict", *words, "trust=[my_package.*]", cwd=attention)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "y.csv").open() as file:
        right = [row["prediction"] == row["label"] for row in csv.DictReader(file)]
    assert sum(right) / len(right) == pytest.approx(metrics["val"]["accuracy"], abs=1e-6)


def test_it_cannot_be_exported(finished, tmp_path):
    bundle = load_bundle(finished[0] / "model", trust=["my_package.*"])
    with pytest.raises(
        ConfigError, match=r"attn_implementation=my_package\.attention\.near: .*can't be exported"
    ):
        export_onnx(bundle, tmp_path / "model.onnx")


def test_a_plain_head_has_it_too(tmp_path, tiny_encoder, reviews, attention):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "model=bert_linear", *OWN)
    logits, labels = reloaded_logits(tmp_path, reviews, "test", trust=["my_package.*"])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert metrics["test"]["loss"] == pytest.approx(loss, abs=1e-5)


def test_a_stage_pretrains_by_it(tmp_path, tiny_encoder, reviews, attention):
    found = []
    for name, own in (("near", OWN), ("plain", [])):
        pretrain(small_stage(tmp_path / name, tiny_encoder, reviews, "pretrain.trainer.max_epochs=1", *own))
        found.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    assert found[0] != found[1]
    assert "my_package" not in (tmp_path / "near/model/config.json").read_text()


def test_a_search_chooses_between_it_and_another(tmp_path, tiny_encoder, reviews, attention):
    folder = tmp_path / "search"
    overrides = [
        "hydra/sweeper=optuna",
        "search=none",
        "hydra/sweeper/sampler=grid",  # tries each value, whatever the seed
        f"encoder.attn_implementation=choice(sdpa,{NEAR})",
        OWN[1],
        *SMALL,
        *file_overrides(reviews),
        f"encoder.name_or_path={tiny_encoder}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "logger=none",
        "trainer.max_epochs=1",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.keep_top_k=null",
        "hydra.sweeper.report=false",
        f"hydra.sweep.dir={folder}",
    ]
    done = commands.run("bert_ft.train", "--multirun", *overrides, cwd=attention)
    assert done.returncode == 0, done.stdout + done.stderr
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert {trial.params["encoder.attn_implementation"] for trial in study.trials} == {"sdpa", NEAR}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["encoder.attn_implementation=spda"],
            r"^encoder\.attn_implementation=spda: must be one of eager, .*sdpa, or",
        ),
        (OWN[:1], rf"encoder\.attn_implementation={NEAR}: isn't among the trusted classes"),
    ],
)
def test_what_is_refused_before_data_is_read(tmp_path, tiny_encoder, overrides, message, attention):
    nothing = {"train": tmp_path / "train.csv"}
    nothing["train"].write_text("not,what\nis,asked\n")
    with pytest.raises(UserError, match=message) as error:
        main(small_run(tmp_path / "run", tiny_encoder, nothing, *overrides))
    assert len(str(error.value).splitlines()) <= 2


def test_a_registered_name(tmp_path, tiny_encoder, reviews, attention, monkeypatch):
    from transformers import AttentionInterface, AttentionMaskInterface

    for interface in (AttentionInterface, AttentionMaskInterface):
        monkeypatch.setattr(interface, "_global_mapping", dict(interface._global_mapping))
    exec(dict(FILES)["my_package/attention.py"], namespace := {})
    AttentionInterface.register("near", namespace["near"])
    train(tmp_path, tiny_encoder, reviews, "debug=fast", "encoder.attn_implementation=near")
    assert load_bundle(tmp_path / "model").classifier.config._attn_implementation == "near"
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"attn_implementation=near: must be one of"):
        load_bundle(tmp_path / "model")
