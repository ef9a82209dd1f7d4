"""Runs with classes from outside of the package, by their names: what each changes, and what is refused."""

import csv
import os

import pytest
import yaml

from bert_ft.errors import ConfigError
from bert_ft.train import main
from bert_ft.training.module import ClassificationModule
from tests import commands

from .own_classes import EVERYTHING, OWN, TRUST
from .running import SMALL, file_overrides, small_run, train

pytestmark = pytest.mark.slow


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


def test_trust_ends_with_the_run(tmp_path, tiny_encoder, reviews, package):
    config = small_run(tmp_path, tiny_encoder, reviews, *OWN["loss"])
    with pytest.raises(ConfigError, match=r"my_package\.parts\.Brier"):
        main(config)


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
    words = ["--config-dir", "conf", *SMALL, *file_overrides(reviews)]
    words += [f"encoder.name_or_path={tiny_encoder}", f"data.cache_dir={tmp_path / 'cache'}", "debug=fast"]
    words += ["loss=mine", "model=mine", TRUST, "hydra.run.dir=run"]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    result = commands.run("bert_ft.train", *words, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    specification = yaml.safe_load((tmp_path / "run/model/bert_ft.yaml").read_text())
    assert specification["architecture"]["pooling"] == {"_target_": "my_package.parts.FirstAndMean"}


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
            "builds a Noise, not a Module",
        ),
        (["+loss.factor=2", "loss._target_=my_package.parts.Brier"], "Brier has no such argument"),
        (
            ["+metrics.x={_target_:my_package.parts.Noise,share:0,num_tokens:9}"],
            r"metrics\.x\._target_=my_package\.parts\.Noise: builds a Noise, not a Metric",
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
        (["data.augmentation._target_=my_package.parts.Noise"], "token_deletion_prob"),
    ],
)
def test_what_cannot_be_used_is_a_clear_error(tmp_path, tiny_encoder, reviews, package, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, tiny_encoder, reviews, "debug=fast", *overrides, TRUST)


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
