"""``bert_ft.load``: what a saved model takes and gives."""

import asyncio
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from datasets import ClassLabel, Dataset
from transformers import pipeline

import bert_ft
from bert_ft.data.long_texts import LongTexts
from bert_ft.inference import text_runner
from bert_ft.inference.files import predict_file
from bert_ft.inference.given_texts import blocks_of
from bert_ft.models.bundle import load_bundle, save_bundle
from bert_ft.tasks.multi_label import MultiLabel
from bert_ft.tasks.ordinal import Ordinal
from bert_ft.tasks.regression import Regression
from bert_ft.tasks.single_label import SingleLabel
from tests.conftest import write_csv
from tests.inference.saved import TEXTS, make_bundle, probabilities_of


@pytest.fixture(scope="module")
def bundle(tiny_encoder, tmp_path_factory):
    return make_bundle(tiny_encoder, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("saved"), **vars(bundle))


@pytest.fixture(scope="module")
def model(folder):
    return bert_ft.load(folder)


@pytest.fixture(scope="module")
def pairs(bundle, tmp_path_factory):
    settings = {**vars(bundle), "text_column": "premise", "text_pair_column": "hypothesis"}
    return bert_ft.load(save_bundle(tmp_path_factory.mktemp("pairs"), **settings))


def test_rows_are_those_of_each_text_alone(model, bundle):
    expected = probabilities_of(bundle, TEXTS)
    for batch_size in (1, 7, 128):
        np.testing.assert_allclose(model.predict_proba(TEXTS, batch_size=batch_size), expected, atol=1e-6)
    assert (model.predict(TEXTS) == model.classes_[expected.argmax(1)]).all()
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(model.embed(TEXTS), alone, atol=1e-5)
    assert set(model.predict(TEXTS)) == {"no", "yes"}  # else the rows could be mixed up


