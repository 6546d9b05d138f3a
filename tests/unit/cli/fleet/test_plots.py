"""Plots as values: stacks that fit, of which nothing is too thin to be seen, with ticks that say what they are."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from rolekeeper_cli.fleet.activity import Point
from rolekeeper_cli.fleet.plots import Plot, stacked

KINDS = {"ok": "ok", "blocked": "bad"}
BEGAN = datetime(2026, 2, 28, 9, tzinfo=UTC)


def plot(*counts: dict[str, int], step: int = 1) -> Plot:
    points = [Point(BEGAN + timedelta(hours=step * number), Counter(each)) for number, each in enumerate(counts)]
    return stacked(points, KINDS, height=100, step=timedelta(hours=step))


def test_a_column_is_a_stack_in_the_order_of_its_kinds() -> None:
    (column,) = plot({"blocked": 5, "ok": 15}).columns
    assert [(each.kind, each.y, each.height) for each in column.parts] == [("ok", 25, 75), ("bad", 0, 25)]


def test_one_of_ten_thousand_is_seen_and_the_stack_stays_within_the_plot() -> None:
    (column,) = plot({"ok": 9_999, "blocked": 1}).columns
    ok, bad = column.parts
    assert bad.height > 1.5
    assert bad.y >= 0
    assert ok.y == pytest.approx(bad.y + bad.height, abs=0.02)


def test_columns_stand_side_by_side_over_the_whole_width() -> None:
    drawn = plot({}, {"ok": 1}, {}, {})
    assert [each.x for each in drawn.columns] == [0, 25, 50, 75]
    assert drawn.width == pytest.approx(25, abs=0.1)


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (0, ["0", "1", "2"]),
        (1, ["0", "1", "2"]),
        (9, ["0", "5", "10"]),
        (11, ["0", "6", "12"]),
        (390, ["0", "200", "400"]),
        (408, ["0", "250", "500"]),
        (50_000, ["0", "25,000", "50,000"]),
    ],
)
def test_the_axis_ends_at_a_round_number_whose_half_is_whole(most: int, labels: list[str]) -> None:
    assert [f"{each:,}" for each in plot({"ok": most}).levels.values()] == labels
    assert [*plot({"ok": most}).levels] == [100, 50, 0]


def texts(*counts: dict[str, int], step: int = 1) -> list[str]:
    return [each["text"] for each in plot(*counts, step=step).times]


def test_the_times_below_a_plot_are_full_hours_or_days_that_fit() -> None:
    assert texts(*[{}] * 24) == ["12:00", "16:00", "20:00", "00:00", "04:00"]
    assert texts({}) == ["09:15", "09:30", "09:45"]
    assert texts(*[{}] * 30, step=24) == ["Mar 5", "Mar 10", "Mar 15", "Mar 20", "Mar 25"]
