"""Rows that a model refuses, and sets of labels, from the validation scores of its folder."""

import csv
import json
import re

import numpy as np
import pyarrow.parquet as parquet
import pytest
from scipy.special import expit, softmax
from scipy.stats import binomtest

from bert_ft.data.sources import BbcNews
from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.evaluation.abstention import TooFewRowsError
from bert_ft.inference.abstaining import Promises, abstaining
from bert_ft.inference.files import predict_file
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from bert_ft.tasks.votes import Votes
from tests import commands

from .saved import TEXTS, make_bundle

CLASSES = SingleLabel(("a", "b", "c"))
GRADES = Ordinal(("above 1", "above 2"), order=("1", "2", "3"))
RNG = np.random.default_rng(0)


def drawn(num_rows: int, width: int = 3) -> np.ndarray:
    return RNG.normal(scale=3, size=(num_rows, width)).astype(np.float32)


def of_classes(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose probabilities are true."""
    logits = drawn(num_rows)
    return logits, np.array([RNG.choice(3, p=row) for row in softmax(logits.astype(float), axis=1)])


def promised(task, scores, **promises):
    return abstaining(task, dict(zip(("logits", "targets"), scores, strict=True)), Promises(**promises))


def test_the_promise_is_kept_on_other_rows():
    found = promised(CLASSES, of_classes(1_000), precision=0.95)
    logits, classes = of_classes(20_000)
    confidence = softmax(logits.astype(float), axis=1).max(1)
    answered = found.answers(logits)
    np.testing.assert_array_equal(answered, confidence >= found.refusal.threshold)
    assert (logits.argmax(1) == classes)[answered].mean() >= 0.95
    assert 0.3 < answered.mean() == pytest.approx(found.refusal.coverage, abs=0.05)
    wrong, kept = found.refusal.wrong, found.refusal.kept
    assert binomtest(kept - wrong, kept, alternative="greater").proportion_ci(0.95).low >= 0.95
    (line,) = found.lines()
    assert line.startswith(f"abstain.precision=0.95: answers {found.refusal.coverage:.0%} of the validation")
    assert line.endswith("at least 95% are right, with 95% confidence")
    same = promised(CLASSES, of_classes(300), risk=0.1)
    assert same.refusal.promised == pytest.approx(0.9)


def test_confidence_is_of_the_prediction():
    """With a threshold of two classes it may be below one half; of grades it is the median's."""
    logits = np.log(np.array([[0.2, 0.8], [0.05, 0.95], [0.4, 0.6]], np.float32))
    task = SingleLabel(("no", "yes"), thresholds="f1", positive="yes", cut_off=0.9)
    found = promised(task, (np.tile(logits, (60, 1)), np.tile([0, 1, 0], 60)), precision=0.9)
    assert found.refusal.threshold == pytest.approx(0.2)  # the first row: predicted no
    assert found.answers(np.log([[0.11, 0.89], [0.3, 0.7]]).astype(np.float32)).tolist() == [False, True]
    grades = promised(GRADES, (np.tile([[6.0, -6.0]], (60, 1)).astype("f4"), np.ones(60, int)), risk=0.1)
    assert grades.refusal.threshold == pytest.approx(expit(6) ** 2)


def test_a_set_of_labels_is_right_as_a_whole():
    task = MultiLabel(("a", "b"), cut_offs=(0.5, 0.3))
    logits = np.tile(np.log([[9.0, 0.5], [0.1, 0.1]]), (60, 1)).astype("f4")  # 0.9 and 1/3: both; 1/11: none
    targets = np.tile([[True, True], [False, False]], (60, 1))
    found = promised(task, (logits, targets), precision=0.95)
    assert found.refusal.threshold == pytest.approx(0.9 / 3)
    targets[0] = [True, False]  # half right is wrong
    assert promised(task, (logits, targets), precision=0.95).refusal.wrong == 1


def test_votes_without_a_majority_dont_count():
    shares = np.tile(np.array([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]], np.float32), (60, 1))
    task = Votes(CLASSES.names)
    found = promised(task, (np.tile([[4, 1, 0]], (120, 1)).astype("f4"), shares), precision=0.95, sets=0.9)
    assert (found.refusal.rows, found.refusal.wrong, found.sets.rules[0].rows) == (60, 0, 60)


