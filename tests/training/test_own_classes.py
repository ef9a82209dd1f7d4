"""Runs with classes from outside of the package, by their names: trained, saved, loaded and used where trusted."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import cohen_kappa_score

from bert_ft.errors import ConfigError
from bert_ft.inference.onnx import export_onnx
from bert_ft.models.bundle import load_bundle
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule

from .running import SMALL, file_overrides, reloaded_logits, small_run, train

pytestmark = pytest.mark.slow

PARTS = '''
import numpy as np
import torch
from torch import nn
from torchmetrics import Metric

from bert_ft.data.sources import Files

calls = []


class FirstAndMean(nn.Module):
    """Pooling."""

    def __init__(self, hidden_size, share=0.5):
        super().__init__()
        self.share = share
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, hidden, cu_seqlens):
        texts = hidden.split(cu_seqlens.diff().tolist())
        pooled = [self.share * text[0] + (1 - self.share) * text.mean(0) for text in texts]
        return torch.stack(pooled) * self.scale


class TwoLayers(nn.Sequential):
    """Head."""

    def __init__(self, hidden_size, num_labels, width=8):
        super().__init__(nn.Linear(hidden_size, width), nn.ReLU(), nn.Linear(width, num_labels))


class Brier(nn.Module):
    """Loss."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, logits, labels):
        calls.append("loss")
        return self.factor * ((logits.softmax(-1) - nn.functional.one_hot(labels, logits.shape[1])) ** 2).mean()


class Center(Brier):
    """A loss that would have to be trained."""

    def __init__(self):
        super().__init__()
        self.center = nn.Parameter(torch.zeros(3))


class SignDescent(torch.optim.Optimizer):
    """Optimizer."""

    def __init__(self, params, lr, decay=0.0):
        super().__init__(params, {"lr": lr, "decay": decay, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        calls.append("optimizer")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])
        return loss


class ErrorRate(Metric):
    """Metric."""

    def __init__(self, num_classes, of_label=None):
        super().__init__()
        self.num_classes = num_classes
        self.of_label = of_label
        self.add_state("wrong", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits, labels):
        assert logits.shape[1] == self.num_classes
        counts = labels == (labels if self.of_label is None else self.of_label)
        self.wrong += ((logits.argmax(1) != labels) & counts).sum()
        self.rows += len(labels)

    def compute(self):
        return self.wrong / self.rows


class Noise:
    """Augmentation: some tokens become others, such as no training text has."""

    def __init__(self, share, num_tokens):
        self.share, self.num_tokens = share, num_tokens

    def __call__(self, ids, segments, mask_id, rng):
        other = rng.integers(5, self.num_tokens, size=len(ids))
        changed = (segments >= 0) & (rng.random(len(ids)) < self.share)
        return np.where(changed, other, ids), np.arange(len(ids))


class Counted(Files):
    """Source."""

    def load(self, cache_dir=None):
        calls.append("source")
        return super().load(cache_dir)
