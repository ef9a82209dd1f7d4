"""``bert_ft.Classifier``: scikit-learn's contract, and what a caller sees of a training."""

import copy
import json
import os
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import bert_ft
from tests.api.conftest import SETTINGS
from tests.api.watching import unchanged

# of scikit-learn's own checks, those of the interface. `check_estimator` runs only the first: it leaves out all others for an
# estimator that takes no two-dimensional array of numbers. These fit such arrays, and can't apply to texts: check_fit_score_takes_y,
# check_classifiers_*, check_dtype_object, check_fit2d_*, check_fit1d, check_methods_*, check_n_features_in, check_pipeline_consistency,
# check_sample_weights_*, check_estimators_pickle and others; tests below do the same with texts.
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_estimators_unfitted,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn(check):
    check("Classifier", bert_ft.Classifier("minilm"))


def test_parameters_are_keys_of_the_configuration():
    keys = {"encoder": "no/such", "optimizer.lr": 2e-4, "averaging": "swa", "model.head.hidden_sizes": [1]}
    classifier = bert_ft.Classifier(**keys)
    assert keys.items() <= classifier.get_params().items()
    assert clone(classifier).get_params() == classifier.get_params()
    assert clone(classifier).set_params(**{"optimizer.lr": 1e-9}).get_params()["optimizer.lr"] == 1e-9
    assert "optimizer.lr=0.0002" in repr(classifier)
    assert is_classifier(classifier)
    with pytest.raises(NotFittedError):
        classifier.predict(["a"])
    with pytest.raises(ValueError, match="fit"):
        classifier.set_params(fit=1)


@pytest.fixture
def classifier(tiny_encoder):
    return bert_ft.Classifier(str(tiny_encoder), **SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer.lrr": 1}, r"optimizer.lrr=1: .*did you mean optimizer.lr\?"),
        ({"optimizer.lr": -1}, "optimizer.lr=-1: must be a number > 0"),
        ({"task": "regression"}, "task=regression: .*use bert_ft.fine_tune"),
        ({"averaging": "swaa"}, "averaging"),
    ],
)
def test_a_wrong_setting_is_an_error_of_fit(classifier, rows, settings, message):
    with pytest.raises(ValueError, match=message):
        classifier.set_params(**settings).fit(*rows)
    with pytest.raises(TypeError, match="sample_weight"):
        classifier.fit(*rows, sample_weight=[1] * len(rows[0]))


@pytest.mark.slow
def test_fit_predicts_and_leaves_nothing_behind(classifier, rows, tmp_path, monkeypatch, capfd):
    texts, labels = rows
    frame = pd.DataFrame({"review": texts, "stars": labels}, index=np.arange(len(texts))[::-1])
    given = texts.copy(), labels.copy(), frame.copy()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    places = (tmp_path, tempfile.gettempdir())
    before = [set(os.listdir(place)) for place in places]
    with unchanged():
        first = classifier.fit(texts, labels).predict_proba(texts)
    assert [set(os.listdir(place)) for place in places] == before
    assert classifier.score(texts, labels) > 0.9
    assert (classifier.classes_[first.argmax(1)] == classifier.predict(texts)).all()
    # again, from the encoder's own weights; frames and data sets are the same rows
    again = clone(classifier).fit(frame, text="review", label="stars").predict_proba(frame["review"])
    assert (again == first).all()
    dataset = Dataset.from_dict({"text": texts, "label": labels})
    assert (classifier.fit(dataset).predict_proba(dataset["text"]) == first).all()
    assert (texts, labels) == given[:2]
    assert frame.equals(given[2])
    assert capfd.readouterr().out == ""
    for copied in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert (copied.predict_proba(texts) == first).all()
    (tmp_path / "fitted.pkl").write_bytes(pickle.dumps(classifier))
    script = f"import pickle; print(pickle.load(open('fitted.pkl', 'rb')).predict([{texts[0]!r}])[0])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == classifier.predict(texts[:1])[0], done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*rows with the same text as a training row:UserWarning")
@pytest.mark.parametrize("values", [(3, 1), (True, False), ("10", "2"), (2.5, 0.5)])
def test_labels_are_those_that_were_given(classifier, rows, values, tmp_path):
    texts = rows[0]
    labels = [values[label == "positive"] for label in rows[1]]
    classifier.fit(texts, labels, validation=(texts[:40], labels[:40]) if values[0] == 3 else None)
    for model in (classifier, bert_ft.load(classifier.save(tmp_path / "saved"))):
        assert model.classes_.tolist() == np.unique(labels).tolist()
        assert np.mean(model.predict(texts) == labels) > 0.9
        assert type(model.predict(texts[:1]).tolist()[0]) is type(values[0])


@pytest.mark.slow
def test_a_frame_is_a_source_like_a_file(classifier, rows, workplace):
    """The same data report, rows, windows, weights and thresholds."""
    settings = {**SETTINGS, "data.max_length": 8, "data.long_texts": "windows", "task.thresholds": "f1"}
    words = [f"{key}={'null' if value is None else value}" for key, value in settings.items()]
    same = ["data.test_ratio=0", "logger=none", "monitor=none", "report=false", "test=false"]
    files = ["data=files", "data.train_file=reviews.csv", "encoder=any", "encoder.name_or_path=tiny_encoder"]
    run = bert_ft.fine_tune([*files, *words, *same], folder="a")
    classifier.set_params(encoder="tiny_encoder", folder="b", **settings).fit(*rows)
    assert classifier.metrics_["val"] == run.metrics["val"]
    assert classifier.metrics_["calibration"] == run.metrics["calibration"]
    assert run.metrics["advice"] == json.loads((workplace / "a/metrics.json").read_text())["advice"]
    assert (workplace / "a/data_report.json").read_text().replace("reviews.csv", "the training rows") == (
        workplace / "b/data_report.json"
    ).read_text()
    assert (classifier.predict_proba(rows[0]) == run.model.predict_proba(rows[0])).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*few.*validation rows:UserWarning")
def test_it_is_searched_and_combined(classifier, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts, labels = rows
    grid = {"optimizer.lr": [1e-9, 3e-3], "averaging": ["none", "ema"]}
    classifier.set_params(**{"optimizer.layer_decay": 1.0})
    search = GridSearchCV(classifier, grid, cv=2, n_jobs=2, error_score="raise").fit(texts, labels)
    assert search.best_params_["optimizer.lr"] == 3e-3
    assert search.score(texts, labels) > 0.9
    assert cross_val_score(make_pipeline(classifier), texts, labels, cv=2).mean() > 0.9
    calibrated = CalibratedClassifierCV(classifier, cv=2, ensemble=False).fit(texts, labels)
    assert calibrated.score(texts, labels) > 0.9
    assert not os.listdir(tmp_path)
