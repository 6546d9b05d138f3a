"""Whether software on an instance uses its roles, in the console: on a line of time, and in words."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import main as words
from fixtures.console import news
from fixtures.mappings import MappingsFixture
from fixtures.terminal import Terminal
from rolekeeper.model.instance import InstanceKey
from rolekeeper_cli.console.pages.instance_uptake import lane
from rolekeeper_cli.uses.uptake import Delivery, Held, Uptake, Use

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def one(terminal: Terminal, desk: MappingsFixture) -> str:
    """An instance that carried the role web for an hour, and carries db since a moment."""
    for role in ("web", "db"):
        desk.role(role)
        desk.world.profile(role)
        desk.edit(f"app={role}", role=role)
    one = desk.converged("web", app="web", Name="app-1")
    desk.world.wait(3600)
    terminal.trail.delivered(WEB, one)
    desk.world.wait(60)
    desk.world.tag(one, app="db")
    desk.world.reconcile(one)
    return one


def asked(browser: TestClient, instance: str) -> Response:
    """The part of the page, as htmx asks for it."""
    part = browser.get(f"/instance/{instance}/uptake", headers={"HX-Request": "true"})
    assert part.is_success
    assert "<html" not in part.text
    return part


# ---- in words ----


def test_it_says_what_was_delivered_what_is_used_and_how_to_end_a_former_role(
    browser: TestClient, terminal: Terminal, desk: MappingsFixture, one: str
) -> None:
    desk.world.wait(7)
    terminal.trail.delivered(DB, one)
    desk.world.wait(200)
    terminal.trail.called(DB, one, "ListTables", "aws-sdk-go-v2/1.39.0 os/linux", eventSource="dynamodb.amazonaws.com")
    desk.world.wait(60)
    terminal.trail.called(WEB, one, errorCode="AccessDenied")
    desk.world.wait(5)
    text = words(asked(browser, one))
    assert "db in use Attached 4 min ago" in text
    assert "Delivered EC2 got its credentials 8 s after it was attached, 4 min ago" in text
    assert "First call dynamodb:ListTables by aws-sdk-go-v2/1.39.0 , 3 min after it was attached, 1 min ago" in text
    assert "UTC) Credentials expire in 6 h" in text
    assert "web former, still used" in text
    assert "Last delivered EC2 got its credentials 5 min ago" in text
    assert "Last call sts:GetCallerIdentity by Boto3/1.40.0 , refused (AccessDenied), 5 s ago" in text
    assert text.count("Last call") == 1, "of db it is the first one"
    assert f"UTC) at the latest To end that now rolekeeper revoke {one} --role web" in text
    assert "isn't unused: calls on the data of services" in text
    assert "Not all calls were looked through" not in text


def test_what_isnt_seen_is_said_with_since_when(browser: TestClient, desk: MappingsFixture, one: str) -> None:
    desk.world.wait(300)
    text = words(asked(browser, one))
    assert "db not seen Attached 5 min ago" in text
    assert "Calls None seen since it was attached, and no delivery web former, may still be used" in text
    assert "Calls None seen since it was taken away Credentials expire in 6 h" in text


def test_of_a_role_attached_long_ago_the_past_hours_are_looked_at(
    browser: TestClient, desk: MappingsFixture, one: str
) -> None:
    desk.world.later(days=3)
    since = desk.world.clock.now() - timedelta(hours=6, minutes=45)
    assert f"Calls None seen since {since:%Y-%m-%d %H:%M} UTC, and no delivery" in words(asked(browser, one))


def test_that_older_calls_werent_looked_through_is_said_where_a_former_role_may_have_made_them(
    browser: TestClient, terminal: Terminal, desk: MappingsFixture, one: str
) -> None:
    desk.world.wait(30)
    for _ in range(30):
        terminal.trail.called(DB, one)
    desk.world.wait(30)
    assert "Not all calls were looked through; older ones may" in words(asked(browser, one))


@pytest.mark.parametrize(
    ("name", "action", "said"),
    [
        ("LookupEvents", "cloudtrail:LookupEvents", "db unknown Attached 5 min ago"),
        ("GetInstanceProfile", "iam:GetInstanceProfile on", ""),
    ],
)
def test_a_missing_permission_is_named_beside_what_is_known_without_it(
    browser: TestClient, desk: MappingsFixture, one: str, name: str, action: str, said: str
) -> None:
    desk.world.wait(300)
    desk.world.calls.before(name, refusing("AccessDeniedException", "no"))
    text = words(asked(browser, one))
    assert f"Whether software uses a role isn't known: you aren't allowed {action}" in text
    assert said in text
    assert "None seen" not in text, "nobody looked"


def test_one_without_a_role_says_so(browser: TestClient, desk: MappingsFixture) -> None:
    text = words(asked(browser, desk.world.running()))
    assert text == "It carries no role, and no credentials of a former one are valid."


def test_what_others_named_is_text(browser: TestClient, terminal: Terminal, desk: MappingsFixture, one: str) -> None:
    desk.world.tag(one, Name="<b>app</b>")
    desk.world.wait(5)
    terminal.trail.called(DB, one, agent="<script>alert(1)</script>\u202e", errorCode="<i>")
    page = browser.get(f"/instance/{one}/uptake")
    assert "by <code>&lt;script&gt;alert(1)&lt;/script&gt;\\u202e</code>, refused (&lt;i&gt;)" in page.text
    assert "<h1>Does software use it: &lt;b&gt;app&lt;/b&gt;</h1>" in page.text


# ---- the part and the page ----


def test_the_instances_page_asks_for_it_again_once_that_changes_and_also_once_it_has_ended(
    browser: TestClient, terminal: Terminal, desk: MappingsFixture, one: str
) -> None:
    page = browser.get(f"/instance/{one}")
    asks = f'<div hx-get="/instance/{one}/uptake" hx-trigger="load delay:300ms, refreshed from:body delay:1s">'
    assert asks in page.text
    desk.world.wait(60)
    assert browser.get(news(page)).headers["HX-Trigger"] == "refreshed", "it is asked for again"
    terminal.trail.delivered(DB, one)
    desk.world.truth.terminate(one)
    desk.world.wait(4000)
    terminal.trail.called(DB, one)
    assert asks in browser.get(f"/instance/{one}").text
    assert "db former, still used" in words(asked(browser, one))
    assert "<html" in browser.get(f"/instance/{one}/uptake").text, "without scripts it is a page"


def test_a_name_leads_to_the_instances_page(browser: TestClient, one: str) -> None:
    assert browser.get("/instance/app-1/uptake").url.path == f"/instance/{one}"


# ---- the line of time ----


def held(role: str, **values: Any) -> Held:
    nothing = dict.fromkeys(("since", "until", "delivered", "first_use", "last_use", "valid_until"))
    return Held(role, role, **{"carried": True, "recorded": True, **nothing, **values})


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def drawn(*roles: Held) -> Any:
    return lane(Uptake(InstanceKey("1", "r", "i-1"), "", roles, since=NOW, whole=True, unknown_because=""), NOW)


def use(hours: float) -> Use:
    return Use("", ago(hours), "sts:GetCallerIdentity", "Boto3")


def test_a_replace_is_drawn_from_just_before_it_until_the_last_credentials_expire() -> None:
    """From 9:45 to 13:45: a quarter of an hour is 6.25 percent."""
    db = held(DB, since=ago(2), delivered=Delivery(DB, ago(1.75), NOW), first_use=use(1.5), last_use=use(0.25))
    web = held(WEB, carried=False, since=ago(72), until=ago(2), last_use=use(1), valid_until=ago(-1.75))
    shown = drawn(db, web)
    assert (shown["begin"], shown["end"], shown["now"]) == (ago(2.25), ago(-1.75), 56.25)
    carried, former = shown["rows"]
    assert carried["bars"] == [{"kind": "carried", "x": 6.25, "width": 50.0}]
    marks = [("delivered", 12.5), ("first", 18.75), ("last", 50.0)]
    assert carried["marks"] == [{"kind": kind, "x": x} for kind, x in marks]
    assert former["bars"] == [
        {"kind": "carried", "x": 0.0, "width": 6.25},
        {"kind": "valid", "x": 6.25, "width": 93.75},
    ]
    assert former["marks"] == [{"kind": "still", "x": 31.25}]
    assert shown["kinds"] == {"carried", "valid", "delivered", "first", "last", "still"}
    assert [f"{each['at']:%H:%M}" for each in shown["hours"]] == ["10:00", "11:00", "12:00", "13:00"]


def test_where_nothing_changed_it_is_the_last_six_hours() -> None:
    shown = drawn(held(DB, since=ago(72), delivered=Delivery(DB, ago(7), NOW), last_use=use(1)))
    assert (shown["begin"], shown["end"], shown["now"]) == (ago(6.25), NOW, 100)
    [row] = shown["rows"]
    assert row["bars"] == [{"kind": "carried", "x": 0, "width": 100}]
    assert row["marks"] == [{"kind": "last", "x": 84.0}], "the delivery was before"


def test_what_is_cut_off_ends_when_it_was_denied() -> None:
    web = held(WEB, carried=False, since=ago(2), until=ago(1), valid_until=ago(-5), denied_before=ago(0.5))
    shown = drawn(held(DB, since=ago(1)), web)
    assert shown["end"] == NOW
    [_, valid] = shown["rows"][1]["bars"]
    assert valid["width"] == pytest.approx(100 * 0.5 / 2.25, abs=0.1)


def test_one_call_has_one_mark() -> None:
    [row] = drawn(held(DB, since=ago(1), first_use=use(0.5), last_use=use(0.5)))["rows"]
    assert [each["kind"] for each in row["marks"]] == ["first"]


def test_what_another_actor_replaced_ends_with_its_last_delivery_where_the_next_begins() -> None:
    web = held(WEB, carried=False, delivered=Delivery(WEB, ago(3), ago(-3)), valid_until=ago(-3))
    carried, former = drawn(held(DB), web)["rows"]
    assert [(each["kind"], each["x"]) for each in former["bars"]] == [("carried", 0), ("valid", 35.14)]
    assert [(each["kind"], each["x"]) for each in carried["bars"]] == [("carried", 35.14)]


@pytest.mark.parametrize(
    "role",
    [
        held(DB, since=ago(-0.05)),
        held(WEB, carried=False, since=ago(1), valid_until=ago(-5)),
        held(WEB, carried=False, since=ago(1), delivered=Delivery(WEB, ago(2), ago(-4)), valid_until=ago(-4)),
        held(WEB, carried=False, until=ago(1), valid_until=ago(2)),
    ],
    ids=["attached by a clock ahead", "taken nobody knows when", "delivered before only", "expired before"],
)
def test_no_bar_ends_before_it_begins(role: Held) -> None:
    [row] = drawn(role)["rows"]
    assert all(each["width"] >= 0 for each in row["bars"])
    assert all(after["x"] >= before["x"] for before, after in pairwise(row["bars"]))


@pytest.mark.parametrize("minutes", [1, 20, 50, 150, 350])
def test_there_is_room_for_each_time_that_is_written(minutes: int) -> None:
    for end in (0, 2, 6):
        taken = held(WEB, carried=False, until=ago(minutes / 60), valid_until=ago(-end))
        places = [each["x"] for each in drawn(taken)["hours"]]
        assert 1 <= len(places) <= 7
        assert min(places) >= 6
        assert max(places) <= 94
        assert all(after - before > 12 for before, after in pairwise(places))


def test_all_that_is_drawn_has_a_label_and_its_legend(browser: TestClient, desk: MappingsFixture, one: str) -> None:
    desk.world.wait(300)
    part = asked(browser, one).text
    assert re.search(r'role="img" aria-label="The roles on a line of time, from \S+ \S+ to \S+ UTC;', part)
    legend = part.partition('<ul class="legend">')[2].partition("</ul>")[0]
    assert ("attached" in legend, "its credentials may be valid" in legend, "first call" in legend) == (
        True,
        True,
        False,
    )
    assert part.count('fill="url(#hatched)"') == 2
    assert "style=" not in part, "the content security policy allows none"