def test_it_gives_what_the_command_and_the_pipeline_give(model, folder, bundle, tmp_path):
    texts = [text for text in TEXTS if "\n" not in text]
    source = write_csv(tmp_path / "x.csv", [(text, "no") for text in texts])
    predict_file(bundle, source, tmp_path / "y.csv", text_column="text", probabilities="all")
    written = pa.csv.read_csv(tmp_path / "y.csv")
    probabilities = model.predict_proba(texts)
    for column, name in enumerate(model.classes_):
        np.testing.assert_allclose(probabilities[:, column], written[f"probability_{name}"], atol=1e-6)
    assert written["prediction"].to_pylist() == model.predict(texts).tolist()
    classify = pipeline("text-classification", str(folder), top_k=None)
    for row, found in enumerate(classify(texts)):
        of_label = {each["label"]: each["score"] for each in found}
        np.testing.assert_allclose(probabilities[row], [of_label[name] for name in model.classes_], atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")
@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize(
    "long_texts",
    [
        LongTexts(keeps_ends=True),
        LongTexts("windows", stride=3),
        LongTexts("windows", 3, windowed_text="first"),
    ],
)
def test_long_texts_are_read_as_by_the_command(long_texts, is_pair, bundle, tmp_path):
    columns = ["text", "other"][: 1 + is_pair]
    rows = [("film plot " * (1 + 7 * row % 50), f"{'good ' * (3 * row % 40)}end") for row in range(20)]
    frame = pd.DataFrame(rows, columns=["text", "other"])[columns]
    parts = {"max_length": 24, "long_texts": long_texts, "text_pair_column": "other" if is_pair else None}
    model = bert_ft.load(save_bundle(tmp_path / "model", **{**vars(bundle), **parts}))
    frame.to_csv(tmp_path / "x.csv", index=False)
    names = dict(zip(("text_column", "text_pair_column"), columns, strict=False))
    predict_file(
        load_bundle(tmp_path / "model"), tmp_path / "x.csv", tmp_path / "y.csv", probabilities="all", **names
    )
    written = pa.csv.read_csv(tmp_path / "y.csv")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = model.predict_proba(frame, batch_size=7)
    is_cut = is_pair or long_texts.mode == "cut"  # of a pair, windows may cut the other text
    assert any("were cut" in str(each.message) for each in seen) == is_cut
    for column, name in enumerate(model.classes_):
        np.testing.assert_allclose(found[:, column], written[f"probability_{name}"], atol=1e-6)
    alone = np.concatenate([model.embed(frame[row : row + 1]) for row in range(len(frame))])
    np.testing.assert_allclose(model.embed(frame), alone, atol=1e-5)
    assert (pickle.loads(pickle.dumps(model)).predict_proba(frame, batch_size=7) == found).all()


@pytest.mark.parametrize(("cut_off", "predicted"), [(0.0, "no"), (1.0, "yes")])
def test_thresholds_are_those_of_the_command(cut_off, predicted, bundle, tmp_path):
    task = SingleLabel(("no", "yes"), thresholds="f1", positive="no", cut_off=cut_off)
    scores = {"logits": np.ones((3, 2), np.float32), "targets": np.arange(3)}
    parts = {**vars(bundle), "task": task, "validation_scores": scores}
    model = bert_ft.load(save_bundle(tmp_path / "first", **parts))
    assert set(model.predict(TEXTS)) == {predicted}
    assert model.evaluate(pd.DataFrame({"text": TEXTS, "label": predicted})).metrics["accuracy"].value == 1
    copy = load_bundle(model.save(tmp_path / "second"))
    assert copy.task == task
    assert {name: values.tolist() for name, values in copy.validation_scores.items()} == {
        name: values.tolist() for name, values in scores.items()
    }


@pytest.mark.parametrize(
    "column",
    [
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: pd.Series(texts, index=range(len(texts), 0, -1)),
        lambda texts: pd.Series(texts, dtype="string", index=[7] * len(texts)),
        lambda texts: pd.DataFrame({"other": 1, "text": texts}),
        lambda texts: Dataset.from_dict({"text": texts}),
        lambda texts: Dataset.from_dict({"text": texts})["text"],
        lambda texts: pa.table({"text": texts}),
        lambda texts: {"text": texts},
        iter,
    ],
)
def test_columns_frames_and_generators_are_lists_of_texts(model, column):
    assert (model.predict_proba(column(TEXTS)) == model.predict_proba(TEXTS)).all()


@pytest.mark.parametrize("nothing", [[], (), iter([]), pd.Series([], dtype=object), np.array([])])
def test_no_texts_give_no_rows(model, nothing):
    nothing = list(nothing) if not hasattr(nothing, "__len__") else nothing
    assert model.predict(nothing).shape == (0,)
    assert model.predict_proba(nothing).shape == (0, 2)
    assert model.embed(nothing).shape == (0, 32)


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, 7, b"bytes", ["a", "b"], ("a", "b")])
def test_what_is_no_text_is_named_with_its_place(model, value, monkeypatch):
    monkeypatch.setattr(text_runner, "TokenizedRows", None)  # nothing is predicted before
    for call in (model.predict, model.predict_proba, model.embed):
        with pytest.raises(TypeError, match=r"position 3: .*isn't a text"):
            call(["a", "b", "c", value])


def test_other_mistakes_are_named(model, pairs):
    with pytest.raises(TypeError, match=r"one text as str; pass a list, e.g. \['one text'\]"):
        model.predict("one text")
    with pytest.raises(ValueError, match=r"position 1: .*half a surrogate pair"):
        model.predict(["a", "b \ud83d"])
    with pytest.raises(ValueError, match=r"no column 'text', .*'review'"):
        model.predict(pd.DataFrame({"review": TEXTS}))
    with pytest.raises(TypeError, match=r"position 0: .*isn't a pair"):
        pairs.predict(["a"])
    with pytest.raises(ValueError, match="batch_size=0"):
        model.predict(["a"], batch_size=0)
    with pytest.raises(ValueError, match="no such folder"):
        bert_ft.load("nowhere")


