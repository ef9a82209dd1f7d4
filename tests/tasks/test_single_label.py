import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import log_loss

from bert_ft.errors import ConfigError, DataError
from bert_ft.tasks.single_label import SingleLabel


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        ([10, 9, 100], ("9", "10", "100")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["10", "09"], ("09", "10")),  # 09 isn't how 9 is written
        (["10", "9", "-0"], ("-0", "10", "9")),
    ],
)
def test_names_are_sorted_as_numbers_only_if_all_are(values, names):
    assert SingleLabel().fitted(values).names == names


def test_encode_is_the_inverse_of_the_names():
    rng = np.random.default_rng(0)
    values = [f"c{i}" for i in rng.integers(0, 30, 500)]
    labels = SingleLabel().fitted(values)
    ids = labels.encode(pa.chunked_array([values[:100], values[100:]]))
    assert ids.dtype == np.int64
    assert [labels.names[i] for i in ids] == values
    assert labels.encode(values).tolist() == [labels.config_entries()["label2id"][value] for value in values]
    entries = labels.config_entries()
    assert all(entries["id2label"][i] == name for name, i in entries["label2id"].items())


def test_one_class_is_an_error():
    with pytest.raises(DataError, match=r"train\.csv: all labels are 'x'; .*two classes"):
        SingleLabel().fitted(["x", "x"], "train.csv")


def test_unknown_label_is_an_error_with_origin_row_and_known_labels():
    labels = SingleLabel().fitted(["a", "b"])
    with pytest.raises(DataError, match=r"test\.csv, row 7: label 'B' .*known are a, b"):
        labels.encode(["a", "B"], origin="test.csv", rows=np.array([3, 7]))


def test_class_weights():
    task, targets = SingleLabel(("a", "b")), np.array([0, 0, 0, 1])
    assert task.class_weights("balanced", targets) == pytest.approx([4 / 6, 4 / 2])
    assert task.class_weights([1, 3.5], targets) == [1, 3.5]
    with pytest.raises(ConfigError, match=r"loss\.class_weights=\[1\]: 1 weights for the 2 labels a, b"):
        task.class_weights([1], targets)
    with pytest.raises(ConfigError, match=r"loss\.class_weights=balanced: label 1 has 0 training rows"):
        task.class_weights("balanced", targets[:3])


def test_a_split_is_counted_by_class():
    task = SingleLabel(("a", "b", "c"))
    summary = task.summary(np.array([2, 0, 2]))
    assert summary == {"a": 1, "b": 0, "c": 2}
    assert list(task.summary_warnings(summary)) == ["no row of b"]
    assert list(task.summary_warnings({"a": 1, "b": 1, "c": 1})) == []


def test_targets_are_their_own_strata_and_keys():
    task, targets = SingleLabel(("a", "b", "c")), np.array([2, 0, 2, 1])
    assert task.strata(targets).tolist() == targets.tolist()
    keys = task.target_keys(targets)
    assert (keys[:, None] == keys).tolist() == (targets[:, None] == targets).tolist()


def test_predictions_are_the_most_probable_class_and_its_probability():
    logits = torch.tensor([[0.0, 2.0], [3.0, -1.0]], dtype=torch.bfloat16)
    task = SingleLabel(("no", "yes"))
    outputs = task.outputs(logits)
    assert outputs.dtype == torch.float32
    columns = task.decode(outputs.numpy())
    assert tuple(columns) == task.prediction_columns
    assert columns["prediction"] == ["yes", "no"]
    np.testing.assert_allclose(
        columns["probability"], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-4))], rtol=1e-6
    )


def test_metrics_and_objectives_have_the_same_names():
    """And the plain loss is scikit-learn's log loss."""
    task = SingleLabel(("a", "b", "c"))
    assert {*task.metrics(), "loss"} == set(task.objectives)
    logits, labels = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 3
    expected = log_loss(labels, logits.softmax(1), labels=[0, 1, 2])
    assert float(task.plain_loss(logits, labels)) == pytest.approx(expected)
    assert float(task.row_losses(logits, labels).mean()) == pytest.approx(expected)


def flags(**columns):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return pa.chunked_array([pa.array(rows, pa.struct([(name, pa.float64()) for name in columns]))])


def test_columns_with_one_1_each_are_classes():
    labels = flags(a=[1, 0, 0], b=[0, 1, 0], c=[0, 0, 1])
    task = SingleLabel().fitted(labels)
    assert type(task) is SingleLabel
    assert task.encode(labels).tolist() == [0, 1, 2]
    several = flags(a=[1, 0, 1], b=[0, 0, 1])
    with pytest.raises(
        DataError, match=r"2 of 3 rows \(the first is row 2\).*task=multi_label 'data\.label_column=\[a,b\]'"
    ):
        SingleLabel().fitted(several)
    assert SingleLabel(accept=True).fitted(several).names == ("a", "a+b", "none")


def test_lists_and_scores_are_refused_unless_accepted():
    with pytest.raises(DataError, match=r"row 1, column 'x': .* is a list of labels; type task=multi_label"):
        SingleLabel().reader.read(["a", "b"], "row 1, column 'x'")
    assert SingleLabel(accept=True).reader.read(["a", "b"], "") == '["a", "b"]'
    scores = [f"{i / 7:.3f}" for i in range(30)]
    with pytest.raises(DataError, match=r"t\.csv: the labels are 30 different decimals in 30 rows"):
        SingleLabel().fitted(scores, "t.csv")
    assert len(SingleLabel(accept=True).fitted(scores).names) == 30
    assert SingleLabel(accept=True).settings() == {}
