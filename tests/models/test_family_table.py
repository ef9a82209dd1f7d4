"""The page on families says what the table says."""

from .family_table import PAGE, page


def test_the_page_is_what_the_table_gives():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.models.family_table"
