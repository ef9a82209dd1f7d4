"""The table of the rows with the greatest losses, as TensorBoard renders it."""

import pytest

from bert_ft.callbacks.confidence import markdown_table

from .monitored import cells

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a | b || c", "a | b || c"),
        ("ends in \\|", "ends in \\|"),
        ("two\nlines\r\nand three", "two\\nlines\\nand three"),
        ("a &#124; b & c", "a &#124; b & c"),
        ("x" * 199 + "|y", "x" * 199 + "|"),
        (None, ""),
        ("", ""),
    ],
)
def test_any_text_is_one_cell(text, shown):
    record = {"row": 3, "text": text, "label": "a|b", "prediction": "c\nd", "probability": 0.25}
    rows = cells(markdown_table([record, {**record, "row": 4}]))
    assert rows[0] == ["row", "text", "label", "prediction", "probability"]
    assert rows[1] == ["3", shown, "a|b", "c\\nd", "0.2500"]
    assert [row[0] for row in rows[1:]] == ["3", "4"]
