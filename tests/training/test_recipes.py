"""``experiment=`` recipes: each composes, explains every line, has its section on the page, and trains."""

import re

import pytest

from bert_ft.config.composition import judged
from bert_ft.config.conf_files import compose, read
from bert_ft.config.paths import conf_dir
from tests.pages import text_of
from tests.training.running import train

RECIPES = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


def test_the_page_has_a_section_for_each():
    assert re.findall(r"^## (\w+)$", text_of("recipes"), re.MULTILINE) == [
        *("few_shot", "imbalanced", "many_classes", "noisy_labels"),
        *("long_documents", "low_memory", "gpu_16bit", "multilingual"),
    ]
    assert set(re.findall(r"^## (\w+)$", text_of("recipes"), re.MULTILINE)) == set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_line_has_its_reason_and_takes_effect(recipe):
    chosen = read(f"experiment/{recipe}")
    assert chosen.description
    assert [key.name for key in chosen.keys if not key.comment] == []
    config = judged("train", [f"experiment={recipe}", "data=files", "data.train_file=README.md"])
    explained = compose("train", {"experiment": recipe, "data": "files"})
    for key in chosen.keys:
        assert explained.comment(key.name).endswith(f"(here {key.value}: {key.comment})")
        if key.value:
            assert str(_select(config, key.name)).lower() == key.value.replace("null", "none")


def _select(config, name):
    for part in name.split("."):
        config = config[part]
    return config


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_trains(tmp_path, tiny_encoder, reviews, recipe):
    few = [
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=1",
        "monitor=none",
    ]
    if recipe == "few_shot":
        few.append("pretrain.trainer.max_epochs=1")
    _, metrics = train(tmp_path, tiny_encoder, reviews, f"experiment={recipe}", *few)
    assert metrics["test"]["loss"] > 0
