"""Our module, data and callbacks in a Lightning script of the user's own."""

import inspect
from dataclasses import replace

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from omegaconf import OmegaConf

import bert_ft
from bert_ft.config.paths import conf_dir
from bert_ft.data.long_texts import LongTexts
from bert_ft.errors import DataError
from bert_ft.models.bundle import save_bundle
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.training.frame_data import with_labels_of
from bert_ft.training.pretrained import MAX_LENGTH
from tests.conftest import make_rows
from tests.inference.saved import make_bundle

CALLBACKS = [getattr(bert_ft.callbacks, name) for name in bert_ft.callbacks.__all__]
QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def frame():
    rows = make_rows(64, seed=1)
    return pd.DataFrame(rows, columns=["text", "label"], index=range(1000, 1064))


@pytest.fixture
def module(tiny_encoder):
    torch.manual_seed(0)
    names = ["positive", "negative"]  # not in the order of the data's own class ids
    return bert_ft.ClassificationModule.from_pretrained(tiny_encoder, labels=names, optimizer=3e-3)


@pytest.fixture
def make_data(frame, module, tmp_path):
    return lambda given=frame, **more: bert_ft.TextDataModule.from_frame(
        given, module.tokenizer, 8, cache_dir=tmp_path / "cache", **more
    )


