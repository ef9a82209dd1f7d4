"""Attention of a run against transformers' own, from the folders that it started from and saved."""

import copy
import csv
import logging
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModel, AutoTokenizer

from bert_ft.callbacks import attention as attention_module
from bert_ft.callbacks.attention import AttentionMonitor
from bert_ft.callbacks.confidence import ConfidenceMonitor
from bert_ft.callbacks.representations import RepresentationMonitor
from bert_ft.errors import ConfigError
from bert_ft.nn.embedding import SplitEmbedding
from bert_ft.training.module import ClassificationModule
from tests.conftest import write_csv

from .monitored import (
    IGNORED_REMARKS,
    Given,
    Log,
    arrays,
    assert_equal,
    built,
    finished,
    fitted,
    trainer,
    weights,
)
from .test_confidence import Validation, given

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]
STATISTICS = ["entropy", "distance", "on_first", "on_last", "on_self"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder, tmp_path_factory):
    """The tiny encoder with heads that don't look at everything alike, so that a wrong statistic shows."""
    folder = tmp_path_factory.mktemp("encoder")
    shutil.copytree(tiny_encoder, folder, dirs_exist_ok=True)
    model = AutoModel.from_pretrained(tiny_encoder, add_pooling_layer=False)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                weight.mul_(15)
    model.save_pretrained(folder)
    return folder


def texts_of(files, num_texts):
    with files["validation"].open(encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)][:num_texts]


def reference_maps(model_folder, tokenizer_folder, texts):
    """``(layers, heads, length, length)`` of each text, by transformers alone, from one padded batch."""
    model = AutoModel.from_pretrained(model_folder, attn_implementation="eager", add_pooling_layer=False)
    inputs = AutoTokenizer.from_pretrained(tokenizer_folder)(
        texts, padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        maps = torch.stack(model(**inputs, output_attentions=True).attentions, dim=1).double().numpy()
    lengths = inputs["attention_mask"].sum(1).tolist()
    return [one[:, :, :length, :length] for one, length in zip(maps, lengths, strict=True)]


def reference_statistics(maps):
    """``(layers, heads)`` of each statistic, in a loop over all tokens of all texts."""
    found = {name: [] for name in STATISTICS}
    for attention in maps:
        length = attention.shape[-1]
        for query in range(length):
            rows = attention[:, :, query]  # (layers, heads, length)
            found["entropy"].append(-(rows * np.log(rows)).sum(-1) / math.log(length))
            found["distance"].append((rows * np.abs(np.arange(length) - query)).sum(-1))
            found["on_first"].append(rows[..., 0])
            found["on_last"].append(rows[..., -1])
            found["on_self"].append(rows[..., query])
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def assert_is(saved, log, maps):
    """File and scalars of one look are those of ``maps``."""
    expected = reference_statistics(maps)
    for name, values in expected.items():
        assert saved[name].dtype == np.float32
        np.testing.assert_allclose(saved[name], values, rtol=0, atol=1e-5, err_msg=name)
        for layer, heads in enumerate(values):
            assert log[f"attention/layer.{layer}/{name}"] == pytest.approx(heads.mean(), abs=1e-5)
    assert len(log) == len(expected) * len(maps[0])
    for number in range(2):
        found = saved[f"text_{number}_attention"]
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, maps[number], rtol=0, atol=1e-3)


