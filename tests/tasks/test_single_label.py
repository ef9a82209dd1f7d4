import numpy as np
import pyarrow as pa
import pytest

from bert_ft.errors import DataError
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