@pytest.mark.parametrize("task", [CLASSES, GRADES, MultiLabel(CLASSES.names)], ids=lambda task: task.name)
def test_sets_hold_the_true_labels(task):
    def scores(num_rows):
        if task is GRADES:
            logits = drawn(num_rows, 2)
            return logits, (logits + RNG.logistic(size=logits.shape) > 0).cumprod(1).sum(1)
        if task is CLASSES:
            return of_classes(num_rows)
        logits = drawn(num_rows)
        return logits, expit(logits) > RNG.random((num_rows, 3))

    rule = promised(task, scores(2_000), sets=0.9)
    logits, targets = scores(20_000)
    names = CLASSES.names if task is not GRADES else GRADES.order
    sets = rule.columns(logits)["label_set"].to_pylist()
    truth = [[names[i] for i in np.flatnonzero(t)] if np.ndim(t) else [names[t]] for t in targets]
    held = np.mean([set(true) <= set(given) for true, given in zip(truth, sets, strict=True)])
    assert held == pytest.approx(0.9, abs=0.02)
    (line,) = rule.kept(logits, targets)
    assert f"{held:.4f} of 20,000" in line
    assert rule.answers(logits).all()


@pytest.mark.parametrize("variance", [False, True])
def test_intervals_of_numbers(variance):
    names = ("low", "high") + (("v1", "v2") if variance else ())
    task = Regression(names, center=(100.0, -5.0), scale=(20.0, 2.0), variance=variance)

    def scores(num_rows):
        logits = drawn(num_rows, len(names))
        spread = np.exp(logits[:, 2:] / 2) if variance else 1
        return logits, (logits[:, :2] + spread * RNG.normal(size=(num_rows, 2))).astype("f4")

    rule = promised(task, scores(1_000), sets=0.95)
    logits, targets = scores(10_000)
    columns, numbers = rule.columns(logits), task.in_unit(targets)
    assert list(columns) == [f"interval_{end}_{name}" for name in ("low", "high") for end in ("low", "high")]
    for column, name in enumerate(("low", "high")):
        low, high = (columns[f"interval_{end}_{name}"] for end in ("low", "high"))
        held = ((low <= numbers[:, column]) & (numbers[:, column] <= high)).mean()
        assert held == pytest.approx(0.95, abs=0.02)
        assert (np.ptp(high - low) > 1) == variance
    assert "for each number alone" in next(iter(rule.lines()))


@pytest.mark.parametrize(
    ("task", "scores", "promises", "message"),
    [
        (CLASSES, (np.eye(3, dtype="f4")[np.zeros(60, int)] * 9, np.zeros(60, int)), {"precision": 0.98}, "149"),
        (CLASSES, (np.zeros((18, 3), "f4"), np.zeros(18, int)), {"sets": 0.95}, "at least 19 "),
        (Regression(("score",), (0.0,), (1.0,)), (np.zeros((99, 1), "f4"),) * 2, {"risk": 0.1}, "neither right nor"),
    ],
)  # fmt: skip
def test_promises_that_the_rows_cant_prove(task, scores, promises, message):
    with pytest.raises((TooFewRowsError, ConfigError), match=f"abstain.*{message}") as error:
        promised(task, scores, **promises)
    assert "\n" not in str(error.value)


def test_models_without_fitting_scores():
    with pytest.raises(CheckpointError, match=r"abstain.sets: .*no validation_scores.*train it again"):
        abstaining(CLASSES, {}, Promises(sets=0.9))
    with pytest.raises(CheckpointError, match=r"logits \(9, 2\).*3 outputs: it is another model's"):
        promised(CLASSES, (drawn(9, 2), np.zeros(9, int)), precision=0.9)
    with pytest.raises(ConfigError, match=r"abstain.precision=0.9 abstain.risk=0.1: .* give one"):
        Promises(precision=0.9, risk=0.1)
    with pytest.raises(ConfigError, match=r"abstain.sets=1.5: must be a number > 0 and < 1"):
        Promises(sets=1.5)
    assert abstaining(CLASSES, {}, Promises()) is None