class Losses(lightning.Callback):
    """A callback of the user's."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


def test_it_learns_validates_predicts_and_is_loaded(module, make_data, frame, tmp_path):
    losses, copy = Losses(), frame.copy()
    trainer = lightning.Trainer(
        max_epochs=6, logger=False, callbacks=[losses], default_root_dir=tmp_path, **QUIET
    )
    data = make_data(validation=frame)
    trainer.fit(module, data)
    assert len(losses.seen) == 48
    assert np.mean(losses.seen[-8:]) < np.mean(losses.seen[:8])
    (scores,) = trainer.validate(module, data, verbose=False)
    assert {"val/loss", "val/accuracy", "val/f1_macro"} <= scores.keys()
    batches = trainer.predict(module, data)
    assert torch.cat([batch["rows"] for batch in batches]).tolist() == list(range(64))
    outputs = torch.cat([batch["outputs"] for batch in batches])
    predicted = [module.labels[row] for row in outputs.argmax(1).tolist()]
    assert np.mean(frame["label"] == predicted) == pytest.approx(scores["val/accuracy"])
    assert scores["val/accuracy"] > 0.9
    assert frame.equals(copy)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = bert_ft.ClassificationModule.load_from_checkpoint(tmp_path / "own.ckpt")
    assert loaded.labels == module.labels
    unlabeled = make_data(frame[["text"]])  # only to predict
    again = trainer.predict(loaded, unlabeled)
    torch.testing.assert_close(torch.cat([batch["outputs"] for batch in again]), outputs)


@pytest.mark.slow
@pytest.mark.parametrize("callback", CALLBACKS, ids=lambda callback: callback.__name__)
def test_every_callback_works_with_any_trainer(callback, module, make_data, tmp_path):
    settings = [
        {"logger": False, "enable_checkpointing": False},
        {"logger": [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)]},
        {"fast_dev_run": True},
        {"limit_val_batches": 0, "logger": CSVLogger(tmp_path)},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0, "logger": CSVLogger(tmp_path)},
    ]
    data = make_data()
    for each in settings:
        trainer = lightning.Trainer(
            max_steps=3, callbacks=[callback()], default_root_dir=tmp_path, **QUIET, **each
        )
        trainer.fit(module, data)
        assert trainer.global_step == (1 if "fast_dev_run" in each else 3)
    # an average of an earlier trainer isn't saved as the weights of a later one
    trainer = lightning.Trainer(max_steps=3, logger=False, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = bert_ft.ClassificationModule.load_from_checkpoint(tmp_path / "own.ckpt").eval()
    batch = next(iter(data.predict_dataloader()))
    with torch.no_grad():
        torch.testing.assert_close(loaded(batch), module.eval()(batch))


def test_callbacks_that_are_promised_are_lightnings():
    assert len(CALLBACKS) > 8
    assert all(inspect.isclass(each) and issubclass(each, lightning.Callback) for each in CALLBACKS)


def test_a_saved_model_is_trained_further(tiny_encoder, frame, tmp_path):
    bundle = make_bundle(tiny_encoder, tmp_path / "saved", ("negative", "positive"))
    module = bert_ft.ClassificationModule.from_pretrained(tmp_path / "saved")
    assert (module.labels, module.tokenizer.model_max_length) == (("negative", "positive"), bundle.max_length)
    assert module.classifier.training
    for name, value in module.classifier.state_dict().items():
        assert (value == bundle.classifier.state_dict()[name]).all()


@pytest.mark.parametrize(
    ("ours", "theirs", "targets", "expected"),
    [
        (Regression(("a",), (2.0,), (2.0,)), Regression(("a",), (0.0,), (4.0,)), [[0.0], [1.0]], [[0.5], [1.0]]),
        (MultiLabel(("b", "c")), MultiLabel(("c", "a", "b")), [[True, False]], [[False, False, True]]),
        (SingleLabel(("x", "y")), SingleLabel(("y", "x")), [0, 1], [1, 0]),
    ],
)  # fmt: skip
def test_targets_of_a_frame_are_those_of_the_saved_model(make_data, ours, theirs, targets, expected):
    data = make_data().data
    split = replace(data.splits["train"], labels=np.array(targets))
    found = with_labels_of(replace(data, task=ours, splits={"train": split}), theirs)
    assert found.task == theirs
    np.testing.assert_array_equal(found.splits["train"].labels, np.array(expected))
    with pytest.raises(DataError, match="another task"):
        with_labels_of(replace(data, task=ours), Ordinal(order=(1, 2)))


def test_windows_of_long_texts_are_those_of_the_saved_model(tiny_encoder, frame, tmp_path):
    long = frame.assign(text=[f"{text} " * (1 + row % 4) for row, text in enumerate(frame["text"])])
    bundle = make_bundle(tiny_encoder, tmp_path / "first", ("negative", "positive"))
    settings = {**vars(bundle), "max_length": 16, "long_texts": LongTexts("windows", stride=2)}
    module = bert_ft.ClassificationModule.from_pretrained(save_bundle(tmp_path / "saved", **settings))
    trainer = lightning.Trainer(max_steps=0, logger=False, default_root_dir=tmp_path, **QUIET)
    given = {"frame": long, "tokenizer": module.tokenizer, "cache_dir": tmp_path / "cache"}
    with pytest.raises(ValueError, match=r"long_texts=module\.long_texts"):
        trainer.predict(module, bert_ft.TextDataModule.from_frame(**given))
    data = bert_ft.TextDataModule.from_frame(**given, long_texts=module.long_texts)
    expected = bert_ft.load(tmp_path / "saved").predict_proba(long)
    found = torch.cat([batch["outputs"] for batch in trainer.predict(module, data)])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = bert_ft.ClassificationModule.load_from_checkpoint(tmp_path / "own.ckpt")
    assert loaded.long_texts == module.long_texts


def test_mistakes_are_named(tiny_encoder, module, make_data, frame, tmp_path):
    load = bert_ft.ClassificationModule.from_pretrained
    with pytest.raises(ValueError, match=r"give labels=\[...\]"):
        load(tiny_encoder)
    with pytest.raises(ValueError, match="two or more different labels"):
        load(tiny_encoder, labels=["a", "a"])
    with pytest.raises(ValueError, match=r"max_length=99: .*64"):
        load(tiny_encoder, labels=["a", "b"], max_length=99)
    with pytest.raises(ValueError, match="a saved model has its own"):
        load(tiny_encoder, max_length=16)
    other = make_data(frame.assign(label=np.where(frame["label"] == "negative", "x", "y")))
    trainer = lightning.Trainer(max_steps=1, logger=False, default_root_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="labels 'x', 'y' of the data are none of the module's"):
        trainer.fit(module, other)


def test_defaults_are_those_of_the_configuration(module):
    """``from_pretrained`` can't read ``conf/``: its layer knows no configuration."""
    optimizer = OmegaConf.load(conf_dir() / "optimizer/adamw.yaml")
    for name in ("layer_decay", "head_lr", "weight_decay"):
        assert getattr(module.optimizer, name) == float(optimizer[name])
    algorithm = module.optimizer.algorithm
    assert algorithm.keywords == {"betas": (0.9, 0.999), "eps": 1e-8, "fused": True}
    assert list(optimizer.algorithm.betas) == [0.9, 0.999]
    schedule = OmegaConf.load(conf_dir() / "schedule/_warmup.yaml")
    assert module.schedule.warmup_ratio == schedule.warmup_ratio
    head = OmegaConf.load(conf_dir() / "model/bert_residual.yaml")
    assert module.classifier.architecture == {
        "pooling": head.pooling,
        "pooling_layers": head.pooling_layers,
        **head.head,
    }
    loss = OmegaConf.load(conf_dir() / "loss/cross_entropy.yaml")
    assert module.objective.loss.label_smoothing == loss.label_smoothing
    data = OmegaConf.load(conf_dir() / "data/_data.yaml")
    assert (module.max_tokens, MAX_LENGTH) == (data.max_tokens, data.max_length)
    monitors = OmegaConf.load(conf_dir() / "monitor/light.yaml")
    for node in monitors.values():
        cls = getattr(bert_ft.callbacks, node._target_.rpartition(".")[2])
        defaults = {name: value.default for name, value in inspect.signature(cls).parameters.items()}
        keys = [name for name in node if name not in ("_target_", "folder")]
        assert {name: defaults[name] for name in keys} == {
            name: float(node[name]) if isinstance(node[name], str) else node[name] for name in keys
        }