'''
TRUST = "trust=[my_package.*]"
OWN = {
    "pooling": ["model.pooling={_target_:my_package.parts.FirstAndMean,share:0.25}"],
    "head": ["~model.head", "+model.head={_target_:my_package.parts.TwoLayers,width:12}"],
    "loss": ["~loss", "+loss={_target_:my_package.parts.Brier,factor:2.0}"],
    "optimizer": [
        "~optimizer.algorithm",
        "+optimizer.algorithm={_target_:my_package.parts.SignDescent,_partial_:true}",
        "optimizer.lr=1e-3",
    ],
    "metric": ["+metrics.errors._target_=my_package.parts.ErrorRate"],
    "augmentation": [
        "~data.augmentation",
        "+data.augmentation={_target_:my_package.parts.Noise,share:0.1,num_tokens:70}",
    ],
    "source": ["data.source._target_=my_package.parts.Counted"],
}
EVERYTHING = [override for overrides in OWN.values() for override in overrides]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with ``my_package``, on the path; not imported yet."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "my_package").mkdir()
    (folder / "my_package/__init__.py").touch()
    (folder / "my_package/parts.py").write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("my_package", "my_package.parts"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_encoder, reviews, package):
    """A run in which everything that can be somebody's own is."""
    folder = tmp_path_factory.mktemp("own")
    objective, metrics = train(
        folder,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=8",
        "callbacks.early_stopping=null",
        *EVERYTHING,
        "objective.metric=val/errors",
        "objective.mode=min",
        TRUST,
    )
    return folder, objective, metrics


def test_it_learns_by_all_of_them(finished):
    _, objective, metrics = finished
    assert metrics["test"]["accuracy"] >= 0.9
    calls = sys.modules["my_package.parts"].calls
    assert set(calls) == {"loss", "optimizer", "source"}
    assert calls.count("optimizer") == 80
    assert objective == metrics["val"]["errors"] == metrics["objective"]["value"]
    assert metrics["objective"]["metric"] == "val/errors"


def test_the_kept_checkpoint_has_the_fewest_errors(finished):
    folder, objective, metrics = finished
    with (folder / "csv/version_0/metrics.csv").open() as file:
        values = [float(row["val/errors"]) for row in csv.DictReader(file) if row["val/errors"]]
    assert len(values) > 1
    assert objective == pytest.approx(min(values), abs=1e-7)
    assert metrics["checkpoint"]["epoch"] == values.index(min(values)) + 1


def test_the_saved_folder_gives_the_reported_metrics(finished, reviews):
    folder, _, metrics = finished
    bundle = load_bundle(folder / "model", trust=["my_package.*"])
    assert type(bundle.classifier.pooling).__name__ == "FirstAndMean"
    assert bundle.classifier.pooling.share == 0.25
    assert bundle.classifier.head[0].out_features == 12
    logits, labels = reloaded_logits(folder, reviews, "test", trust=["my_package.*"])
    errors = (logits.argmax(1) != labels).float().mean().item()
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert metrics["test"]["errors"] == pytest.approx(errors, abs=1e-6)
    assert metrics["test"]["accuracy"] == pytest.approx(1 - errors, abs=1e-6)
    assert metrics["test"]["loss"] == pytest.approx(loss, abs=1e-6)


def test_the_saved_folder_is_refused_without_trust(finished):
    folder, _, _ = finished
    message = (
        r"model\.pooling\._target_=my_package\.parts\.FirstAndMean: .*add trust=\[my_package\.parts\.\*\]"
    )
    with pytest.raises(ConfigError, match=message):
        load_bundle(folder / "model")


def test_a_folder_that_names_something_else_is_refused(finished, tmp_path):
    folder, _, _ = finished
    specification = yaml.safe_load((folder / "model/bert_ft.yaml").read_text())
    for file in (folder / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    specification["architecture"]["head"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    (tmp_path / "bert_ft.yaml").write_text(yaml.safe_dump(specification))
    with pytest.raises(ConfigError, match=r"model\.head\._target_=os\.system"):
        load_bundle(tmp_path, trust=["my_package.*"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", OWN)
def test_each_is_refused_without_trust(tmp_path, tiny_encoder, reviews, part):
    with pytest.raises(
        ConfigError, match=r"_target_=my_package\.parts\.\w+: .*add trust=\[my_package\.parts"
    ):
        train(tmp_path, tiny_encoder, reviews, *OWN[part])
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_not_trusted_is_named_at_once(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError) as error:
        train(tmp_path, tiny_encoder, reviews, *EVERYTHING)
    for key in (
        "model.pooling._target_=my_package.parts.FirstAndMean",
        "model.head._target_=my_package.parts.TwoLayers",
        "loss._target_=my_package.parts.Brier",
        "optimizer.algorithm._target_=my_package.parts.SignDescent",
        "metrics.errors._target_=my_package.parts.ErrorRate",
        "data.augmentation._target_=my_package.parts.Noise",
        "data.source._target_=my_package.parts.Counted",
    ):
        assert f"\n  {key}: " in str(error.value)


@pytest.mark.parametrize("part", OWN)
def test_each_by_itself_makes_another_run(tmp_path, tiny_encoder, reviews, package, part):
    """None is silently left out: the losses of the first steps differ from those of the plain run."""

    def losses(name, *overrides):
        train(tmp_path / name, tiny_encoder, reviews, "debug=fast", *overrides)
        with (tmp_path / name / "csv/version_0/metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [row["train/loss"] for row in rows if row["train/loss"]], rows[0].keys()

    plain, names = losses("plain")
    own, own_names = losses("own", *OWN[part], TRUST)
    if part in ("metric", "source"):
        assert own == plain
        assert own_names - names == ({"val/errors", "test/errors"} if part == "metric" else set())
    else:
        assert own != plain


def test_a_configuration_file_of_ones_own(tmp_path, tiny_encoder, reviews, package):
    """As ``--config-dir conf`` has them: a file for a group, which is then a choice of it."""
    for group, lines in {
        "loss": "_target_: my_package.parts.Brier\nfactor: 3.0\ncontrastive_weight: 0.1\n",
        "model": "defaults: [bert_residual, _self_]\npooling:\n  _target_: my_package.parts.FirstAndMean\n",
    }.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(lines)
    command = [
        sys.executable,
        "-m",
        "bert_ft.train",
        "--config-dir",
        "conf",
        *SMALL,
        *file_overrides(reviews),
    ]
    command += [f"encoder.name_or_path={tiny_encoder}", f"data.cache_dir={tmp_path / 'cache'}", "debug=fast"]
    command += ["loss=mine", "model=mine", TRUST, "hydra.run.dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    specification = yaml.safe_load((tmp_path / "run/model/bert_ft.yaml").read_text())
    assert specification["architecture"]["pooling"] == {"_target_": "my_package.parts.FirstAndMean"}


def test_predict_with_trust_and_without(finished, reviews, package, tmp_path):
    folder, _, _ = finished
    command = [
        sys.executable,
        "-m",
        "bert_ft.predict",
        f"bundle={folder / 'model'}",
        f"input={reviews['test']}",
    ]
    command += [f"output={tmp_path / 'y.csv'}"]
    refused = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2
    assert "model.pooling._target_=my_package.parts.FirstAndMean: " in refused.stderr
    assert "add trust=[my_package.parts.*]" in refused.stderr
    assert not (tmp_path / "y.csv").exists()
    done = subprocess.run([*command, TRUST], cwd=package, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "y.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracy = np.mean([row["prediction"] == row["label"] for row in rows])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=1e-6)


def test_a_pooling_of_ones_own_cannot_be_exported_but_a_head_can(finished, tmp_path, tiny_encoder, reviews):
    folder, _, _ = finished
    bundle = load_bundle(folder / "model", trust=["my_package.*"])
    with pytest.raises(ConfigError, match=r"model\.pooling=FirstAndMean: .*can be exported"):
        export_onnx(bundle, tmp_path / "model.onnx")
    train(tmp_path / "run", tiny_encoder, reviews, "debug=fast", *OWN["head"], TRUST)
    bundle = load_bundle(tmp_path / "run/model", trust=["my_package.*"])
    assert export_onnx(bundle, tmp_path / "head.onnx").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["~loss", "+loss={_target_:my_package.parts.Center}"],
            r"loss\._target_=my_package\.parts\.Center: has p",
        ),
        (["~loss", "+loss={_target_:my_package.parts.ErrorRates}"], r"my_package\.parts\.ErrorRates"),
        (
            ["~loss", "+loss={_target_:my_package.parts.Noise,share:0,num_tokens:9}"],
            "gives a Noise, not a Module",
        ),
        (["+loss.factor=2", "loss._target_=my_package.parts.Brier"], "unexpected keyword argument"),
        (
            ["+metrics.x={_target_:my_package.parts.Noise,share:0,num_tokens:9}"],
            r"metrics\.x\._target_=my_package\.parts\.Noise: gives a Noise, not a Metric",
        ),
        (
            ["optimizer.algorithm._target_=torch.optim.SGD"],
            r"optimizer\.algorithm\._target_=torch\.optim\.SGD: .*unexpected keyword argument 'betas'",
        ),
        (
            ["model.pooling={_target_:my_package.parts.FirstAndMean,part:1}"],
            "unexpected keyword argument 'part'",
        ),
        (["data.source._target_=my_package.parts.Noise"], "Noise"),
        (["data.augmentation._target_=my_package.parts.Noise"], "token_dropout"),
    ],
)
def test_what_cannot_be_used_is_a_clear_error(tmp_path, tiny_encoder, reviews, package, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, "debug=fast", *overrides, TRUST)


def test_metrics_whose_first_batches_agree_stay_apart(tmp_path, tiny_encoder, reviews, package):
    """torchmetrics would let metrics with equal states share them from the first batch on."""
    own = "my_package.parts.ErrorRate"
    _, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=2",
        "data.eval_batch_size=1",
        f"+metrics.all={{_target_:{own}}}",
        f"+metrics.first={{_target_:{own},of_label:0}}",
        f"+metrics.second={{_target_:{own},of_label:1}}",
        TRUST,
    )
    for split in (metrics["val"], metrics["test"]):
        assert split["all"] == pytest.approx(1 - split["accuracy"], abs=1e-6)
        assert split["first"] + split["second"] == pytest.approx(split["all"], abs=1e-6)
    assert metrics["test"]["first"] != metrics["test"]["second"]


def test_the_objective_can_be_any_torchmetric(tmp_path, tiny_encoder, reviews):
    """Cohen's kappa against scikit-learn, on what the bundle predicts."""
    objective, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=2",
        "+metrics.kappa._target_=torchmetrics.classification.MulticlassCohenKappa",
        "+metrics.unused=null",
        "objective.metric=val/kappa",
    )
    assert objective == metrics["val"]["kappa"]
    logits, labels = reloaded_logits(tmp_path, reviews, "test")
    expected = cohen_kappa_score(labels, logits.argmax(dim=1))
    assert metrics["test"]["kappa"] == pytest.approx(expected, abs=1e-6)


def test_tokens_that_an_own_augmentation_brings_are_trained(
    tmp_path, tiny_encoder, reviews, package, monkeypatch
):
    """All rows of the embedding are trained then, not those of the training texts alone."""
    seen = []
    monkeypatch.setattr(
        ClassificationModule,
        "on_train_start",
        lambda module: seen.append(type(module.classifier.encoder.get_input_embeddings()).__name__),
    )
    for overrides in ([], [*OWN["augmentation"], TRUST]):
        folder = tmp_path / str(len(overrides))
        train(folder, tiny_encoder, reviews, "debug=fast", "trainer.accelerator=cpu", *overrides)
    assert seen == ["SplitEmbedding", "Embedding"]


def test_trust_ends_with_the_run(tmp_path, tiny_encoder, reviews, package):
    config = small_run(tmp_path, tiny_encoder, reviews, *OWN["loss"])
    with pytest.raises(ConfigError, match=r"my_package\.parts\.Brier"):
        main(config)
