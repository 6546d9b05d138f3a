"""What an instance's page draws: its timeline, and its roles on a line of time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from rolekeeper_cli.instance.history import Span
from rolekeeper_cli.instance.page import grouped, lane
from rolekeeper_cli.instance.view import AnswerView, CallView, EntryView, RoleUseView, SeenView, UseStatus
from support.views import view_with

WEB, DB = (f"arn:aws:iam::123456789012:instance-profile/rolekeeper/{each}" for each in ("web", "db"))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


# ---- the timeline ----


def entry(action: str = "Attach", code: str = "unoccupied", outcome: str = "done", at: str = "") -> EntryView:
    return view_with(EntryView, action=action, code=code, outcome=outcome, at=at, answer=AnswerView())


def test_entries_of_the_same_kind_in_a_row_are_one_line() -> None:
    waits = [entry("Wait", code="stopped", at=str(each)) for each in range(3)]
    attach, refused = entry(), entry(outcome="refused")
    assert grouped([*waits, attach, refused, waits[0]]) == [waits, [attach], [refused], [waits[0]]]


# ---- the line of time ----


def held(arn: str, **known: Any) -> RoleUseView:
    name = arn.rpartition("/")[2]
    return view_with(RoleUseView, **{"role": name, "instance_profile": name, "carried": True, **known})


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def drawn(*roles: RoleUseView, spans: Sequence[Span] = (), past: str = "") -> Any:
    return lane(spans, roles, NOW, past=past)


def bars(row: Any) -> list[tuple[str, float, float]]:
    return [(each.kind, each.x, each.width) for each in row.bars]


def marks(row: Any) -> list[tuple[str, float]]:
    return [(each.kind, each.x) for each in row.marks]


def use(hours: float) -> CallView:
    return view_with(CallView, at=ago(hours))


def test_a_replace_is_drawn_from_just_before_it_until_the_last_credentials_expire() -> None:
    """From 9:45 to 13:45: a quarter of an hour is 6.25 percent."""
    db = held(DB, since=ago(2), delivered_at=ago(1.75), first_use=use(1.5), last_use=use(0.25))
    web = held(WEB, carried=False, since=ago(72), until=ago(2), last_use=use(1), valid_until=ago(-1.75))
    shown = drawn(db, web)
    assert (shown["begin"], shown["end"], shown["now"]) == (ago(2.25), ago(-1.75), 56.25)
    carried, former = shown["rows"]
    assert bars(carried) == [("ours", 6.25, 50.0)]
    assert marks(carried) == [("attached", 6.25), ("delivered", 12.5), ("first", 18.75), ("last", 50.0)]
    assert bars(former) == [("ours", 0.0, 6.25), ("valid", 6.25, 93.75)]
    assert marks(former) == [("still", 31.25)], "it was attached before"
    assert shown["kinds"] == {"ours", "valid", "attached", "delivered", "first", "last", "still"}
    assert [each["text"] for each in shown["hours"]] == ["10:00", "11:00", "12:00", "13:00"]


def test_where_nothing_changed_it_is_the_last_day() -> None:
    shown = drawn(held(DB, since=ago(72), delivered_at=ago(25), last_use=use(1)))
    assert (shown["begin"], shown["end"], shown["now"]) == (ago(24.25), NOW, 100)
    [row] = shown["rows"]
    assert bars(row) == [("ours", 0, 100)]
    assert marks(row) == [("last", 95.88)], "the delivery was before"


@pytest.mark.parametrize(
    ("past", "hours", "texts"),
    [
        ("1h", 1, ["11:15", "11:30", "11:45"]),
        ("24h", 24, ["16:00", "20:00", "00:00", "04:00", "08:00"]),
        ("30d", 720, ["Feb 4", "Feb 9", "Feb 14", "Feb 19", "Feb 24"]),
        ("soon", 2.25, ["10:00", "10:30", "11:00", "11:30"]),
    ],
)
def test_an_address_says_how_much_of_the_past_is_shown(past: str, hours: float, texts: list[str]) -> None:
    shown = drawn(held(DB, since=ago(2)), past=past)
    assert (shown["begin"], shown["end"]) == (ago(hours), NOW)
    assert [each["text"] for each in shown["hours"]] == texts


def test_by_the_history_alone_it_shows_which_role_it_carried_and_who_attached_it() -> None:
    """From 5:45 on; another actor replaced db at some time between 8 and 9."""
    spans = (
        Span(DB, ago(6), after=ago(6), before_end=ago(4), until=ago(3), mapping="app=db"),
        Span("theirs", after=ago(4), until=ago(1)),
        Span(WEB, ago(1), after=ago(1), carried=True, mapping="app=web"),
    )
    rows = {row.role: row for row in drawn(spans=spans)["rows"]}
    assert list(rows) == ["web", "theirs", "db"], "what it carries first, then the last former one"
    assert [row.carried for row in rows.values()] == [True, False, False]
    assert [bars(each) for each in rows.values()] == [
        [("ours", 84.0, 16.0)],
        [("others", 52.0, 32.0)],
        [("ours", 4.0, 48.0)],
    ]
    assert [each.mapping for each in rows["web"].bars] == ["app=web"]
    assert marks(rows["theirs"]) == []


def test_a_role_that_it_carried_twice_has_one_row_and_cloudtrail_speaks_of_the_last_time() -> None:
    spans = (Span(WEB, ago(5), until=ago(4)), Span(DB, ago(4), until=ago(2)), Span(WEB, ago(2), carried=True))
    web, _ = drawn(held(WEB, since=ago(2), delivered_at=ago(1)), spans=spans)["rows"]
    assert [kind for kind, *_ in bars(web)] == ["ours", "ours"]
    assert [kind for kind, _ in marks(web)] == ["attached", "attached", "delivered"]


def test_what_ended_before_the_time_shown_isnt_drawn() -> None:
    spans = (Span(WEB, ago(5), until=ago(4)), Span(DB, ago(4), carried=True))
    assert [row.role for row in drawn(spans=spans, past="1h")["rows"]] == ["db"]


@pytest.mark.parametrize(("denied", "hours"), [(ago(0.5), 0.5), (datetime.max.replace(tzinfo=UTC), 1)])
def test_what_is_cut_off_ends_when_it_was_denied(denied: datetime, hours: float) -> None:
    """Or now, at the latest: a person may deny what is to come."""
    web = held(
        WEB,
        carried=False,
        since=ago(2),
        until=ago(1),
        valid_until=ago(-5),
        denied_before=denied,
        status=UseStatus.CUT_OFF,
    )
    shown = drawn(held(DB, since=ago(1)), web)
    assert shown["end"] == NOW
    [_, (_, _, width)] = bars(shown["rows"][1])
    assert width == pytest.approx(100 * hours / 2.25, abs=0.1)


def test_one_call_has_one_mark() -> None:
    [row] = drawn(held(DB, since=ago(1), first_use=use(0.5), last_use=use(0.5)))["rows"]
    assert [kind for kind, _ in marks(row)] == ["attached", "first"]


def test_what_another_actor_replaced_ends_with_its_last_delivery_where_the_next_begins() -> None:
    web = held(WEB, carried=False, delivered_at=ago(3), valid_until=ago(-3))
    carried, former = drawn(held(DB), web, past="6h")["rows"]
    assert bars(former) == [("others", 0, 33.33), ("valid", 33.33, 66.67)]
    assert bars(carried) == [("others", 33.33, 33.34)]


@pytest.mark.parametrize(
    "role",
    [
        held(DB, since=ago(-0.05)),
        held(WEB, carried=False, since=ago(1), valid_until=ago(-5)),
        held(WEB, carried=False, since=ago(1), delivered_at=ago(2), valid_until=ago(-4)),
        held(WEB, carried=False, until=ago(1), valid_until=ago(2)),
    ],
    ids=["attached by a clock ahead", "taken nobody knows when", "delivered before only", "expired before"],
)
def test_no_bar_ends_before_it_begins(role: RoleUseView) -> None:
    [row] = drawn(role)["rows"]
    assert all(each.width >= 0 for each in row.bars)
    assert all(after.x >= before.x for before, after in pairwise(row.bars))


@pytest.mark.parametrize("minutes", [1, 20, 50, 150, 350])
def test_there_is_room_for_each_time_that_is_written(minutes: int) -> None:
    for end in (0, 2, 6):
        taken = held(WEB, carried=False, until=ago(minutes / 60), valid_until=ago(-end))
        places = [each["x"] for each in drawn(taken)["hours"]]
        assert 1 <= len(places) <= 7
        assert min(places) >= 6
        assert max(places) <= 94
        assert all(after - before > 12 for before, after in pairwise(places))


def saw(hours: float, mapping: str = "app=web", revision: int = 1, code: str = "differs", **tags: str) -> EntryView:
    seen = view_with(SeenView, tags=tags)
    known = {"mapping": mapping, "revision": revision, "code": code, "reason": "the pin was set"}
    return view_with(EntryView, at=ago(hours).isoformat(), seen=seen, answer=AnswerView(), **known)


def test_what_people_did_is_marked_where_it_was_seen_first() -> None:
    entries = [
        saw(1, revision=2, app="web", env="prod"),
        saw(2, "the pin", 0, "pin-set", app="web", env="prod"),
        saw(3, "the pin", 0, app="web", env="prod"),
        saw(4, app="web"),
        saw(30, revision=1, app="web"),
    ]
    shown = lane([], [], NOW, entries=entries)
    assert [(each.kind, each.mapping) for each in shown["acts"]] == [
        ("tag", "env: none → prod"),
        ("pin", "the pin was set"),
        ("edit", "app=web, revision 2"),
    ]
    assert shown["begin"] == ago(3.25), "it begins before them"
    assert shown["kinds"] == {"tag", "pin", "edit"}, "each has its legend"
