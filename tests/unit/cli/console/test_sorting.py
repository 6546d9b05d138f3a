"""A list is sorted by what its address says."""

from rolekeeper_cli.console.page import Sort

COLUMNS = {"name": lambda row: row[0], "size": lambda row: row[1]}
ROWS = [("b", 1), ("a", 2), ("c", 1)]


def test_an_address_without_an_order_or_by_an_unknown_column_keeps_the_lists_own() -> None:
    for text in ("", "-", "nothing", "-nothing"):
        assert Sort.read(text, COLUMNS).ordered(ROWS, COLUMNS) == ROWS


def test_equal_rows_stay_in_the_lists_own_order_both_ways() -> None:
    assert Sort.read("size", COLUMNS).ordered(ROWS, COLUMNS) == [("b", 1), ("c", 1), ("a", 2)]
    assert Sort.read("-size", COLUMNS).ordered(ROWS, COLUMNS) == [("a", 2), ("b", 1), ("c", 1)]


def test_a_press_on_a_head_sorts_up_then_down_then_not_at_all() -> None:
    turns, asked = [], ""
    for _ in range(3):
        asked = Sort.read(asked, COLUMNS).following("name")
        turns.append((asked, Sort.read(asked, COLUMNS).aria("name")))
    assert turns == [("name", "ascending"), ("-name", "descending"), ("", "")]


def test_a_press_on_another_head_begins_with_that_one() -> None:
    assert Sort.read("-name", COLUMNS).following("size") == "size"
    assert str(Sort.read("-name", COLUMNS)) == "-name"
