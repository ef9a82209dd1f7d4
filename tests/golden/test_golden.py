"""The numbers of short runs are those of the golden record (``record.py`` says how it was made)."""

from pathlib import Path

import pytest

from tests import commands
from tests.golden.cases import CASES
from tests.golden.commands import environment, surroundings
from tests.golden.comparison import differences
from tests.golden.record import check, read_record
from tests.golden.runs import run_case


@pytest.fixture(scope="module")
def record():
    return read_record()


@pytest.fixture(scope="module")
def fingerprint(tmp_path_factory):
    return surroundings(tmp_path_factory.mktemp("surroundings"))["fingerprint"]


def run_here(arguments: list[str], folder: Path) -> None:
    _, module, *words = arguments
    done = commands.run(module, *words, cwd=folder, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_run_gives_the_recorded_numbers(name, record, fingerprint, tmp_path, record_property, monkeypatch):
    monkeypatch.setattr("tests.golden.runs.run", run_here)
    checked, found = check(name, run_case(name, tmp_path), record, fingerprint)
    record_property("golden", f"{name} was compared {checked}")  # printed at the end: tests/conftest.py
    assert not found, "\n".join([f"compared {checked}:", *found])


def test_every_case_is_on_record(record):
    assert list(record["cases"]) == list(CASES)


RECORDED = {"losses": [1.5, 0.1], "metrics": {"val": {"accuracy": 0.5}}, "weights": "0" * 64, "labels": ["a"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"losses": [1.5, 0.10000000000000002]},
            "losses[1]: 0.1 is recorded, and 0.10000000000000002 was found",
        ),
        ({"losses": [1.5]}, "losses: 2 values are recorded, and 1 were found"),
        ({"metrics": {"val": {}}}, "metrics/val/accuracy: 0.5 is recorded, and nothing was found"),
        ({"weights": "1" * 64}, f"weights: {'0' * 64!r} is recorded, and {'1' * 64!r} was found"),
        ({"labels": ["b"]}, "labels[0]: 'a' is recorded, and 'b' was found"),
        ({"losses": [1.5, float("nan")]}, "losses[1]: 0.1 is recorded, and nan was found"),
        ({"metrics": None}, "metrics: {'val': {'accuracy': 0.5}} is recorded, and None was found"),
    ],
)
def test_each_difference_is_found(change, message):
    assert list(differences(RECORDED, RECORDED | change, None)) == [message]


def test_equal_and_further_values_are_no_difference():
    assert not list(differences(RECORDED, RECORDED | {"task": "single_label"}, None))


@pytest.mark.parametrize(
    ("change", "num_differences"),
    [
        ({"losses": [1.5 + 9e-6, 0.1 - 9e-6], "weights": "1" * 64}, 0),
        ({"losses": [1.5 + 2e-5, 0.1 - 2e-5]}, 2),
        ({"losses": [1.5, float("nan")]}, 1),
        ({"labels": ["b"]}, 1),
    ],
)
def test_tolerance_is_of_numbers(change, num_differences):
    assert len(list(differences(RECORDED, RECORDED | change, 1e-5))) == num_differences


@pytest.mark.slow
def test_surroundings_are_of_one_thread_and_of_the_tested_package(tmp_path):
    import bert_ft

    found = surroundings(tmp_path)
    assert found["fingerprint"]["threads"] == 1
    assert Path(found["package"]).samefile(bert_ft.__file__)
