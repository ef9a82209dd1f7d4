import pytest

from bert_ft.tasks.label_looks import label_warnings, look_of


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["0.8", "3.6", "4.9"],
            "3 different decimals from 0.8 to 4.9, which looks like a score; here each is a class of its own. For a score type task=regression",
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
    (cut,) = label_warnings(counts, ("validation",))
    assert cut.endswith(
        "fewer than 10 validation rows: 'y' 5; their score is uncertain: data.validation_ratio=0.25"
    )
    (given,) = label_warnings(counts, ())
    assert given.endswith("more rows of these classes would help")
