import pytest
from omegaconf import OmegaConf

from bert_ft.config.composition import judged
from bert_ft.renamed_keys import RENAMED, move_renamed, old_names, sweeper_settings, with_new_names


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.at_least_steps=5", "trainer.min_train_steps=5"),
        ("++trainer.at_least_steps=range(1,9)", "++trainer.min_train_steps=range(1,9)"),
        ("~trainer.at_least_steps", "~trainer.min_train_steps"),
        ("pretrain.masking.probability=0.2", "pretrain.masking.mlm_probability=0.2"),
        ("seed=1", "seed=1"),
        ("trainer.at_least_steps_too=1", "trainer.at_least_steps_too=1"),
        ("data.text_column='trainer.at_least_steps=5'", "data.text_column='trainer.at_least_steps=5'"),
        ("--multirun", "--multirun"),
    ],
)
def test_an_override_gets_the_new_name(override, expected):
    assert with_new_names([override]) == [expected]


def test_each_change_is_said_once():
    before = ["trainer.at_least_steps=5", "seed=1", "trainer.at_least_steps=6"]
    assert old_names(before, with_new_names(before)) == [
        "trainer.at_least_steps is now called trainer.min_train_steps; the old name still works"
    ]


@pytest.mark.parametrize("old", [key for key in RENAMED if not key.startswith("hydra.")])
def test_a_command_with_the_old_name_is_composed_with_the_new_one(old):
    config = judged("train", ["pretrain=mlm", f"{old}=0.15" if "steps" not in old else f"{old}=25"])
    assert OmegaConf.select(config, RENAMED[old]) in (0.15, 25)
    assert OmegaConf.select(config, old) is None


def test_a_file_with_the_old_name_overrides_the_shipped_default():
    config = OmegaConf.create(
        {"n": 7, "trainer": {"min_train_steps": 600, "at_least_steps": "${n}", "max_epochs": None}}
    )
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    assert len(move_renamed(config)) == 1
    assert config == {"n": 7, "trainer": {"min_train_steps": 7, "max_epochs": None}}
    assert OmegaConf.is_interpolation(config.trainer, "min_train_steps")
    assert OmegaConf.is_struct(config)
    assert OmegaConf.is_readonly(config)


def test_a_file_without_old_names_is_left_as_it_is():
    config = OmegaConf.create({"trainer": {"min_train_steps": "???"}})
    assert move_renamed(config) == []
    assert config == OmegaConf.create({"trainer": {"min_train_steps": "???"}})


def test_a_search_space_with_old_names_is_searched_by_the_new_ones():
    given = {
        "keep_best": 5,
        "keep_top_k": 3,  # as shipped
        "n_trials": 4,
        "params": OmegaConf.create({"trainer.at_least_steps": "range(5,9)", "optimizer.lr": "1e-4,2e-4"}),
        "only_with": {"pretrain.masking.probability": "pretrain.masking.mask_share"},
    }
    assert sweeper_settings(given) == {
        "keep_top_k": 5,
        "n_trials": 4,
        "params": {"trainer.min_train_steps": "range(5,9)", "optimizer.lr": "1e-4,2e-4"},
        "conditions": {"pretrain.masking.mlm_probability": "pretrain.masking.mask_share"},
    }