class TestInARun:
    @pytest.mark.parametrize(
        "overrides",
        [
            [],
            ["averaging=ema", "averaging.decay=0.8"],
            ["model.pooling=cls"],  # the last layer computes first tokens alone
            ["encoder.gradient_checkpointing=true"],
            ["encoder.freeze_layers=1", "encoder.cache_frozen=true"],
        ],
        ids=["plain", "averaged", "first tokens", "checkpointed", "frozen"],
    )
    def test_equals_transformers_before_and_after(self, tmp_path, encoder, reviews, overrides):
        monitor = AttentionMonitor(tmp_path / "monitor")
        _, log = finished(tmp_path, encoder, reviews, [monitor], *overrides)
        assert {path.name for path in (tmp_path / "monitor").iterdir()} == {
            "attention_0.npz",
            "attention_10.npz",
        }
        logged = log.of("attention/")
        assert logged.keys() == {0, 10}
        texts = texts_of(reviews, 8)
        for step, folder in {0: encoder, 10: tmp_path / "model"}.items():
            saved = arrays(tmp_path / f"monitor/attention_{step}.npz")
            maps = reference_maps(folder, encoder, texts)
            assert_is(saved, logged[step], maps)
        before, after = (arrays(tmp_path / f"monitor/attention_{step}.npz") for step in (0, 10))
        assert before["entropy"].min() < 0.9
        assert np.abs(before["entropy"] - after["entropy"]).max() > 1e-3

    def test_tokens(self, tmp_path, encoder, reviews):
        run, _ = built(tmp_path, encoder, reviews, [AttentionMonitor(tmp_path / "monitor", max_tokens=6)])
        run.data.tokenizer = run.tokenizer
        run.run()
        saved = arrays(tmp_path / "monitor/attention_0.npz")
        tokenizer = AutoTokenizer.from_pretrained(encoder)
        for number, text in enumerate(texts_of(reviews, 2)):
            expected = tokenizer.tokenize(text)
            assert len(expected) > 4
            assert saved[f"text_{number}_tokens"].tolist() == ["[CLS]", *expected[:4], "[SEP]"]
            assert saved[f"text_{number}_attention"].shape == (2, 2, 6, 6)

    def test_sentences_of_ones_own(self, tmp_path, encoder, reviews):
        """They are pictured; what is counted stays that of the validation texts."""
        sentences = ["the film", "a good film and a bad story"]
        monitor = AttentionMonitor(tmp_path / "monitor", sentences=sentences)
        run, _ = built(tmp_path, encoder, reviews, [monitor])
        run.data.tokenizer = run.tokenizer
        run.run()
        saved = arrays(tmp_path / "monitor/attention_0.npz")
        pictured = reference_maps(encoder, encoder, sentences)
        assert "text_2_tokens" not in saved
        for number, (text, maps) in enumerate(zip(sentences, pictured, strict=True)):
            assert saved[f"text_{number}_tokens"].tolist() == [
                "[CLS]",
                *run.tokenizer.tokenize(text),
                "[SEP]",
            ]
            np.testing.assert_allclose(saved[f"text_{number}_attention"], maps, rtol=0, atol=1e-3)
        counted = reference_statistics(reference_maps(encoder, encoder, texts_of(reviews, 8)))
        np.testing.assert_allclose(saved["entropy"], counted["entropy"], rtol=0, atol=1e-5)

    def test_few_texts(self, tmp_path, encoder, reviews):
        """Without a tokenizer the tokens are ids, and there may be fewer texts than wanted."""
        few = {**reviews, "validation": write_csv(tmp_path / "few.csv", [("good film", "positive")] * 2)}
        monitor = AttentionMonitor(tmp_path / "monitor", num_texts=5, num_pictured=5)
        run, log = built(tmp_path, encoder, few, [monitor])
        run.data.tokenizer = None
        run.run()
        saved = arrays(tmp_path / "monitor/attention_10.npz")
        assert {name for name in saved if name.startswith("text_")} == {
            f"text_{number}_{part}" for number in range(2) for part in ("tokens", "attention")
        }
        ids = AutoTokenizer.from_pretrained(encoder)("good film")["input_ids"]
        assert saved["text_0_tokens"].tolist() == [str(token) for token in ids]
        assert log.of("attention/").keys() == {0, 10}

    def test_no_pictures(self, tmp_path, encoder, reviews):
        monitor = AttentionMonitor(tmp_path / "monitor", num_pictured=0)
        finished(tmp_path, encoder, reviews, [monitor])
        assert sorted(arrays(tmp_path / "monitor/attention_0.npz")) == sorted(STATISTICS)

    def test_not_when_nobody_trains(self, tmp_path, encoder, reviews):
        """Nor at the sanity check."""
        monitor = AttentionMonitor(tmp_path / "monitor")
        run, log = built(tmp_path, encoder, reviews, [monitor], "trainer.num_sanity_val_steps=2")
        run.trainer.validate(run.module, run.data, verbose=False)
        run.trainer.test(run.module, run.data, verbose=False)
        assert log.of("attention/") == {}
        looks = []
        monitor._look = lambda *_: looks.append(run.trainer.sanity_checking)
        run.run()
        assert looks == [False, False]

    def test_resumed(self, tmp_path, encoder, reviews, monkeypatch):
        def break_off(module, *_):
            if module.global_step == 7:
                raise RuntimeError("broken off")

        settings = ["trainer.val_check_interval=0.5"]
        with monkeypatch.context() as patch:
            patch.setattr(ClassificationModule, "on_train_batch_start", break_off)
            monitor = AttentionMonitor(tmp_path / "monitor")
            run, _ = built(tmp_path, encoder, reviews, [monitor], *settings)
            with pytest.raises(RuntimeError, match="broken off"):
                run.run()
        validated = arrays(tmp_path / "monitor/attention_5.npz")
        resume = f"resume_from={tmp_path / 'checkpoints/last.ckpt'}"
        monitor = AttentionMonitor(tmp_path / "resumed")
        _, log = finished(tmp_path, encoder, reviews, [monitor], *settings, resume)
        assert log.of("attention/").keys() == {5, 10}
        again = arrays(tmp_path / "resumed/attention_5.npz")
        assert again.keys() == validated.keys()
        for name, value in validated.items():
            np.testing.assert_array_equal(again[name], value)

    @pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64"])
    def test_other_precisions(self, tmp_path, encoder, reviews, precision):
        monitor = AttentionMonitor(tmp_path / "monitor")
        finished(tmp_path, encoder, reviews, [monitor], f"trainer.precision={precision}")
        saved = arrays(tmp_path / "monitor/attention_0.npz")
        expected = reference_statistics(reference_maps(encoder, encoder, texts_of(reviews, 8)))
        for name, values in expected.items():
            np.testing.assert_allclose(saved[name], values, rtol=0.02)
            # but in the precision that is validated in
            assert (np.abs(saved[name] - values).max() > 1e-5) == (precision != "64")


