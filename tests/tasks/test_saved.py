"""What a saved folder says of its task, and what becomes of it."""

from dataclasses import dataclass

import pytest

from bert_ft.errors import CheckpointError, ConfigError
from bert_ft.tasks.saved import described, restored, task_class
from bert_ft.tasks.single_label import SingleLabel


@dataclass(frozen=True)
class Ranked(SingleLabel):
    order: tuple[str, ...] = ()


def test_a_task_of_the_package_is_named_for_good():
    task = SingleLabel(("a", "b"))
    assert described(task) == {"name": "single_label"}
    assert restored(described(task), ["a", "b"]) == task


def test_one_of_the_users_own_is_named_by_its_class_with_its_settings(monkeypatch):
    task = Ranked(("a", "b"), order=("b", "a"))
    target = f"{__name__}.Ranked"
    assert described(task) == {"name": "single_label", "_target_": target, "order": ["b", "a"]}
    again = restored(described(task), ["a", "b"], trust=[target])
    assert (type(again), again.names, list(again.order)) == (Ranked, ("a", "b"), ["b", "a"])
    with pytest.raises(ConfigError, match=r"isn't among the trusted classes"):
        restored(described(task), ["a", "b"])


def test_what_this_version_lacks_is_named():
    with pytest.raises(CheckpointError, match="task=tagging: unknown; this version has single_label"):
        restored({"name": "tagging"}, ["a"])
    with pytest.raises(CheckpointError, match=r"task=single_label: .*color"):
        restored({"name": "single_label", "color": 1}, ["a"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bert_ft.tasks.nothing.At", "No module named"),
        ("bert_ft.tasks.single_label.None_", "has no attribute"),
        ("bert_ft.trust.is_trusted", "isn't a class derived from"),
        ("bert_ft", "isn't among the trusted classes"),
    ],
)
def test_what_is_no_task_is_refused(target, message):
    with pytest.raises(ConfigError, match=message):
        task_class(target)
