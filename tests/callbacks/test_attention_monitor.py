"""Attention in a run against transformers' own, from the folders that the run loaded and saved."""

import csv
import logging
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertModel

from bert_ft.callbacks.attention import AttentionMonitor
from bert_ft.errors import ConfigError
from bert_ft.training.module import ClassificationModule
from tests.conftest import write_csv

from .attending import SEQUENCES, STATISTICS, Encoded, data_of, small
from .monitored import IGNORED_REMARKS, Given, Validation, arrays, built, finished, fitted, given

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]


@pytest.fixture(scope="module")
def encoder(tiny_encoder, tmp_path_factory):
    """The tiny encoder with heads that look at some tokens more than at others, so that a wrong statistic shows."""
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
    """``(layers, heads, length, length)`` of each text, by transformers, from one padded batch."""
    model = BertModel.from_pretrained(model_folder, attn_implementation="eager", add_pooling_layer=False)
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
            ["averaging=ema", "averaging.decay=0.8", "encoder.gradient_checkpointing=true"],
            ["model.pooling=cls"],  # the last layer computes only first tokens
            ["encoder.freeze_layers=1", "encoder.cache_frozen=true"],
        ],
        ids=["averaged, checkpointed", "first tokens", "frozen"],
    )
    def test_equals_transformers_before_and_after(self, tmp_path, encoder, reviews, overrides):
        monitor = AttentionMonitor(tmp_path / "monitor")
        _, log = finished(tmp_path, encoder, reviews, [monitor], *overrides)
        names = {path.name for path in (tmp_path / "monitor").iterdir()}
        assert names == {"attention_0.npz", "attention_10.npz"}
        logged = log.of("attention/")
        assert logged.keys() == {0, 10}
        entropy = {}
        for step, folder in {0: encoder, 10: tmp_path / "model"}.items():
            saved = arrays(tmp_path / f"monitor/attention_{step}.npz")
            assert_is(saved, logged[step], reference_maps(folder, encoder, texts_of(reviews, 8)))
            entropy[step] = saved["entropy"]
        assert entropy[0].min() < 0.9
        assert np.abs(entropy[0] - entropy[10]).max() > 1e-3

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

    def test_given_sentences(self, tmp_path, encoder, reviews):
        """They are pictured; the statistics stay those of the validation texts."""
        sentences = ["the film", "a good film and a bad story"]
        monitor = AttentionMonitor(tmp_path / "monitor", sentences=sentences)
        run, _ = built(tmp_path, encoder, reviews, [monitor])
        run.data.tokenizer = run.tokenizer
        run.run()
        saved = arrays(tmp_path / "monitor/attention_0.npz")
        pictured = reference_maps(encoder, encoder, sentences)
        assert "text_2_tokens" not in saved
        for number, (text, maps) in enumerate(zip(sentences, pictured, strict=True)):
            tokens = ["[CLS]", *run.tokenizer.tokenize(text), "[SEP]"]
            assert saved[f"text_{number}_tokens"].tolist() == tokens
            np.testing.assert_allclose(saved[f"text_{number}_attention"], maps, rtol=0, atol=1e-3)
        counted = reference_statistics(reference_maps(encoder, encoder, texts_of(reviews, 8)))
        np.testing.assert_allclose(saved["entropy"], counted["entropy"], rtol=0, atol=1e-5)

    def test_few_texts(self, tmp_path, encoder, reviews):
        """Fewer than wanted; without a tokenizer the tokens are ids."""
        few = {**reviews, "validation": write_csv(tmp_path / "few.csv", [("good film", "positive")] * 2)}
        monitor = AttentionMonitor(tmp_path / "monitor", num_texts=5, num_pictured=5)
        run, log = built(tmp_path, encoder, few, [monitor])
        run.data.tokenizer = None
        run.run()
        saved = arrays(tmp_path / "monitor/attention_10.npz")
        names = {f"text_{number}_{part}" for number in range(2) for part in ("tokens", "attention")}
        assert saved.keys() == {*names, *STATISTICS}
        ids = AutoTokenizer.from_pretrained(encoder)("good film")["input_ids"]
        assert saved["text_0_tokens"].tolist() == [str(token) for token in ids]
        assert log.of("attention/").keys() == {0, 10}

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

    @pytest.mark.parametrize("precision", ["bf16-mixed", "64"])
    def test_other_precisions(self, tmp_path, encoder, reviews, precision):
        monitor = AttentionMonitor(tmp_path / "monitor", num_pictured=0)
        finished(tmp_path, encoder, reviews, [monitor], f"trainer.precision={precision}")
        saved = arrays(tmp_path / "monitor/attention_0.npz")
        expected = reference_statistics(reference_maps(encoder, encoder, texts_of(reviews, 8)))
        assert saved.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(saved[name], values, rtol=0.02)
            # but in the precision of the validation
            assert (np.abs(saved[name] - values).max() > 1e-5) == (precision != "64")


def test_a_step_with_a_file_is_not_looked_at_again(tmp_path):
    """A resumed run starts with the weights of training, but the validation had looked at their average."""
    module = Encoded(small("bert"))
    for step in (0, 7):
        np.savez(tmp_path / f"attention_{step}.npz", entropy=np.zeros((1, 1)))
    fitted(tmp_path, module, AttentionMonitor(tmp_path), datamodule=data_of(module, SEQUENCES))
    assert arrays(tmp_path / "attention_0.npz")["entropy"].shape == (1, 1)
    assert not (tmp_path / "attention_7.npz").exists()  # of a later step than the checkpoint
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
        with pytest.raises(ConfigError, match="monitor: attention: Given contains no transformers encoder"):
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
            ({"num_texts": 0}, "num_texts=0: must be an integer ≥ 1"),
            ({"num_pictured": -1}, "num_pictured=-1: must be an integer ≥ 0"),
            ({"max_tokens": 1}, "max_tokens=1: must be an integer ≥ 2"),
        ],
    )
    def test_out_of_range(self, tmp_path, settings, message):
        with pytest.raises(ConfigError, match=rf"monitor\.attention\.{message}"):
            AttentionMonitor(tmp_path, **settings)
