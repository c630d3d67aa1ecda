"""The one printer of tables."""

from __future__ import annotations

from locum.cli.tables import table


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() -> None:
    assert table([("ID", "NAME"), ("key_1", ""), ("k", "mine")]) == "ID     NAME\nkey_1\nk      mine"


def test_last_columns_can_be_aligned_to_the_right() -> None:
    assert table([("DAY", "HOURS", "CELLS"), ("1", "2", "30")], right=2) == "DAY  HOURS  CELLS\n1        2     30"


def test_lines_can_be_indented() -> None:
    assert table([("a", "b"), ("long", "c")], indent=2) == "  a     b\n  long  c"
