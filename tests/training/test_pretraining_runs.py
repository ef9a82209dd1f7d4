"""Whole stages on a tiny encoder: what they reach, that they repeat, and what fine-tuning gets of them."""

import csv
import json
import math
import weakref

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from bert_ft.config.build.pretraining import build_pretraining
from bert_ft.data.packing import pad, padding_mask
from bert_ft.errors import ConfigError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.pretrainer import Pretrainer
from bert_ft.pretrain import main
from bert_ft.reporting.report import write_report
from bert_ft.training.module import ClassificationModule
from bert_ft.training.pretraining_module import PretrainingModule

from .running import SMALL_STAGE, small_stage, train, train_in_two

pytestmark = pytest.mark.slow

BOTH = [
    "pretrain=mlm_contrastive",
    "pretrain.trainer.max_epochs=2",
    "pretrain.trainer.val_check_interval=0.5",
]
CACHED = ["pretrain.num_cached=3"]
FINE_TUNING = ["trainer.max_epochs=1", "trainer.val_check_interval=0.5"]
STILL = ["encoder.hidden_dropout=0.0", "encoder.attention_dropout=0.0"]


def record_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def weights_of(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_encoder, reviews):
    """A finished stage with all monitors that it can have, and the run that did it."""
    folder = tmp_path_factory.mktemp("alone")
    config = small_stage(folder, tiny_encoder, reviews, *BOTH, *CACHED, "monitor=full")
    run = build_pretraining(config, folder)
    return folder, run, run.run()


def test_it_learns(alone):
    _, _, record = alone
    before, after = record["val_before"], record["val"]
    assert after["perplexity"] < 0.7 * before["perplexity"]
    assert record["objective"] == {"metric": "val/loss", "value": after["loss"]}
    assert after["loss"] == pytest.approx(after["loss_mlm"] + 0.1 * after["loss_contrastive"], rel=1e-6)
    assert after["perplexity"] == pytest.approx(math.exp(after["loss_mlm"]), rel=1e-5)
    assert 0 < after["alignment"] < 4
    assert -4 < after["uniformity"] < 0


def test_what_it_writes(alone, tiny_encoder):
    folder, _, record = alone
    for path in ("metrics.json", "environment.json", "checkpoints/best.ckpt", "csv/version_0/metrics.csv"):
        assert (folder / path).is_file(), path
    assert record["texts"] == {
        "origin": record["texts"]["origin"],
        "train": 152,
        "held_out": 8,
        "left_out": 0,
        "lost_ratio": 0.0,
        "include_evaluation_texts": False,
    }
    assert record["head_is_fresh"] is True
    assert record["from_cache"] is None
    assert record["checkpoint"]["step"] in (5, 10, 15, 20)
    trained, given = EncoderSpec(str(folder / "model")).load(), EncoderSpec(str(tiny_encoder)).load()
    assert not any(
        torch.equal(value, given.state_dict()[name]) for name, value in trained.state_dict().items()
    )