def test_empty_and_odd_texts_get_a_prediction(model):
    odd = ["", "  ", "NUL \x00 in it", "x " * 100_000, "🙂‍🙃", "\u202eطيب", "\ufefffilm", "film\r\nplot"]
    with pytest.warns(UserWarning, match="have more than 64 tokens") as seen:
        found = pickle.loads(pickle.dumps(model)).predict_proba([*odd, "film"])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    np.testing.assert_allclose(found[-1], model.predict_proba(["film"])[0], atol=1e-6)


def test_pairs_are_tuples_lists_or_columns(pairs):
    first, second = TEXTS[:10], TEXTS[10:20]
    found = pairs.predict_proba(list(zip(first, second, strict=True)))
    assert (found == pairs.predict_proba([list(pair) for pair in zip(first, second, strict=True)])).all()
    assert (found == pairs.predict_proba(pd.DataFrame({"hypothesis": second, "premise": first}))).all()
    assert abs(found - pairs.predict_proba(list(zip(second, first, strict=True)))).max() > 1e-6


def test_a_generator_is_read_in_blocks(model, monkeypatch):
    monkeypatch.setattr(blocks_of, "__defaults__", (8,))
    read, seen = [], []
    rows = text_runner.TokenizedRows
    monkeypatch.setattr(text_runner, "TokenizedRows", lambda **given: seen.append(len(read)) or rows(**given))
    found = model.predict_proba(read.append(text) or text for text in TEXTS[:30])
    assert seen[0] == 8
    np.testing.assert_allclose(found, model.predict_proba(TEXTS[:30]), atol=1e-6)


def test_evaluate_scores_as_files_are_scored(model, tiny_encoder, tmp_path):
    predicted = model.predict(TEXTS)
    frame = pd.DataFrame(
        {"text": TEXTS, "label": predicted, "wrong": np.where(predicted == "no", "yes", "no")}
    )
    assert model.evaluate(frame).metrics["accuracy"].value == 1
    assert model.evaluate(frame, label="wrong").metrics["accuracy"].value == 0
    frame.loc[3, "label"] = None
    frame["source"] = ["web", "mail", *["web"] * (len(TEXTS) - 2)]
    with pytest.warns(UserWarning, match="without one: 1"):
        found = model.evaluate(frame, group_by="source", cluster_by="source")
    assert found.metrics["accuracy"].value == 1
    assert {name: group.rows for name, group in found.groups.items()} == {"web": len(TEXTS) - 2, "mail": 1}
    assert found.num_clusters == 2
    frame.loc[4, "text"] = None
    with pytest.warns(UserWarning, match="without one: 1, without a text: 1"):
        assert len(model.evaluate(frame).scored) == len(TEXTS) - 2
    named = Dataset.from_dict({"text": TEXTS, "label": [["yes", "no"].index(name) for name in predicted]})
    named = named.cast_column("label", ClassLabel(names=["yes", "no"]))
    assert model.evaluate(named).metrics["accuracy"].value == 1
    with pytest.raises(ValueError, match="no column 'labels'"):
        model.evaluate(frame, label="labels")
    make_bundle(tiny_encoder, tmp_path / "numbers", ("1", "2"))
    frame = pd.DataFrame({"text": TEXTS[:3], "label": [1, 2, None]})  # pandas makes 1.0 and 2.0 of them
    with pytest.warns(UserWarning, match="2 of 3 rows .* without one: 1"):
        bert_ft.load(tmp_path / "numbers").evaluate(frame)
    with pytest.raises(ValueError, match="got list; pass a table"):
        model.evaluate(TEXTS)