class DrawsRandomNumbers(Callback):
    def on_validation_epoch_end(self, trainer, pl_module):
        torch.rand(1)


def final_weights(folder, encoder, files, make_monitors, *overrides):
    monitors = make_monitors(folder / "monitor")
    run, _ = finished(folder, encoder, files, monitors, *overrides)
    assert any(isinstance(module, SplitEmbedding) for module in run.module.modules())
    assert (folder / "monitor").exists() == bool(monitors)
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


class TestTraining:
    """With dropout on, and validation texts with tokens that no training text has."""

    @pytest.fixture
    def files(self, reviews, tmp_path):
        rows = [(f"xylophone {word}", label) for word in "qz" for label in ("positive", "negative")]
        rows += [("good film " * 10, "positive")] * 4  # longer, so that it is validated first
        return {**reviews, "validation": write_csv(tmp_path / "unknown.csv", rows)}

    @pytest.mark.parametrize("limit", [[], ["trainer.limit_val_batches=1"]], ids=["all", "a part"])
    def test_is_bitwise_the_same(self, tmp_path, tiny_encoder, files, limit):
        """Also where validation doesn't read the rows of the embedding that the attention of its first texts needs."""
        settings = ["trainer.val_check_interval=0.5", "optimizer.weight_decay=0.1", *limit]
        settings += ["data.eval_batch_size=4"]
        plain, monitored = (
            final_weights(tmp_path / name, tiny_encoder, files, monitors, *settings)
            for name, monitors in {"plain": lambda _: [], "monitored": all_monitors}.items()
        )
        assert_equal(plain, monitored)

    def test_is_another_with_another_random_number(self, tmp_path, tiny_encoder, files):
        """The negative control."""
        settings = ["trainer.val_check_interval=0.5"]
        plain = final_weights(tmp_path / "plain", tiny_encoder, files, lambda _: [], *settings)
        run, _ = finished(tmp_path / "other", tiny_encoder, files, [DrawsRandomNumbers()], *settings)
        name = "classifier.encoder.encoder.layer.0.output.dense.weight"
        assert not torch.equal(plain[name], weights(run.module)[name])


def all_monitors(folder):
    return [AttentionMonitor(folder), ConfidenceMonitor(folder), RepresentationMonitor(folder)]


class Encoded(Given):
    """A module that has an encoder without a classifier about it."""

    def __init__(self, encoder):
        super().__init__(given(num_rows=9))
        self.inner = torch.nn.ModuleList([encoder])


def data_of(module, sequences):
    data = Validation(module)
    split = SimpleNamespace(sequences=lambda rows: ([sequences[row] for row in rows], None))
    data.data = SimpleNamespace(splits={"validation": Sized(split.sequences, len(sequences))})
    return data


