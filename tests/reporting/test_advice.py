"""Each rule of advice finds a cause that is planted in a record, and nothing in a run without it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bert_ft.reporting.advice import MOST, RULES, advice_for, give_advice_if_possible
from bert_ft.reporting.monitor_files import Snapshot
from bert_ft.reporting.report import write_page
from bert_ft.reporting.run_log import RunLog, read_run
from bert_ft.reporting.scalars import Series
from tests.reporting.synthetic import write_run

DOCS = Path(__file__).parents[2] / "docs/advice.md"
STEPS = np.arange(10, 601, 10)
VALIDATIONS = np.arange(60, 601, 60)
HEALTHY = np.maximum(0.1, 1.2 * np.exp(-STEPS / 60))


def series(steps, values):
    return Series(np.asarray(steps), np.broadcast_to(np.asarray(values, dtype=float), len(steps)))


def counts(*rows, names=("ham", "spam", "rare")):
    return {"confusion": np.array(rows), "names": np.array(names)}


def run(task="single_label", *, confusion=None, scalars=None, config=None, metrics=None, report=None):
    """A healthy run of 600 steps and 200 validation rows, with what a test plants in it."""
    confusion = confusion or counts([95, 3, 2], [3, 76, 1], [1, 1, 18])
    names, rows = confusion["names"].tolist(), {"train": 1600, "validation": 200}
    split = {
        "num_rows": 1600,
        "label_counts": dict.fromkeys(names, 20),
        "lengths": {"p95": 100.0},
        "truncated_ratio": 0.02,
        "lost_ratio": 0.01,
    }
    settings = {
        "objective": {"metric": "val/accuracy", "mode": "max"},
        "optimizer": {"lr": 2e-4},
        "trainer": {"gradient_clip_val": 1.0, "max_epochs": 6, "max_steps": -1},
        "loss": {"class_weights": None},
        "data": {"train_file": "train.csv", "validation_file": None, "validation_ratio": 0.1},
        "task": {"thresholds": None},
    }
    splits = {"train": split, "validation": {**split, "num_rows": 200}}
    return RunLog(
        Path("run"),
        {
            "train/loss": series(STEPS, HEALTHY),
            "train/grad_norm": series(STEPS, 0.8),
            "gradients/clipped_ratio": series(STEPS, 0.4),
            "gradients/nonfinite_steps": series(STEPS, 0),
            "activations/layer.1.activation/near_zero": series(STEPS, 0.3),
            "val/loss": series(VALIDATIONS, 0.3),
            "val/accuracy": series(VALIDATIONS, 0.945),
            **(scalars or {}),
        },
        metrics={
            "val": {"accuracy": 0.945},
            "checkpoint": {"step": 600},
            "stopped": "all steps done",
            "rows": rows,
            "labels": names,
            **(metrics or {}),
        },
        data_report={"max_length": 128, "task": {"name": task}, "splits": splits | (report or {})},
        config={name: values | (config or {}).get(name, {}) for name, values in settings.items()},
        validation=Snapshot(600, True, confusion),
    )


def changed(values, **at):
    found = np.array(values, dtype=float)
    for place, value in at.items():
        found[slice(*map(int, place[1:].split("_")))] = value
    return found


LABELS = {"label_counts": np.array([[70, 80, 85], [0, 12, 0]]), "names": np.array(["toxic", "threat"])}
LONG = {
    "train": {"truncated_ratio": 0.998, "lost_ratio": 0.74, "lengths": {"p95": 700.0}, "label_counts": {}}
}
MANY = {"validation": {"label_counts": {"a": 50, "b": 2, "c": 1, "d": 0, "e": 5}}}
FEW = {"validation": {"label_counts": {"ham": 150, "spam": 47, "rare": 3}}}
FALLING = {
    "train/loss": series(STEPS, np.linspace(1.5, 0.3, 60)),
    "val/loss": series(VALIDATIONS, np.linspace(1, 0.4, 10)),
}
RISING = {"val/loss": series(VALIDATIONS, [0.5, 0.3, 0.25, *np.linspace(0.3, 0.42, 7)])}
WOBBLY = {"val/accuracy": series(VALIDATIONS, [0.8, 0.9, 0.93, 0.96, 0.95, 0.94, 0.95, 0.94, 0.95, 0.95])}
WORSE = {"val/accuracy": series(VALIDATIONS, [0.8, 0.9, 0.95, 0.96, 0.95, 0.95, 0.94, 0.94, 0.94, 0.94])}
NORMS = {"train/grad_norm": series(STEPS, 3.2), "gradients/clipped_ratio": series(STEPS, 0.78)}

PLANTED = {
    "unstable": [
        (run(scalars={"train/loss": series(STEPS, changed(HEALTHY, _30_36=1.1))}), "try optimizer.lr=0.0001"),
        (
            run(scalars={"gradients/nonfinite_steps": series(STEPS, 3)}),
            "3 steps had gradients that are not finite",
        ),
    ],
    "no_better_than_guessing": [
        (
            run(confusion=counts([100, 0, 0], [80, 0, 0], [20, 0, 0]), metrics={"val": {"accuracy": 0.5}}),
            "always predicting ham",
        ),
    ],
    "dead_layer": [
        (
            run(
                scalars={
                    "activations/layer.1.activation/near_zero": series(
                        STEPS, changed(np.full(60, 0.3), _13_60=1)
                    )
                }
            ),
            "layer.1.activation is dead since step 140",
        ),
    ],
    "never_predicted": [
        (
            run(confusion=counts([95, 5, 0], [3, 77, 0], [10, 10, 0])),
            "rare is never predicted, though 20 validation rows",
        ),
        (
            run("multi_label", confusion=LABELS),
            "threat is never predicted, though 12 validation rows have this label: task.thr",
        ),
    ],
    "texts_cut": [
        (
            run(report=LONG),
            "99.8% of the training texts are cut to data.max_length=128, which loses 74% of their tokens",
        ),
        (run("regression", report=LONG), "raise data.max_length, e.g. to 512"),
    ],
    "still_falling": [
        (run(scalars=FALLING), "e.g. trainer.max_epochs=12"),
        (
            run(scalars=FALLING, config={"trainer": {"max_epochs": None, "min_train_steps": 600}}),
            "trainer.min_train_steps=1200",
        ),
    ],
    "few_validation_rows": [
        (
            run(report=MANY, metrics={"labels": list("abcde")}),
            "4 of 5 classes have at most 5 validation rows (d 0, c 1, b 2, …)",
        ),
        (run(report=FEW), "has only 3 rows of rare, so its scores"),
        (
            run(report=FEW, config={"data": {"validation_file": "validation.csv"}}),
            "add rows to data.validation_file",
        ),
    ],
    "precision_for_recall": [
        (run(confusion=counts([99, 1, 0], [3, 77, 0], [8, 8, 4])), "precision 1.00 and recall 0.20"),
        (
            run(
                confusion=counts([80, 0, 20], [0, 60, 20], [0, 1, 19]),
                config={"loss": {"class_weights": "balanced"}},
            ),
            "loss.class_weights=null (now balanced)",
        ),
    ],
    "overconfident": [(run(scalars=RISING), "rose from 0.250 at step 180 to 0.420 at step 600")],
    "clipped": [
        (
            run(scalars=NORMS),
            "78% of the steps were clipped to trainer.gradient_clip_val=1 (the median gradient norm was 3.2)",
        )
    ],
    "within_one_standard_error": [
        (
            run(scalars=WOBBLY),
            "from step 540 on, so the latest of these weights (step 600, 0.950) were kept instead of the best",
        ),
        (
            run(scalars=WORSE, metrics={"checkpoint": {"step": 360}}),
            "of its best from step 180 to step 360, so the latest",
        ),
    ],
}


def test_every_rule_is_tested_and_documented():
    assert [rule.name for rule in RULES] == list(PLANTED)
    documented = DOCS.read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f"`{rule.name}`" not in documented] == []


@pytest.mark.parametrize(
    ("name", "planted", "said"), [(name, *case) for name, cases in PLANTED.items() for case in cases]
)
def test_a_rule_finds_what_is_planted(name, planted, said):
    found = advice_for(planted)
    assert said in found[name].sentence
    assert all(each.split(".")[-1] in found[name].sentence for each in found[name].keys)
    assert not set(found) - {name, *WITH.get(name, ())}


# what comes along: a class that is never predicted, where nothing is learned
WITH = {"no_better_than_guessing": ["never_predicted"]}


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression", "ordinal"])
def test_nothing_is_said_of_a_healthy_run(task):
    assert advice_for(run(task)) == {}


@pytest.mark.parametrize(
    "healthy",
    [
        run(scalars=FALLING, metrics={"stopped": "no better val/accuracy for 8 validations"}),
        run(scalars={**FALLING, "val/loss": series(VALIDATIONS, 0.3)}),  # longer training would not help
        run(scalars={"train/loss": series(STEPS, HEALTHY + 0.05 * np.sin(STEPS))}),  # noise
        run(scalars={"gradients/clipped_ratio": series(STEPS, np.minimum(1, 150 / STEPS))}),  # at first only
        run(scalars={"activations/head.classifier/near_zero": series(STEPS, 1)}),  # starts at zero
        run(scalars=RISING, config={"objective": {"metric": "val/loss", "mode": "min"}}),
        run(scalars={"val/accuracy": series(VALIDATIONS, np.linspace(0.7, 0.945, 10))}),
        run(confusion=counts([95, 3, 2], [3, 92, 1], [3, 1, 0])),  # four rows are luck
        run("regression", report=FEW),
        replace(run(), scalars={}, validation=None, data_report=None, config=None),
    ],
)
def test_what_is_no_cause(healthy):
    assert advice_for(healthy) == {}


def test_a_pre_training_stage_is_told_its_own_keys():
    stage = {"optimizer": {"lr": 3e-5}, "trainer": {"max_epochs": 2, "gradient_clip_val": 1.0}}
    planted = replace(
        run(scalars={**FALLING, **NORMS, "gradients/nonfinite_steps": series(STEPS, 2)}),
        config={"pretrain": stage},
        metrics={"stage": {}, "stopped": "all steps done"},
        validation=None,
    )
    found = advice_for(planted)
    assert [each.keys[0] for each in found.values()] == [
        "pretrain.optimizer.lr",
        "pretrain.trainer.max_epochs",
        "pretrain.trainer.gradient_clip_val",
    ]
    assert "try pretrain.optimizer.lr=1.5e-05 (now 3e-05)" in found["unstable"].sentence


def test_there_are_at_most_seven_and_the_most_urgent_first():
    whole = {**NORMS, **FALLING, "gradients/nonfinite_steps": series(STEPS, 3), **WOBBLY}
    whole["activations/layer.0.hidden/near_zero"] = series(STEPS, 1)
    confusion = counts([100, 0, 0], [80, 0, 0], [14, 0, 6])
    many = run(scalars=whole, report=LONG | FEW, confusion=confusion, metrics={"val": {"accuracy": 0.5}})
    assert list(advice_for(many)) == [rule.name for rule in RULES][:MOST] == list(PLANTED)[:7]


def test_advice_is_on_the_page_and_in_the_record_of_a_run(tmp_path):
    folder = write_run(tmp_path / "run")
    report = json.loads((folder / "data_report.json").read_text())
    report["splits"]["train"] |= {"truncated_ratio": 0.9, "lost_ratio": 0.5}
    report["splits"]["train"]["lengths"]["p95"] = 80.0
    (folder / "data_report.json").write_text(json.dumps(report))
    before = json.loads((folder / "metrics.json").read_text())
    sentences = give_advice_if_possible(folder)
    assert "90.0% of the training texts are cut to data.max_length=32" in sentences[0]
    after = json.loads((folder / "metrics.json").read_text())
    advice = after.pop("advice")
    assert after == before
    assert [entry["sentence"] for entry in advice] == sentences
    assert advice[0]["rule"] == "texts_cut"
    assert advice[0]["keys"] == ["data.max_length"]
    page = write_page(read_run(folder)).read_text(encoding="utf-8")
    assert page.index("What stood out") < page.index("90.0% of the training texts") < page.index("<nav>")


def test_a_rule_that_fails_does_not_fail_the_run(tmp_path, caplog):
    folder = write_run(tmp_path / "run")
    (folder / "data_report.json").write_text(json.dumps({"splits": {"train": {"lost_ratio": "much"}}}))
    assert give_advice_if_possible(folder) == []
    assert "no advice could be given" in caplog.text
