from bert_ft.nested import walk
from bert_ft.trust import targets


def test_each_entry_comes_before_what_is_inside_it():
    node = {"a": {"b": 1}, "c": [{"d": 2}, 3], "e": {}}
    assert list(walk(node)) == [
        ("a", {"b": 1}),
        ("a.b", 1),
        ("c", [{"d": 2}, 3]),
        ("c.0", {"d": 2}),
        ("c.0.d", 2),
        ("c.1", 3),
        ("e", {}),
    ]


def test_what_is_no_mapping_has_no_entries():
    assert list(walk("text")) == list(walk(None)) == []


def test_targets_that_are_given_as_they_are():
    node = {
        "a": {"_target_": "x.Y"},
        "b": [{"_target_": "???"}, {"_target_": "${a._target_}"}, {"_target_": 3}],
    }
    assert list(targets(node)) == [("a._target_", "x.Y")]