class Sized:
    def __init__(self, sequences, length):
        self.sequences, self.length = sequences, length

    def __len__(self):
        return self.length


def small(family, **settings):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return AutoModel.from_config(AutoConfig.for_model(family, vocab_size=50, **(sizes | settings)))


SEQUENCES = [np.array([2, 10, 11, 3]), np.array([2, 12, 3]), np.array([], dtype=np.int64)]


class TestOtherModules:
    def test_an_encoder_anywhere(self, tmp_path):
        """A text without tokens has no attention."""
        module = Encoded(small("bert"))
        monitor = AttentionMonitor(tmp_path / "monitor", num_pictured=3)
        log = fitted(tmp_path, module, monitor, datamodule=data_of(module, SEQUENCES))
        assert log.scalars.keys() == {0, 2}
        saved = arrays(tmp_path / "monitor/attention_2.npz")
        assert saved["text_0_tokens"].tolist() == ["2", "10", "11", "3"]
        assert saved["text_1_attention"].shape == (2, 2, 3, 3)
        assert "text_2_tokens" not in saved

    def test_the_classifiers_encoder_before_others(self, tmp_path):
        module = Encoded(small("bert"))
        module.classifier = small("electra", num_hidden_layers=3, num_attention_heads=4)
        monitor = AttentionMonitor(tmp_path / "monitor")
        fitted(tmp_path, module, monitor, datamodule=data_of(module, SEQUENCES))
        assert arrays(tmp_path / "monitor/attention_2.npz")["entropy"].shape == (3, 4)

    def test_the_modules_own_tokenizer(self, tmp_path):
        module = Encoded(small("bert"))
        module.tokenizer = SimpleNamespace(convert_ids_to_tokens=lambda ids: [f"<{token}>" for token in ids])
        monitor = AttentionMonitor(tmp_path / "monitor")
        fitted(tmp_path, module, monitor, datamodule=data_of(module, SEQUENCES))
        tokens = arrays(tmp_path / "monitor/attention_2.npz")["text_1_tokens"]
        assert tokens.tolist() == ["<2>", "<12>", "<3>"]

    def test_an_encoder_without_attention_is_named_once(self, tmp_path, caplog):
        module = Encoded(small("fnet"))
        monitor = AttentionMonitor(tmp_path / "monitor")
        with caplog.at_level(logging.WARNING):
            log = fitted(tmp_path, module, monitor, datamodule=data_of(module, SEQUENCES), max_epochs=3)
        warnings = [record.message for record in caplog.records if "attention" in record.message]
        assert warnings == [
            "monitor: attention: fnet gives no attention of tokens to tokens; there is nothing to show"
        ]
        assert log.scalars == {}
        assert not (tmp_path / "monitor").exists()

    def test_layers_without_numbers_are_left_out_of_the_scalars(self, tmp_path):
        module = Encoded(small("bert"))
        with torch.no_grad():
            module.inner[0].encoder.layer[1].attention.self.query.bias[0] = math.nan
        monitor = AttentionMonitor(tmp_path / "monitor")
        log = fitted(tmp_path, module, monitor, datamodule=data_of(module, SEQUENCES))
        assert set(log.scalars[2]) == {f"attention/layer.0/{name}" for name in STATISTICS}
        saved = arrays(tmp_path / "monitor/attention_2.npz")["entropy"]
        assert np.isnan(saved).tolist() == [[False, False], [True, False]]

    @pytest.mark.filterwarnings("ignore:Found .* in eval mode")
    def test_after_an_error_the_encoder_is_as_it_was(self, tmp_path, monkeypatch):
        module = Encoded(small("bert"))
        encoder = module.inner[0].train()
        encoder.embeddings.eval()
        modes = [child.training for child in encoder.modules()]
        implementation = encoder.config._attn_implementation
        assert implementation != "eager"

        def fail(*_):
            raise RuntimeError("broken off")

        monkeypatch.setattr(attention_module, "attention_statistics", fail)
        with pytest.raises(RuntimeError, match="broken off"):
            fitted(tmp_path, module, AttentionMonitor(tmp_path), datamodule=data_of(module, SEQUENCES))
        assert [child.training for child in encoder.modules()] == modes
        assert encoder.config._attn_implementation == implementation
        assert not any(child._forward_hooks for child in encoder.modules())

    def test_the_first_of_several_loaders(self, tmp_path):
        module = Encoded(small("bert"))
        monitor, looks = AttentionMonitor(tmp_path), []
        monitor._look = lambda *_: looks.append(1)
        running = trainer(tmp_path, monitor, Log())
        running.state.fn = TrainerFn.FITTING
        for loader in range(2):
            for batch in range(3):
                monitor.on_validation_batch_start(running, module, None, batch, loader)
        assert looks == [1]


