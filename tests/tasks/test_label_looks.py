import re

import pytest

from bert_ft.tasks.label_looks import label_warnings, look_of, refused_look


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["0.8", "3.6", "4.9"],
            "3 different decimals from 0.8 to 4.9, which look like scores; here each of them is a class of its own. "
            "For scores type task=regression",
        ),
        ([str(i) for i in range(1, 8)], "7 whole numbers from 1 to 7"),
        (["a;b", "a", "b", "c"], "labels such as 'a;b' look like several labels for one row"),
        (["a, b", "b, c", "c, a"], "labels such as 'a, b' look like several labels"),
        (["neg", "pos"], None),
        (["0", "1"], None),
        (["business/tech", "sports"], None),
        (["nan", "1.5", "2"], None),
    ],
)
def test_looks(names, said):
    found = look_of(names)
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({str(i): 1 for i in range(80)}, "80 classes for 80 rows: is that the label? Set data.label_column"),
        ({"neg": 20, "Neg": 3, "pos": 20}, "'neg' (20 rows), 'Neg' (3 rows)"),
        (
            {"x": 95, "y": 5},
            "rare classes: 'y' 5.0% of the training rows; always predicting 'x' is right for 95.0%",
        ),
        ({"x": 95, "y": 5}, ": loss.class_weights=balanced objective.metric=val/f1_macro"),
    ],
)
def test_warnings_on_training_rows(train, said):
    assert any(said in warning for warning in label_warnings({"train": train}, ()))


def test_balanced_classes_give_none():
    assert list(label_warnings({"train": {f"c{i}": 50 for i in range(20)}}, ())) == []


def test_few_validation_rows():
    counts = {"train": {"x": 90, "y": 40}, "validation": {"x": 10, "y": 5}}
    test = {"test": {"x": 900, "y": 900}}  # a file of its own, from which none can be set aside
    (cut,) = label_warnings(counts | test, ("validation",))
    assert cut.endswith(
        "fewer than 10 validation rows: 'y' 5; their score is uncertain: data.validation_ratio=0.25"
    )
    (given,) = label_warnings(counts, ())
    assert given.endswith("more rows of these classes would help")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            {str(i): 2 for i in range(38)},
            "38 different whole numbers in 76 rows, .*type task=regression .*task=ordinal",
        ),
        ({f"{i}.5": 5 for i in range(10)}, "10 different decimals in 50 rows"),
        ({f"{i}.5": 500 for i in range(20)}, "20 different decimals"),
        (
            {'["a", "b"]': 5, '["a"]': 5, "b": 3},
            r'labels such as \["a", "b"\] are lists of labels; type task=multi_label',
        ),
        ({str(i): 5 for i in range(77)}, None),  # numbers of classes
        ({f"{i}.5": 50 for i in range(10)}, None),
        ({"1.0": 12, "2.0": 12, "3.0": 12}, None),
        ({"0": 1, "1": 1}, None),
        ({"a;b": 1, "a": 1}, None),
    ],
)
def test_what_stops_the_default_task(counts, said):
    found = refused_look(counts)
    assert found is None if said is None else re.search(said, found)
    assert list(label_warnings({"train": counts}, (), accept=True)) == [
        each
        for each in label_warnings({"train": counts}, ())
        if "type task" not in each and "task=multi_label" not in each
    ]
