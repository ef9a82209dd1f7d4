"""``optimizer.lr=null`` in a run and in a search."""

import shutil

import yaml

from bert_ft.config.build.fine_tuning import build_fine_tuning
from bert_ft.config.trial_preparation import derived_settings
from tests.training.running import small_run


def test_a_run_prints_records_and_uses_the_default_of_its_encoder(tmp_path, tiny_encoder, reviews, caplog):
    caplog.set_level("INFO")
    record = tmp_path / "run/.hydra/config.yaml"
    record.parent.mkdir(parents=True)
    record.write_text("seed: 0\noptimizer: {lr: null, layer_decay: 1.0}\n")
    config = small_run(tmp_path / "run", tiny_encoder, reviews, "optimizer.lr=null")
    run = build_fine_tuning(config, tmp_path / "run")
    assert config.optimizer.lr is None  # the caller's is left as it was
    assert run.module.optimizer.lr == run.settings["optimizer"]["lr"] == 3e-4
    assert "optimizer.lr: 0.0003, the default for an encoder of 2 layers, 32 wide" in caplog.text
    assert yaml.safe_load(record.read_text()) == {
        "seed": 0,
        "optimizer": {"lr": 3e-4, "layer_decay": 1.0},
        "trainer": {"precision": 32},
    }


def test_the_rate_is_that_of_the_architecture_by_any_name(tmp_path, tiny_encoder, reviews):
    shutil.copytree(tiny_encoder, tmp_path / "adapted/model")
    rates = [
        derived_settings(small_run(tmp_path / "run", name, reviews, "optimizer.lr=null"))
        for name in (tiny_encoder, tmp_path / "adapted")
    ]
    assert rates == [{"optimizer.lr": 3e-4}] * 2
    minilm = small_run(tmp_path / "run", "embedded/all-MiniLM-L6-v2", reviews, "optimizer.lr=null")
    assert derived_settings(minilm) == {"optimizer.lr": 2e-4}


def test_what_is_set_is_not_derived_and_an_encoder_that_is_missing_is_left_to_the_trials(tmp_path, reviews):
    assert derived_settings(small_run(tmp_path / "run", tmp_path / "nowhere", reviews)) == {}
    assert (
        derived_settings(small_run(tmp_path / "run", tmp_path / "nowhere", reviews, "optimizer.lr=null"))
        == {}
    )