class Collated(Encoded):
    """Validated on batches as transformers' collators give them, without a data module."""

    def __init__(self, encoder, batches):
        super().__init__(encoder)
        self.collated = batches

    def validation_step(self, batch, batch_idx):
        return None

    def val_dataloader(self):
        return DataLoader(self.collated, batch_size=None)


@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_a_foreign_module_is_looked_at_by_its_first_batch(tmp_path, family):
    encoder = small(family)
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [6]])).long()
    module = Collated(encoder, [{"input_ids": ids, "attention_mask": mask}] * 2)
    log = fitted(tmp_path, module, AttentionMonitor(tmp_path, num_texts=2))
    assert {path.name for path in tmp_path.glob("attention_*")} == {"attention_2.npz"}
    saved = arrays(tmp_path / "attention_2.npz")
    assert saved["text_1_tokens"].tolist() == [str(token) for token in ids[1, :4].tolist()]
    eager = copy.deepcopy(encoder).eval()
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        whole = eager(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    for number, length in enumerate((9, 4)):
        expected = torch.stack(whole)[:, number, :, :length, :length]
        np.testing.assert_allclose(saved[f"text_{number}_attention"], expected, rtol=0, atol=1e-3)
    assert log.of("attention/").keys() == {2}


def test_a_look_that_there_is_already_is_not_taken_again(tmp_path):
    """A resumed run starts with the weights that train, where the validation had looked at an average of them."""
    module = Encoded(small("bert"))
    np.savez(tmp_path / "attention_0.npz", entropy=np.zeros((1, 1)))
    np.savez(tmp_path / "attention_7.npz", entropy=np.zeros((1, 1)))
    fitted(tmp_path, module, AttentionMonitor(tmp_path), datamodule=data_of(module, SEQUENCES))
    assert arrays(tmp_path / "attention_0.npz")["entropy"].shape == (1, 1)
    assert not (
        tmp_path / "attention_7.npz"
    ).exists()  # of what came after the checkpoint that it goes on from
    assert (tmp_path / "attention_2.npz").exists()


class TestErrors:
    def test_sentences_without_a_tokenizer(self, tmp_path, encoder, reviews):
        monitor = AttentionMonitor(tmp_path / "monitor", sentences=["the film"])
        run, _ = built(tmp_path, encoder, reviews, [monitor])
        run.data.tokenizer = None
        with pytest.raises(ConfigError, match=r"monitor\.attention\.sentences: .* has a `tokenizer`"):
            run.run()

    def test_no_encoder(self, tmp_path):
        module = Given(given())
        with pytest.raises(
            ConfigError, match="monitor: attention: Given has no encoder of transformers in it"
        ):
            fitted(tmp_path, module, AttentionMonitor(tmp_path), datamodule=data_of(module, SEQUENCES))

    @pytest.mark.parametrize("data", ["none", "of another kind", "without a validation split"])
    def test_no_texts(self, tmp_path, data, caplog):
        module = Encoded(small("bert"))
        module_of_data = None if data == "none" else Validation(module)
        if data == "without a validation split":
            module_of_data.data = SimpleNamespace(splits={"train": None})
        with caplog.at_level(logging.WARNING):
            log = fitted(tmp_path, module, AttentionMonitor(tmp_path), datamodule=module_of_data)
        assert caplog.text.count("validation batches have no input_ids; there is nothing to show") == 1
        assert not log.of("attention/")
        assert not list(tmp_path.glob("attention_*"))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_texts": 0}, "num_texts=0 must be at least 1"),
            ({"num_pictured": -1}, "num_pictured=-1 must be at least 0"),
            ({"max_tokens": 1}, "max_tokens=1 must be at least 2"),
        ],
    )
    def test_out_of_range(self, tmp_path, settings, message):
        with pytest.raises(ConfigError, match=f"monitor: {message}"):
            AttentionMonitor(tmp_path, **settings)
