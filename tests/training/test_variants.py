"""Whole runs on other data and settings: pairs, hub folders, schedules in steps, several processes."""

import csv
import json

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from bert_ft.errors import ConfigError, UserError
from bert_ft.models.bundle import load_bundle
from tests import commands
from tests.conftest import make_rows, write_csv

from .running import SMALL, compose_run, file_overrides, train, train_in_two


def test_pairs(tmp_path, tiny_encoder):
    path = tmp_path / "pairs.tsv"
    rows = make_rows(80, seed=1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("premise", "hypothesis", "label"))
        writer.writerows((text, "the film", label) for text, label in rows)
    _, metrics = train(
        tmp_path / "run",
        tiny_encoder,
        {"train": path},
        "data.text_column=premise",
        "data.text_pair_column=hypothesis",
        "trainer.max_epochs=1",
    )
    assert metrics["rows"] == {"train": 64, "validation": 8, "test": 8}
    bundle = load_bundle(tmp_path / "run/model")
    assert (bundle.text_column, bundle.text_pair_column) == ("premise", "hypothesis")


def test_a_local_data_set_folder_with_a_hidden_test_split(tmp_path, tiny_encoder):
    """As on the hub: class labels with names, and a test split whose labels are -1."""
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["negative", "positive"])})
    names = features["label"].names

    def part(num_rows, seed, hidden=False):
        rows = make_rows(num_rows, seed)
        labels = [-1 if hidden else names.index(label) for _, label in rows]
        return Dataset.from_dict({"sentence": [text for text, _ in rows], "label": labels}, features)

    folder = tmp_path / "data"
    DatasetDict({"train": part(80, 0), "validation": part(20, 1), "test": part(20, 2, True)}).save_to_disk(
        folder
    )
    _, metrics = train(
        tmp_path / "run", tiny_encoder, {}, "data=hub", f"data.dataset={folder}", "trainer.max_epochs=1"
    )
    assert metrics["labels"] == names
    assert metrics["rows"]["validation"] == 20
    assert metrics["rows"]["train"] + metrics["rows"].get("test", 0) == 80


def test_integer_labels_are_ordered_as_numbers(tmp_path, tiny_encoder):
    numbers = {"negative": "10", "positive": "9"}
    path = write_csv(tmp_path / "n.csv", [(text, numbers[label]) for text, label in make_rows(80, seed=1)])
    _, metrics = train(tmp_path / "run", tiny_encoder, {"train": path}, "trainer.max_epochs=1")
    assert metrics["labels"] == ["9", "10"]


def test_several_validations_an_epoch_and_an_end_in_steps(tmp_path, tiny_encoder, reviews):
    _, metrics = train(
        tmp_path,
        tiny_encoder,
        reviews,
        "trainer.max_epochs=-1",
        "trainer.max_steps=15",
        "trainer.val_check_interval=0.5",
    )
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    assert steps == [5, 10, 15]
    assert metrics["checkpoint"]["step"] in (5, 10, 15)


def test_several_objectives(tmp_path, tiny_encoder, reviews):
    others = "objective.others=[val/loss,fit_seconds]"
    values, metrics = train(tmp_path, tiny_encoder, reviews, others, "trainer.max_epochs=1")
    assert values[:2] == [metrics["val"]["accuracy"], metrics["val"]["loss"]]
    assert values[2] == pytest.approx(metrics["fit_seconds"], abs=1e-3)


def test_a_validation_split_of_one_row(tmp_path, tiny_encoder, reviews):
    one = write_csv(tmp_path / "one.csv", make_rows(1, seed=9))
    _, metrics = train(tmp_path / "run", tiny_encoder, {**reviews, "validation": one}, "trainer.max_epochs=1")
    assert metrics["val"]["accuracy"] in (0.0, 1.0)


def test_debug_fast_runs_a_few_steps(tmp_path, tiny_encoder, reviews):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "debug=fast")
    assert metrics["checkpoint"]["step"] == 4


def test_a_path_with_spaces(tmp_path, tiny_encoder):
    path = write_csv(tmp_path / "my reviews.csv", make_rows(60, seed=1))
    overrides = [*SMALL, f"encoder.name_or_path={tiny_encoder}", f"data.train_file='{path}'"]
    assert compose_run(tmp_path / "run", *overrides).data.train_file == str(path)


def run(folder, encoder, files, *overrides):
    words = [*SMALL, *file_overrides(files)]
    words += [f"encoder.name_or_path={encoder}", f"data.cache_dir={folder / 'cache'}", *overrides]
    result = commands.run("bert_ft.train", *words, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_a_sweep_of_two(tmp_path, tiny_encoder, reviews):
    run(tmp_path, tiny_encoder, reviews, "--multirun", "seed=0,1", "debug=fast", "hydra.sweep.dir=sweep")
    seeds = [json.loads((tmp_path / f"sweep/{job}/metrics.json").read_text())["seed"] for job in (0, 1)]
    assert seeds == [0, 1]


@pytest.mark.slow
def test_two_processes(tmp_path, tiny_encoder, reviews):
    """By the command, which starts the second itself."""
    run(
        tmp_path,
        tiny_encoder,
        reviews,
        "hydra.run.dir=run",
        "trainer.accelerator=cpu",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trainer.max_epochs=3",
    )
    check_run_of_two(tmp_path / "run")


@pytest.mark.slow
def test_two_processes_of_a_frozen_part(tmp_path, tiny_encoder, reviews):
    frozen = ["encoder.freeze_layers=1", "encoder.cache_frozen=true"]
    train_in_two(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=3", *frozen)
    check_run_of_two(tmp_path)


def check_run_of_two(folder):
    """Each row is evaluated exactly once, and the files are written once."""
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["checkpoint"]["step"] % 5 == 0  # 160 rows, 16 to a process and step
    assert metrics["test"]["accuracy"] * 40 == pytest.approx(
        round(metrics["test"]["accuracy"] * 40), abs=1e-4
    )
    assert load_bundle(folder / "model").labels == ("negative", "positive")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["logger=none"],
        ["trainer.precision=bf16-true"],
        ["trainer.precision=64"],
        ["encoder.attn_implementation=eager"],
        ["encoder.gradient_checkpointing=true"],
        ["data.num_workers=1"],
        ["data.test_ratio=0", "data.test_file=null"],
        ["model.pooling=attention", "model.pooling_layers=2"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_documented_settings_run(tmp_path, tiny_encoder, reviews, overrides):
    _, metrics = train(tmp_path, tiny_encoder, reviews, "debug=fast", *overrides)
    assert metrics["checkpoint"]["step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.val_check_interval=500", r"trainer\.val_check_interval=500: an epoch has only 10 batches"),
        ("+trainer.max_epoch=3", "max_epoch"),
        ("trainer.accelerator=tpu", "Trainer: "),
        ("encoder.attn_implementation=flash_attention_2", "encoder.*[Ff]lash"),
    ],
)
def test_settings_that_cannot_be_had(tmp_path, tiny_encoder, reviews, override, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path, tiny_encoder, reviews, override)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "checkpoints"}


def test_a_warm_up_longer_than_training(tmp_path, tiny_encoder, reviews):
    with pytest.raises(ConfigError, match=r"schedule\.warmup_steps=500 exceeds total_steps=30"):
        train(
            tmp_path,
            tiny_encoder,
            reviews,
            "schedule.warmup_ratio=null",
            "schedule.warmup_steps=500",
            "trainer.max_epochs=3",
        )
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}