def read(path):
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return [json.loads(line) for line in file] if path.suffix == ".jsonl" else list(csv.DictReader(file))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_of_a_file(tiny_encoder, tmp_path, suffix):
    bundle = make_bundle(tiny_encoder, tmp_path / "model")
    source, plain, target = tmp_path / "in.csv", tmp_path / f"plain{suffix}", tmp_path / f"out{suffix}"
    with source.open("w", newline="", encoding="utf-8") as file:
        rows = [(text, "yes" if row % 3 else "no") for row, text in enumerate([*TEXTS, ""])]
        csv.writer(file).writerows([("text", "label"), *rows])
    settings = {"text_column": "text", "label_column": "label", "probabilities": "all"}
    predict_file(bundle, source, plain, **settings)
    before = read(plain)
    values = sorted(float(row["probability"]) for row in before[:-1])
    # validation rows at the median probability: surer ones right, others wrong
    logits = np.log(np.array([[p, 1 - p] for p in values], np.float32).repeat(30, 0))
    right = np.repeat(np.arange(len(values)) >= len(values) // 2, 30)
    refusing = promised(bundle.task, (logits, np.where(right, 0, 1)), precision=0.9, sets=0.4)
    labeled = predict_file(bundle, source, target, refusing=refusing, **settings)
    after = read(target)
    empty = "" if suffix == ".csv" else None
    num_unsure = 0
    for old, new in zip(before[:-1], after[:-1], strict=True):
        answered = float(old["probability"]) >= refusing.refusal.threshold
        num_unsure += not answered
        assert new["prediction"] == (old["prediction"] if answered else empty)
        assert {name: new[name] for name in old if name.startswith("probab")} == {
            name: old[name] for name in old if name.startswith("probab")
        }
        given = json.loads(new["label_set"]) if suffix == ".csv" else new["label_set"]
        likely = [
            n for n in bundle.labels if 1 - float(new[f"probability_{n}"]) <= refusing.sets.rules[0].quantile
        ]
        assert given == likely
        reason = "unsure" if not answered else empty if given else "no label is likely enough"
        assert new["reason"] == reason
    assert 0 < num_unsure < len(TEXTS)
    assert (after[-1]["label_set"], after[-1]["reason"]) == (empty, "empty")
    assert labeled.reasons == {"unsure": num_unsure, "empty": 1}
    shown = "\n".join(labeled.lines(target))
    num_answered = len(TEXTS) - num_unsure
    assert f"answered {num_answered} of {len(TEXTS)} labeled rows" in shown
    assert f"{num_answered} rows labeled" in shown
    assert labeled.scores.num_rows == num_answered
    assert f"{labeled.scores.values['accuracy']:.4f} of them right" in shown


@pytest.mark.slow
def test_a_run_on_real_text(tmp_path):
    """MiniLM on the first words of articles of BBC News."""
    articles = BbcNews().load(tmp_path / "cache").splits["train"].dataset
    beginnings = [(" ".join(row["text"].split()[:20]), row["label"]) for row in articles]
    rows = {"train": range(0, 2_225, 8), "validation": range(1, 2_225, 14), "in": range(2, 2_225, 14)}
    for name, chosen in rows.items():
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *(beginnings[row] for row in chosen)])
    files = ["data=files", "data.train_file=train.csv", "data.validation_file=validation.csv"]
    short = [
        "trainer.max_steps=25",
        "trainer.max_epochs=-1",
        "data.batch_size=16",
        "test=false",
        "keep=model",
    ]
    quiet = ["logger=none", "monitor=none", "report=false", f"hydra.run.dir={tmp_path / 'run'}"]
    done = commands.run("bert_ft.train", *files, *short, *quiet, "data.cache_dir=cache", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    arguments = [f"bundle={tmp_path / 'run'}", "input=in.csv", "output=out.csv", "overwrite=true"]
    done = commands.run("bert_ft.predict", *arguments, "abstain.risk=0.2", "abstain.sets=0.9", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "out.csv")
    unsure = [row["reason"] == "unsure" for row in rows]
    right = [row["prediction"] == row["label"] for row in rows if row["prediction"]]
    held = [row["label"] in json.loads(row["label_set"]) for row in rows]
    assert len(right) == len(rows) - sum(unsure)
    assert np.mean(right) > 0.75
    assert np.mean(held) > 0.85
    assert "at least 80% are right, with 95% confidence" in done.stdout
    assert f"{np.mean(right):.4f} of them right" in done.stdout
    assert f"the true label in {np.mean(held):.4f} of {len(rows)} labeled rows" in done.stdout
    refused = commands.run("bert_ft.predict", *arguments, "abstain.precision=0.99", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(r"abstain.precision: .* needs at least 299 validation rows .*\n", refused.stderr)
