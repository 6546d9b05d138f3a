"""Whether software on an instance uses its roles, in the console: on a line of time, and in words."""

import re
from datetime import timedelta

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import main as words
from fixtures.console import news
from fixtures.mappings import Desk
from fixtures.terminal import Terminal

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))


@pytest.fixture
def one(terminal: Terminal, desk: Desk) -> str:
    """An instance that carried the role web for an hour, and carries db since a moment."""
    for role in ("web", "db"):
        desk.usable(role)
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
    browser: TestClient, terminal: Terminal, desk: Desk, one: str
) -> None:
    terminal.trail.page = 50
    desk.world.wait(7)
    terminal.trail.delivered(DB, one)
    desk.world.wait(200)
    terminal.trail.called(DB, one, "ListTables", "aws-sdk-go-v2/1.39.0 os/linux", eventSource="dynamodb.amazonaws.com")
    desk.world.wait(60)
    terminal.trail.called(WEB, one, errorCode="AccessDenied")
    terminal.trail.called(DB, one, issued=desk.world.clock.now() - timedelta(hours=2))
    desk.world.wait(5)
    text = words(asked(browser, one))
    assert "db in use Attached 4 min ago" in text
    assert "Delivered EC2 got its credentials 8 s after it was attached, 4 min ago" in text
    assert "First call dynamodb:ListTables by aws-sdk-go-v2/1.39.0 , 3 min after it was attached, 1 min ago" in text
    assert "UTC) Earlier use by what was delivered before: sts:GetCallerIdentity by" in text
    assert "Refused each call that was looked at Credentials expire in 6 h" in text
    assert "web former, still used" in text
    assert "Last delivered EC2 got its credentials 5 min ago" in text
    assert "Last call sts:GetCallerIdentity by Boto3/1.40.0 , refused (AccessDenied), 5 s ago" in text
    assert text.count("Last call") == 1, "of db it is the first one"
    assert f"UTC) at the latest To end that now rolekeeper revoke {one} --role web" in text
    assert "isn't unused: calls on the data of services" in text
    assert "Not all calls were looked through" not in text


def test_what_isnt_seen_is_said_with_since_when(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.wait(300)
    text = words(asked(browser, one))
    assert "db not seen Attached 5 min ago" in text
    assert "Calls None seen since it was attached, and no delivery web former, may still be used" in text
    assert "Calls None seen since it was taken away Credentials expire in 6 h" in text


def test_of_a_role_attached_long_ago_the_past_hours_are_looked_at(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.later(days=3)
    since = desk.world.clock.now() - timedelta(hours=6, minutes=45)
    assert f"Calls None seen since {since:%Y-%m-%d %H:%M} UTC, and no delivery" in words(asked(browser, one))


def test_that_older_calls_werent_looked_through_is_said_where_a_former_role_may_have_made_them(
    browser: TestClient, terminal: Terminal, desk: Desk, one: str
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
    browser: TestClient, desk: Desk, one: str, name: str, action: str, said: str
) -> None:
    desk.world.wait(300)
    desk.world.calls.before(name, refusing("AccessDeniedException", "no"))
    text = words(asked(browser, one))
    assert f"Whether software uses a role isn't known: you aren't allowed {action}" in text
    assert said in text
    assert "None seen" not in text, "nobody looked"


def test_one_without_a_role_says_so(browser: TestClient, desk: Desk) -> None:
    text = words(asked(browser, desk.world.running()))
    assert text.endswith("history shows. It carries no role, and no credentials of a former one are valid.")


def test_what_others_named_is_text(browser: TestClient, terminal: Terminal, desk: Desk, one: str) -> None:
    desk.world.tag(one, Name="<b>app</b>")
    desk.world.wait(5)
    terminal.trail.called(DB, one, agent="<script>alert(1)</script>\u202e", errorCode="<i>")
    page = browser.get(f"/instance/{one}/uptake")
    assert "by <code>&lt;script&gt;alert(1)&lt;/script&gt;\\u202e</code>, refused (&lt;i&gt;)" in page.text
    assert "<h1>Does software use it: &lt;b&gt;app&lt;/b&gt;</h1>" in page.text


# ---- the part and the page ----


def test_the_instances_page_asks_for_it_again_once_that_changes_and_also_once_it_has_ended(
    browser: TestClient, terminal: Terminal, desk: Desk, one: str
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


def test_all_that_is_drawn_has_a_label_and_its_legend(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.wait(300)
    part = asked(browser, one).text
    assert re.search(r'role="img" aria-label="The roles on a line of time, from \S+ \S+ to \S+ \S+ UTC;', part)
    legend = part.partition('<ul class="legend">')[2].partition("</ul>")[0]
    shown = ("attached by Rolekeeper", "its credentials may be valid", "first call")
    assert [each in legend for each in shown] == [True, True, False]
    assert part.count('fill="url(#hatched)"') == 2
    assert part.count("attached by Rolekeeper for app=web</title>") == 1, "the whole of it, in the place of the first"
    desk.world.wait(60)
    desk.world.calls.before("LookupEvents", refusing("AccessDeniedException", "no"))
    assert "attached by Rolekeeper for app=web</title>" in asked(browser, one).text, (
        "also if CloudTrail isn't to be asked"
    )
    assert "style=" not in part, "the content security policy allows none"