def test_the_folder_loads_in_transformers_and_has_what_was_reported(alone):
    """Held-out perplexity and accuracy, recomputed by transformers from the saved folder."""
    folder, run, record = alone
    model, info = AutoModelForMaskedLM.from_pretrained(folder / "model", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    nats, right, count = 0.0, 0, 0
    for batch in run.data.val_dataloader():
        text = batch.text
        with torch.no_grad():
            logits = model.eval()(
                input_ids=pad(batch.masked.masked.input_ids, text), attention_mask=padding_mask(text).long()
            ).logits[padding_mask(text)][batch.masked.is_target]
        nats += F.cross_entropy(logits, batch.masked.targets, reduction="sum").item()
        right += int((logits.argmax(-1) == batch.masked.targets).sum())
        count += len(logits)
    assert record["val"]["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-4)
    assert record["val"]["masked_accuracy"] == pytest.approx(right / count, abs=1e-6)


def test_its_report(alone):
    folder, _, _ = alone
    page = write_report(folder).read_text(encoding="utf-8")
    for shown in ("Pre-training", "pretraining_predictions", "perplexity", "Vectors of texts"):
        assert shown in page or (folder / f"report/{shown}.png").exists(), shown
    for name in (
        "pretraining_losses",
        "pretraining_predictions",
        "pretraining_geometry",
        "activation_sd",
        "update_ratio",
    ):
        assert (folder / f"report/{name}.png").stat().st_size > 5000
    assert "Most frequent mistakes" not in page


def test_what_is_fresh_has_its_own_rate(alone, tmp_path, tiny_encoder, reviews):
    """The tiny encoder has no masked-LM head; what a stage leaves has one."""

    def rates(name, encoder, stage, *more):
        settings = [f"pretrain={stage}", "pretrain.optimizer.head_lr=1e-2", *more]
        config = small_stage(tmp_path / name, encoder, reviews, *settings)
        module = build_pretraining(config, tmp_path / name).module
        return {group["name"].removesuffix("/no_decay"): group["lr"] for group in module.parameter_groups()}

    folder, projected = alone[0] / "model", "pretrain.projection_sizes=[8]"
    layers = {"embeddings": 3e-3, "layer.0": 3e-3, "layer.1": 3e-3}
    assert rates("fresh", tiny_encoder, "mlm") == {**layers, "head": 1e-2}
    assert rates("own", folder, "mlm") == {**layers, "head/trained": 3e-3}
    assert rates("both", folder, "mlm_contrastive", projected) == {
        **layers,
        "head/trained": 3e-3,
        "head": 1e-2,
    }
    assert rates("projection", folder, "contrastive", projected) == {**layers, "head": 1e-2}


def test_the_checkpoint_that_is_handed_over_may_be_kept_by_another_metric(tmp_path, tiny_encoder, reviews):
    """Here by the share of tokens that are guessed, elsewhere than in the folder."""
    place = "pretrain.callbacks.best_checkpoint"
    settings = ["pretrain=mlm", "pretrain.num_cached=0", f"{place}.dirpath={tmp_path / 'kept'}"]
    settings += [f"{place}.monitor=val/masked_accuracy", f"{place}.mode=max", "pretrain.trainer.max_epochs=3"]
    value = main(small_stage(tmp_path / "run", tiny_encoder, reviews, *settings))
    record = record_of(tmp_path / "run")
    assert record["checkpoint"]["path"] == str(tmp_path / "kept/best.ckpt")
    assert record["objective"] == {"metric": "val/masked_accuracy", "value": value}
    with (tmp_path / "run/csv/version_0/metrics.csv").open() as file:
        logged = [
            float(row["val/masked_accuracy"]) for row in csv.DictReader(file) if row["val/masked_accuracy"]
        ]
    assert len(logged) > 3
    assert value == record["val"]["masked_accuracy"] == pytest.approx(max(logged[1:]), abs=1e-6)


def test_without_a_masked_token_texts_are_still_told_apart(tmp_path, tiny_encoder, reviews):
    settings = ["pretrain=mlm_contrastive", "pretrain.masking.mlm_probability=1e-9", "pretrain.num_cached=0"]
    settings += ["pretrain.trainer.max_epochs=1"]
    main(small_stage(tmp_path, tiny_encoder, reviews, *settings))
    given = EncoderSpec(str(tiny_encoder)).load().state_dict()
    trained = EncoderSpec(str(tmp_path / "model")).load().state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    # AdamW's weight decay alone would shrink it by one factor
    assert (trained[name] / given[name]).std() > 0.01
    assert "train/masked_accuracy" not in (tmp_path / "csv/version_0/metrics.csv").read_text().splitlines()[0]


def test_interrupted_and_resumed_it_is_the_uninterrupted_one(
    alone, tmp_path, tiny_encoder, reviews, monkeypatch
):
    """To the last bit, though the uninterrupted one was watched by monitors, and this one isn't.

    The cache takes nothing of it: what it began with might have been other texts.
    """
    settings = (tiny_encoder, reviews, *BOTH, *CACHED)

    def break_off(module, *_):
        if module.global_step == 7:
            raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "on_train_batch_start", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            main(small_stage(tmp_path, *settings))
    last = tmp_path / "checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 5
    main(small_stage(tmp_path, *settings, f"resume_from={last}"))
    folder, _, record = alone
    whole, resumed = weights_of(folder), weights_of(tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (folder / "model/model.safetensors").read_bytes() == (
        tmp_path / "model/model.safetensors"
    ).read_bytes()
    found = record_of(tmp_path)
    assert found == record | {"fit_seconds": found["fit_seconds"]}
    folders = [path for path in (tmp_path / "cache/pretraining").iterdir() if path.is_dir()]
    assert [path.suffix for path in folders] == [".unfinished"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_encoder, reviews, alone):
    """Fine-tuned with the stage trained anew, and taken from the cache; what each began with."""
    folder = tmp_path_factory.mktemp("fine_tuned")
    begun, stages = {}, []

    def keep(module):
        # what the stage held is gone when fine-tuning begins
        assert [stage() for stage in stages] == [None] * len(stages)
        begun[module.trainer.default_root_dir] = {
            name: value.clone() for name, value in module.classifier.state_dict().items()
        }

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClassificationModule, "on_fit_start", keep)
        patch.setattr(PretrainingModule, "on_fit_start", lambda module: stages.append(weakref.ref(module)))
        for name, settings in {
            "anew": [*BOTH, *SMALL_STAGE, "pretrain.num_cached=0"],
            "cached": [*BOTH, *SMALL_STAGE, *CACHED, f"data.cache_dir={alone[0] / 'cache'}"],
            "none": [],
        }.items():
            _, metrics = train(folder / name, tiny_encoder, reviews, *FINE_TUNING, *settings, "report=false")
            assert len(stages) == 1
            found[name] = folder / name, metrics, begun[str(folder / name)]
    return found


class TestHandOver:
    def test_every_tensor_of_the_encoder_is_the_stages_and_the_head_is_fresh(self, runs, alone):
        stage = load_file(alone[0] / "model/model.safetensors")
        begun, plain = runs["cached"][2], runs["none"][2]
        of_encoder = {
            name.removeprefix("bert."): value for name, value in stage.items() if name.startswith("bert.")
        }
        names = {name.removeprefix("encoder.") for name in begun if name.startswith("encoder.")}
        assert names == of_encoder.keys()
        for name in names:
            assert torch.equal(begun[f"encoder.{name}"], of_encoder[name]), name
            assert not torch.equal(plain[f"encoder.{name}"], of_encoder[name]), name
        head = [name for name in begun if not name.startswith("encoder.")]
        assert head
        assert all(torch.equal(begun[name], plain[name]) for name in head)

    def test_a_cached_stage_is_the_trained_one(self, runs):
        (anew, _, first), (cached, _, second) = runs["anew"], runs["cached"]
        assert all(torch.equal(first[name], second[name]) for name in first)
        one, other = weights_of(anew), weights_of(cached)
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_it_is_recorded(self, runs, alone):
        assert "pretraining" not in runs["none"][1]
        record = alone[2]
        for name in ("anew", "cached"):
            found = runs[name][1]["pretraining"]
            changed = {key: found[key] for key in ("fit_seconds", "from_cache", "checkpoint")}
            path = None if name == "cached" else record["checkpoint"]["path"]
            assert found["checkpoint"] == record["checkpoint"] | {"path": path}
            assert found == record | changed
            assert record_of(runs[name][0] / "pretraining") == found
        assert runs["anew"][1]["pretraining"]["from_cache"] is None
        assert "cache/pretraining" in runs["cached"][1]["pretraining"]["from_cache"]
        assert (runs["anew"][0] / "pretraining/model/model.safetensors").exists()

    def test_layers_drawn_anew_are_the_same_behind_a_cached_stage(self, tmp_path, tiny_encoder, reviews):
        settings = [*BOTH, *SMALL_STAGE, "encoder.reinit_layers=1", f"data.cache_dir={tmp_path / 'cache'}"]
        for name in ("anew", "cached"):
            _, metrics = train(tmp_path / name, tiny_encoder, reviews, *FINE_TUNING, *settings)
            assert (metrics["pretraining"]["from_cache"] is not None) == (name == "cached")
        one, other = weights_of(tmp_path / "anew"), weights_of(tmp_path / "cached")
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_the_report_shows_both_stages(self, runs):
        folder, _, _ = runs["cached"]
        page = write_report(folder).read_text(encoding="utf-8")
        assert page.index('id="pre-training"') < page.index('id="training"')
        assert "taken from the cache" in page
        for name in ("pretraining_losses", "pretraining_predictions", "losses"):
            assert (folder / f"report/{name}.png").stat().st_size > 5000
        write_report(runs["none"][0])
        assert not list((runs["none"][0] / "report").glob("pretraining*"))

    def test_fine_tuning_resumes_without_it(self, runs, tiny_encoder, reviews, tmp_path, monkeypatch):
        settings = (
            tiny_encoder,
            reviews,
            *FINE_TUNING,
            *BOTH,
            *SMALL_STAGE,
            "pretrain.num_cached=0",
        )

        def break_off(module, *_):
            if module.global_step == 7:
                raise RuntimeError("broken off")

        with monkeypatch.context() as patch:
            patch.setattr(ClassificationModule, "on_train_batch_start", break_off)
            with pytest.raises(RuntimeError, match="broken off"):
                train(tmp_path, *settings)
            patch.setattr(PretrainingModule, "training_step", None)
            patch.setattr(ClassificationModule, "on_train_batch_start", lambda *_: None)
            _, metrics = train(tmp_path, *settings, f"resume_from={tmp_path}/checkpoints/last.ckpt")
        assert metrics["pretraining"]["checkpoint"] == runs["anew"][1]["pretraining"]["checkpoint"]
        one, resumed = weights_of(runs["anew"][0]), weights_of(tmp_path)
        assert all(torch.equal(one[name], resumed[name]) for name in one)


def test_masked_tokens_count_alike_over_an_accumulation_window(tmp_path, tiny_encoder, reviews):
    """Nine windows of two batches of 8 and one of a single batch are ten batches of 16."""
    settings = ["pretrain=mlm", "pretrain.trainer.max_epochs=1", "trainer.precision=64", *STILL]
    settings += ["pretrain.num_cached=0"]
    weights = []
    for name, size in (("one", ["pretrain.batch_size=16"]), ("two", ["pretrain.batch_size=8"])):
        more = ["pretrain.trainer.accumulate_grad_batches=2"] if name == "two" else []
        main(small_stage(tmp_path / name, tiny_encoder, reviews, *settings, *size, *more))
        weights.append(weights_of(tmp_path / name))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-9, msg=name)


def test_two_processes_are_one(tmp_path, tiny_encoder, reviews):
    """Both losses, by batches of 8 on each of two processes and of 16 on one; and fine-tuning goes on, on both."""
    settings = [
        "pretrain=mlm_contrastive",
        "pretrain.supervised=true",
        "pretrain.trainer.max_epochs=1",
        "pretrain.trainer.accumulate_grad_batches=3",
        "pretrain.num_cached=0",
        "trainer.precision=64",
        "trainer.accelerator=cpu",
        *STILL,
    ]
    main(small_stage(tmp_path / "one", tiny_encoder, reviews, *settings))
    two = [*SMALL_STAGE, "pretrain.batch_size=8", *settings, "trainer.max_epochs=1"]
    train_in_two(tmp_path / "two", tiny_encoder, reviews, *two)
    stage = tmp_path / "two/pretraining"
    one, two = weights_of(tmp_path / "one"), weights_of(stage)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-6, msg=name)
    before, after = (record_of(folder)["val"] for folder in (tmp_path / "one", stage))
    # a contrastive loss on half as large held-out batches is another one
    for name in ("loss_mlm", "masked_accuracy"):
        assert after[name] == pytest.approx(before[name], rel=1e-6)
    assert record_of(tmp_path / "two")["pretraining"] == record_of(stage)
    assert (stage / "model/model.safetensors").exists()


