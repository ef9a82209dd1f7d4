"""What ``bert_ft`` promises: names that are there, typed, documented with an example that runs, and loaded late."""

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

import bert_ft
from tests.api.conftest import WORDS

HEAVY = (
    "torch",
    "lightning",
    "hydra",
    "omegaconf",
    "optuna",
    "transformers",
    "sklearn",
    "pandas",
    "numpy",
    "datasets",
)
CLASSES = (bert_ft.Model, bert_ft.Classifier, bert_ft.ClassificationModule, bert_ft.TextDataModule)
# public of a class of Lightning, not of ours
OF_LIGHTNING = (bert_ft.ClassificationModule, bert_ft.TextDataModule)
EXAMPLES = [bert_ft.load, bert_ft.fine_tune, bert_ft.run_search, *CLASSES]


def test_importing_the_package_loads_nothing_heavy():
    script = (
        f"import sys, bert_ft; print([name for name in {HEAVY} if name in sys.modules], len(dir(bert_ft)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")


def test_every_promised_name_is_there():
    assert set(bert_ft.__all__) <= set(dir(bert_ft))
    for name in bert_ft.__all__:
        assert getattr(bert_ft, name).__doc__
    with pytest.raises(AttributeError, match="it has ClassificationModule, Classifier"):
        bert_ft.classifier  # noqa: B018
    # the names that a type checker sees are those that are loaded
    tree = ast.parse(Path(bert_ft.__file__).read_text("utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in typed.body for alias in node.names}
    assert seen == bert_ft._MODULES | {"callbacks": "bert_ft"}
    assert set(seen) == set(bert_ft.__all__)


def own_methods(cls):
    return [
        member
        for name, member in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_") and inspect.unwrap(member).__module__.startswith("bert_ft.")
    ]


@pytest.mark.parametrize("found", [bert_ft.load, bert_ft.fine_tune, bert_ft.run_search, *CLASSES])
def test_every_promised_name_is_typed_and_has_an_example(found):
    methods = own_methods(found) if found in CLASSES and found not in OF_LIGHTNING else []
    if found in OF_LIGHTNING:
        methods = [member for member in own_methods(found) if member.__name__.startswith("from_")]
    for each in (found, *methods):
        assert "Example:" in inspect.getdoc(each), each
        signature = inspect.signature(each.__init__ if inspect.isclass(each) else each)
        parameters = [value for name, value in signature.parameters.items() if name != "self"]
        assert all(value.annotation is not inspect.Parameter.empty for value in parameters), each


@pytest.fixture
def examples(workplace):
    """The names that the examples use, in a folder with what they read."""
    import lightning

    files = ["data=files", "data.train_file=reviews.csv"]
    encoder = ["encoder=any", "encoder.name_or_path=tiny_encoder"]
    run = bert_ft.fine_tune([*files, *encoder, *WORDS], folder="outputs/reviews")
    frame = pandas.read_csv("reviews.csv")
    settings = {
        "optimizer.lr": 3e-3,
        "optimizer.head_lr": None,
        "trainer.max_epochs": 3,
        "data.max_length": 32,
    }
    module = bert_ft.ClassificationModule.from_pretrained("tiny_encoder", labels=["negative", "positive"])
    return {
        "bert_ft": bert_ft,
        "pandas": pandas,
        "lightning": lightning,
        "model": run.model,
        "frame": frame,
        "texts": frame["text"].tolist(),
        "labels": frame["label"].tolist(),
        "tokenizer": module.tokenizer,
        "settings": [*encoder, *WORDS],
        "classifier": bert_ft.Classifier("tiny_encoder", **settings).fit(frame),
        "quiet": {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"},
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_examples_run(examples):
    finder, runner = doctest.DocTestFinder(recurse=True), doctest.DocTestRunner()
    tests = [
        test
        for each in EXAMPLES
        for test in finder.find(each, each.__qualname__, module=inspect.getmodule(each), globs=examples)
        if test.examples
    ]
    assert len(tests) > 15
    failed = []
    for test in tests:
        runner.run(test, out=failed.append)
    assert not failed, "".join(failed)
