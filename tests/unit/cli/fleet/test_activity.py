"""What happened over time, of some targets: the worst of each time, gaps where nobody looked, and changes by kind."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.account import HOME
from fixtures.mappings import Desk
from rolekeeper.model.instance import Target
from rolekeeper.storage import Update, layout
from rolekeeper_cli.aws.deployment import Deployment
from rolekeeper_cli.fleet.activity import DAY, MONTH, Hours, Point, Span, changed, read, stood
from rolekeeper_cli.options import Options

NOW = datetime(2026, 3, 1, 9, 20, tzinfo=UTC)
HOLDS = timedelta(minutes=30)


def before(**ago: float) -> datetime:
    return NOW - timedelta(**ago)


def swept(*sweeps: tuple[datetime, dict[str, int]]) -> Hours:
    return Hours([(at, Counter(stands)) for at, stands in sorted(sweeps, key=lambda each: each[0])], {})


def seen(points: list[Point]) -> dict[str, dict[str, int]]:
    """What is known, by the time of day."""
    return {f"{each.at:%H:%M}": dict(each.counts) for each in points if each.counts is not None}


def test_what_a_sweep_saw_holds_until_the_next_one_and_after_two_intervals_is_a_gap() -> None:
    of = swept((before(hours=3), {"ok": 3}), (before(hours=2), {"ok": 2}))
    points = stood([of], DAY, NOW, holds=HOLDS)
    assert seen(points) == {
        "06:15": {"ok": 3},
        "06:30": {"ok": 3},
        "06:45": {"ok": 3},
        "07:15": {"ok": 2},
        "07:30": {"ok": 2},
        "07:45": {"ok": 2},
    }
    assert (points[0].at, points[-1].at) == (datetime(2026, 2, 28, 9, 30, tzinfo=UTC), NOW.replace(minute=15))


def test_what_was_seen_shortly_before_the_first_point_is_known_there() -> None:
    (first, *rest) = stood([swept((before(hours=24), {"ok": 1}))], DAY, NOW, holds=HOLDS)
    assert first.counts == {"ok": 1}
    assert len([each for each in rest if each.counts]) == 1


@pytest.mark.parametrize("span", [DAY, MONTH])
def test_however_much_is_known_a_plot_has_a_hundred_points_or_some_more(span: Span) -> None:
    each_minute = swept(*((before(minutes=number), {"ok": 1}) for number in range(5_000)))
    assert 90 < len(stood([each_minute], span, NOW, holds=HOLDS)) <= 120


def test_a_point_shows_its_worst_sweep_so_no_peak_is_lost() -> None:
    calm, bad = {"ok": 9, "foreign": 90}, {"ok": 60, "drift": 30, "foreign": 9}
    of = swept(*((before(minutes=number), bad if number == 77 else calm) for number in range(600)))
    points = stood([of], MONTH, NOW, holds=HOLDS)
    assert [each.counts for each in points if each.counts] == [calm, calm, bad], "six hours each"


def test_after_a_peak_what_holds_is_what_was_seen_last() -> None:
    of = swept((before(minutes=60), {"drift": 5}), (before(minutes=56), {"ok": 5}))
    assert seen(stood([of], DAY, NOW, holds=HOLDS)) == {"08:15": {"drift": 5}, "08:30": {"ok": 5}, "08:45": {"ok": 5}}


def test_targets_are_added_up_as_far_as_they_are_known() -> None:
    one = swept((before(minutes=40), {"ok": 1}), (before(minutes=10), {"ok": 1}))
    other = swept((before(minutes=10), {"ok": 1, "drift": 2}))
    points = [each for each in stood([one, other], DAY, NOW, holds=timedelta()) if each.counts]
    assert [(each.counts, each.targets) for each in points] == [({"ok": 1}, 1), ({"ok": 2, "drift": 2}, 2)]


def test_changes_are_added_up_by_hour_or_day_and_an_hour_that_nobody_wrote_of_is_a_gap() -> None:
    hours = [before(hours=number).replace(minute=0) for number in (0, 1, 30)]
    of = Hours([], {hours[0]: Counter(attached=2), hours[1]: Counter(), hours[2]: Counter(attached=1, refused=1)})
    by_hour = changed([of, of], DAY, NOW)
    assert len(by_hour) == 24
    assert [each.counts for each in by_hour[-3:]] == [None, {}, {"attached": 4}]
    by_day = [each.counts for each in changed([of], MONTH, NOW)]
    assert by_day[-3:] == [None, {"attached": 1, "refused": 1}, {"attached": 2}]


@pytest.mark.usefixtures("terminal")
def test_a_day_of_a_target_is_one_query(desk: Desk) -> None:
    state, now, other = desk.world.state, desk.world.clock.now(), Target("111111111111", "eu-west-1")
    for target in (HOME, other):
        update = Update().set({f"{layout.SWEPT}00": {"ok": 3}}).add("Attach", 2).add("refused", 1)
        state.note_activity(target, update, now)
        state.note_activity(target, Update().add("Attach", 9), now - timedelta(days=2))
    desk.world.calls.clear()
    found = read(Deployment(Options(region="us-east-1")), [HOME, other], DAY)
    assert desk.world.calls["Query"] == 2
    assert (found.stood[-1].counts, found.stood[-1].targets) == ({"ok": 6}, 2)
    assert sum((each.counts for each in found.changed if each.counts), Counter()) == {"attached": 4, "refused": 2}