def test_vectors_that_collapse_are_warned_of_once(tmp_path, tiny_encoder, reviews, monkeypatch, caplog):
    """At a temperature so high that nothing draws texts apart, with what counts as collapsed set to where they are."""
    monkeypatch.setattr("bert_ft.training.pretraining_module.COLLAPSED", -3.9)
    settings = ["pretrain=contrastive", "pretrain.trainer.max_epochs=2", "pretrain.num_cached=0"]
    main(small_stage(tmp_path, tiny_encoder, reviews, *settings))
    warnings = [record.getMessage() for record in caplog.records if "nearly the same" in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("pretrain, step 10: the vectors of all texts have become nearly the same")


def test_an_encoder_without_dropout_has_no_two_views(tmp_path, tiny_encoder, reviews):
    settings = ["pretrain=contrastive", "encoder.hidden_dropout=0.0"]
    folder = tmp_path / "still"
    spec = EncoderSpec(str(tiny_encoder), hidden_dropout=0.0, attention_dropout=0.0)
    from transformers import AutoTokenizer

    spec.load().save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"pretrain\.contrastive_weight=1\.0: two views .* has none"):
        main(small_stage(tmp_path / "run", folder, reviews, *settings))


@pytest.mark.parametrize("settings", [CACHED, ["pretrain.num_cached=0"]], ids=["cached", "not cached"])
def test_a_stage_whose_encoder_could_not_be_saved_can_be_resumed(
    tmp_path, tiny_encoder, reviews, monkeypatch, settings
):
    def full(*_):
        raise OSError("No space left on device")

    settings = (tiny_encoder, reviews, "pretrain=mlm", "pretrain.trainer.max_epochs=1", *settings)
    with monkeypatch.context() as patch:
        patch.setattr(Pretrainer, "save", full)
        with pytest.raises(OSError, match="No space left"):
            main(small_stage(tmp_path, *settings))
    main(small_stage(tmp_path, *settings, f"resume_from={tmp_path}/checkpoints/last.ckpt"))
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "model")
    assert record_of(tmp_path)["checkpoint"]["step"] == 10


def test_messages_name_the_keys_of_the_stage(tmp_path, tiny_encoder, reviews):
    wrong = ["pretrain=mlm", "pretrain.schedule.warmup_steps=99", "pretrain.schedule.warmup_ratio=null"]
    with pytest.raises(ConfigError, match=r"^pretrain\.schedule\.warmup_steps=99 exceeds total_steps=30"):
        main(small_stage(tmp_path / "one", tiny_encoder, reviews, *wrong))
    wrong = ["pretrain=mlm", "pretrain.trainer.val_check_interval=99"]
    hint = (
        r"^pretrain\.trainer\.val_check_interval=99: .* set pretrain\.trainer\.check_val_every_n_epoch=null"
    )
    with pytest.raises(ConfigError, match=hint):
        main(small_stage(tmp_path / "other", tiny_encoder, reviews, *wrong))
