"""Whether software on an instance uses its roles, in the console: on a line of time, and in words."""

import re

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from fixtures.account import refusing
from fixtures.console import main as words
from fixtures.console import news
from fixtures.mappings import Desk
from fixtures.terminal import Terminal

WEB, DB = (f"arn:aws:iam::123456789012:role/rolekeeper/{each}" for each in ("web", "db"))

pytestmark = pytest.mark.desk(usable=("web", "db"), rows={"app=web": "web", "app=db": "db"})


@pytest.fixture
def one(terminal: Terminal, desk: Desk) -> str:
    """An instance that carried the role web for an hour, and carries db since a moment."""
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


def test_its_roles_are_described_as_by_the_command(
    browser: TestClient, terminal: Terminal, desk: Desk, one: str
) -> None:
    desk.world.wait(30)
    terminal.trail.called(DB, one, agent="<script>alert(1)</script>\u202e", errorCode="<i>")
    desk.world.tag(one, Name="<b>app</b>")
    desk.world.wait(30)
    part = asked(browser, one)
    assert "<dt>In use</dt><dd>db, first call " in part.text
    assert "by &lt;script&gt;alert(1)&lt;/script&gt;\\u202e, refused (&lt;i&gt;); each call that" in part.text
    assert f'<code>rolekeeper revoke {one} --role web</code> <button type="button" class="copy"' in part.text
    assert "<h1>Does software use it: &lt;b&gt;app&lt;/b&gt;</h1>" in browser.get(f"/instance/{one}/uptake").text


@pytest.mark.parametrize("action", ["cloudtrail:LookupEvents", "iam:GetInstanceProfile"])
def test_a_missing_permission_is_named(browser: TestClient, desk: Desk, one: str, action: str) -> None:
    desk.world.calls.before(action.partition(":")[2], refusing("AccessDeniedException", "no"))
    assert f"Unknown whether software uses a role: you aren't allowed {action}" in words(asked(browser, one))


# ---- the part and the page ----


def test_the_page_asks_for_it_again_also_once_it_has_ended(
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
    assert "Former role db: still used" in words(asked(browser, one))
    assert "<html" in browser.get(f"/instance/{one}/uptake").text, "without scripts it is a page"
    assert browser.get("/instance/app-1/uptake", follow_redirects=False).headers["location"] == "/instance/app-1"


# ---- the line of time ----


def test_all_that_is_drawn_has_a_label_and_its_legend(browser: TestClient, desk: Desk, one: str) -> None:
    desk.world.wait(300)
    part = asked(browser, one).text
    assert re.search(r'role="group" aria-label="The roles on a line of time, from \S+ \S+ to \S+ \S+ UTC;', part)
    legend = part.partition('<ul class="legend">')[2].partition("</ul>")[0]
    shown = ("attached by Rolekeeper", "its credentials may be valid", "first call")
    assert [each in legend for each in shown] == [True, True, False]
    assert part.count('fill="url(#hatched)"') == 2
    assert "web former attached by Rolekeeper for app=web" in words(asked(browser, one)), "who, in words"
    whole = browser.get(f"/instance/{one}").text
    marks = re.findall(r'<a href="#(e-[^"]*)" id="(m-[^"]*)"', whole)
    assert marks, "a mark and the entry of its time lead to each other"
    assert all(f'id="{entry}"' in whole for entry, _ in marks)
    linked = re.findall(r'<a href="#(m-attached-[^"]*)" title="On the line of time"', whole)
    assert len(linked) == 2
    assert {*linked} <= {mark for _, mark in marks}
    assert 'data-local="2026-03-01T' in whole, "the person's own time is written beside UTC"
    assert part.count("attached by Rolekeeper for app=web</title>") == 1, "the whole of it, in the place of the first"
    assert "style=" not in part, "the content security policy allows none"