@pytest.mark.parametrize(
    ("task", "predicted"),
    [
        (MultiLabel(("a", "b"), cut_offs=(0.0, 1.0)), [["a"]]),
        (Regression(("a", "b"), center=(3.0, 4.0), scale=(1e-9, 1e-9)), [[3.0, 4.0]]),
        (Ordinal(("above low", "above mid"), order=("low", "mid", "high")), None),
    ],
)
def test_every_task(task, predicted, tiny_encoder, tmp_path):
    bundle = make_bundle(tiny_encoder, tmp_path / "first", tuple(task.names))
    settings = {**vars(bundle), "task": task}
    model = bert_ft.load(save_bundle(tmp_path / "second", **settings))
    assert model.task == task.name
    if predicted is not None:
        found = model.predict(["film"])
        assert (found.round(6) if task.name == "regression" else found).tolist() == predicted
    assert len(model.predict([])) == 0
    if task.name == "regression":
        with pytest.raises(ValueError, match="task=regression has no probabilities"):
            model.predict_proba(["film"])
    else:
        assert model.predict_proba(["film"]).shape == (1, len(model.classes_))
        assert set(np.ravel(model.predict(["film"]).tolist())) <= set(model.classes_)


@pytest.mark.parametrize(
    ("names", "label_type", "classes"),
    [
        (("1", "2", "10"), "integer", [1, 2, 10]),
        (("false", "true"), "boolean", [False, True]),
        (("1.0", "10.0", "2.0"), "number", [1.0, 2.0, 10.0]),
        (("0", "1", "2", "10"), "text", ["0", "1", "10", "2"]),
    ],
)
def test_labels_have_the_type_they_were_given_with(names, label_type, classes, tiny_encoder, tmp_path):
    settings = {**vars(make_bundle(tiny_encoder, tmp_path / "a", names)), "label_type": label_type}
    model = bert_ft.load(save_bundle(tmp_path / "b", **settings))
    assert model.classes_.tolist() == classes == np.unique(np.array(classes)).tolist()
    probabilities = model.predict_proba(TEXTS)
    runner_up, best = np.sort(probabilities)[:, -2:].T
    is_clear = best > runner_up  # the model isn't trained
    assert is_clear.sum() > 20
    assert (model.classes_[probabilities.argmax(1)] == model.predict(TEXTS))[is_clear].all()
    assert model.predict(TEXTS).dtype == model.classes_.dtype


def test_copies_need_no_folder(model, tmp_path):
    expected = model.predict_proba(TEXTS)
    assert (pickle.loads(pickle.dumps(model)).predict_proba(TEXTS) == expected).all()
    assert (bert_ft.load(model.save(tmp_path / "copy")).predict_proba(TEXTS) == expected).all()


def test_threads_and_tasks_get_the_answers_of_one(model):
    expected = model.predict_proba(TEXTS)

    def turned(by):
        return np.roll(model.predict_proba(np.roll(TEXTS, by).tolist()), -by, axis=0)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(turned, range(12)):
            np.testing.assert_allclose(found, expected, atol=1e-6)

    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(turned, by) for by in range(4)))

    for found in asyncio.run(ask()):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_a_new_process_loads_little_and_may_fork(folder):
    """No Lightning, Hydra, Optuna or matplotlib; a child forked after a prediction answers."""
    script = f"""
import os, sys, torch
torch.set_num_threads(2)
import bert_ft
before = torch.get_rng_state().tolist()
model = bert_ft.load({str(folder)!r})
expected = model.predict_proba(["a film", "a plot"] * 100)
assert torch.get_rng_state().tolist() == before
heavy = ["lightning", "hydra", "omegaconf", "optuna", "matplotlib", "datasets", "pandas", "torchmetrics"]
assert not [name for name in heavy if name in sys.modules], [name for name in heavy if name in sys.modules]
pid = os.fork()
if pid == 0:
    os._exit(int(abs(model.predict_proba(["a film", "a plot"] * 100) - expected).max() > 1e-6))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
